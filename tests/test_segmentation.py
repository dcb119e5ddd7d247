"""Semantic segmentation: a class map from the model to the picture, the legend and the blur."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from media import encode, marked_picture
from test_zoo import EVERY_MODEL

from export.deployed import open_runtime
from models import zoo
from models.class_map import from_probabilities, stretched
from models.detections import Detections
from models.errors import UsageError
from models.runtimes.segmentation import DEVIATION, MEAN, Segmentation
from models.zoo import LoadedModel
from stream.api import open_pipeline
from stream.frame import Frame
from stream.privacy import Privacy, PrivacySettings
from stream.render import color_of, draw_detections

pytestmark = pytest.mark.usefixtures("one_torch_thread")

LIGHT = "lraspp_mobilenet_v3_large"
NAMES = ("__background__", "sky", "grass")


def values_of(label_map: np.ndarray) -> np.ndarray:
    values: np.ndarray = np.eye(3, dtype=np.float32)[label_map].transpose(2, 0, 1)
    return values


def test_each_class_that_shows_is_a_row() -> None:
    values = np.full((3, 4, 6), 0.1, np.float32)
    values[1, :2], values[2, 2:] = 0.8, 0.7
    values[0, :, 0] = 0.95
    found = from_probabilities(values, NAMES, min_score=0.5)
    assert found.names() == ["sky", "grass"]
    assert found.scores == pytest.approx([0.8, 0.7])
    assert found.boxes.tolist() == [[1, 0, 6, 2], [1, 2, 6, 4]]
    assert found.class_map is not None
    assert found.class_map.tolist() == [[0, 1, 1, 1, 1, 1]] * 2 + [[0, 2, 2, 2, 2, 2]] * 2


def test_a_class_that_is_not_sure_is_background() -> None:
    values = np.full((3, 4, 6), 0.3, np.float32)
    values[1, :2], values[2, 2:] = 0.8, 0.4
    found = from_probabilities(values, NAMES, min_score=0.5)
    assert found.names() == ["sky"]
    assert found.class_map is not None
    assert not found.class_map[2:].any()
    nothing = from_probabilities(values, NAMES, min_score=0.9)
    assert len(nothing) == 0
    assert nothing.boxes.shape == (0, 4)


class Colours(torch.nn.Module):
    """Red is sky, green is grass: what each pixel shows is beyond doubt."""

    def forward(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        mean, deviation = (torch.tensor(part)[:, None, None] for part in (MEAN, DEVIATION))
        colours = pictures * deviation + mean
        blank = torch.full_like(colours[:, :1], 0.5)
        return {"out": 50 * torch.cat([blank, colours[:, :1], colours[:, 1:2]], dim=1)}


def halves(height: int, width: int) -> np.ndarray:
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, :, 0] = picture[height // 2 :, :, 1] = 255
    return picture


@pytest.mark.parametrize("size", [(1, 1), (96, 128), (300, 100), (2160, 3840)])
def test_the_map_covers_the_frame(size: tuple[int, int]) -> None:
    height, width = size
    with Segmentation(
        LoadedModel(LIGHT, Colours(), NAMES), device="cpu", canvas_side=64
    ) as runtime:
        found = runtime.detect(halves(height, width))
    assert found.class_map is not None
    shown = stretched(found.class_map, (width, height))
    if height > 1:
        assert (shown[: height // 2 - height // 16] == 1).all()
        assert (shown[height // 2 + height // 16 :] == 2).all()
        tall = found.boxes[found.names().index("sky")]
        assert tall == pytest.approx([0, 0, width, height / 2], abs=height / 16)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow, EVERY_MODEL] if "resnet" in name else [])
        for name in zoo.segmentation_names()
    ],
)
def test_torchvision_s_load_with_and_without_their_second_head(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    for auxiliary in (False, True):
        if auxiliary and name == LIGHT:
            continue  # it has none
        more = {"aux_loss": True} if auxiliary else {}
        module = torchvision.models.get_model(name, weights=None, weights_backbone=None, **more)
        path = tmp_path / "weights.pth"
        torch.save(module.state_dict(), path)
        loaded = zoo.load(name, path)
        assert len(loaded.class_names) == 21
    with open_runtime(name, path, min_score=0.0, canvas_side=64) as runtime:
        found = runtime.detect(np.full((96, 128, 3), 90, np.uint8))
    assert found.class_map is not None
    assert found.class_map.shape == (64, 85)


def scene() -> Detections:
    label_map = np.zeros((4, 6), np.int64)
    label_map[:2, 3:], label_map[2:] = 1, 2
    return from_probabilities(values_of(label_map), NAMES, min_score=0.5)


def test_it_is_drawn_with_a_legend() -> None:
    picture = np.full((240, 360, 3), 128, np.uint8)
    draw_detections(picture, scene())
    assert (picture[:100, :170] == 128).all()  # background keeps its colour
    for row, column, label in ((110, 200, 1), (200, 100, 2)):
        tint = picture[row, column].astype(int) - round(128 * 0.55)
        assert tint == pytest.approx(np.array(color_of(label)) * 0.45, abs=2)
    assert (picture[2:6, 300:] == color_of(1)).all(axis=-1).any()  # the plate of the best


def test_a_class_that_is_not_kept_is_not_drawn() -> None:
    found = scene()
    picture = np.full((240, 360, 3), 128, np.uint8)
    draw_detections(picture, found.select(found.labels == 2))
    assert (picture[100:119, 180:] == 128).all()
    assert (picture[200, :300] != 128).any()


def test_blur_hides_just_the_class() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (240, 360, 3), np.uint8)
    privacy = Privacy(PrivacySettings(("sky",)), NAMES)
    hidden = privacy.hide(Frame(noise, 0, "test", 0, Fraction(1), 0.0), scene()).image
    assert hidden[:100, 200:].std() < noise.std() / 3
    assert (hidden[140:] == noise[140:]).all()


def weights_of(name: str, path: Path) -> Path:
    torch.manual_seed(0)
    module = torchvision.models.get_model(name, weights=None, weights_backbone=None)
    torch.save(module.state_dict(), path)
    return path


def test_a_whole_run(tmp_path: Path) -> None:
    weights, clip = weights_of(LIGHT, tmp_path / "weights.pth"), tmp_path / "clip.mp4"
    encode(clip, [marked_picture(k) for k in range(5)], pts=range(5))
    with open_pipeline(clip, model=LIGHT, weights=weights, canvas_side=64, min_score=0.0) as stream:
        results = list(stream)
    assert len(results) == 5
    assert all(found.class_map is not None for _, found in results)


def test_what_cannot_be_is_told(tmp_path: Path) -> None:
    weights = weights_of(LIGHT, tmp_path / "weights.pth")
    with pytest.raises(UsageError, match="only R-CNNs have a static graph; leave out --runtime"):
        open_runtime(LIGHT, weights, runtime="openvino")
