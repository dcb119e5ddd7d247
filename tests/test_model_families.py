"""One contract for every kind of model: no picture is too empty, too small or too large."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from foreign_cases import LAYOUTS, write_detector
from runtime_cases import assert_equal, eager, torch_static

from models import zoo
from models.detections import Detections
from models.foreign.runtime import ForeignDetector
from models.letterbox import Image
from models.lineage.runtime import open_system
from models.lineage.systems import SYSTEMS, system_class
from models.runtimes.base import Runtime
from models.runtimes.segmentation import Segmentation
from models.runtimes.torch_eager import TorchEager
from models.shapes.world import CLASS_NAMES
from models.zoo import LoadedModel

Open = Callable[[Path, float], Runtime]

SIDE = 64  # px of the canvas's shorter side, where it can be chosen
CLASSES = ("__background__", "cat", "dog")
# at least one of each of torchvision's architectures, the lightest of them
TORCHVISION = (
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "maskrcnn_resnet50_fpn",
    "keypointrcnn_resnet50_fpn",
    "retinanet_resnet50_fpn",
    "fcos_resnet50_fpn",
    "ssdlite320_mobilenet_v3_large",
)
SEGMENTATION = ("lraspp_mobilenet_v3_large",)

pytestmark = [pytest.mark.usefixtures("one_torch_thread"), pytest.mark.timeout(300)]


def untaught(name: str) -> LoadedModel:
    torch.manual_seed(0)
    module = zoo.build(name, num_classes=len(CLASSES)).eval()
    if hasattr(module, "roi_heads"):  # random weights find objects everywhere
        module.roi_heads.detections_per_img = 5
    return LoadedModel(name, module, CLASSES)


def torchvision_detector(name: str, folder: Path, min_score: float) -> Runtime:
    side = None if name.startswith("ssd") else SIDE  # an SSDlite has one size
    return TorchEager(untaught(name), min_score=min_score, device="cpu", canvas_side=side)


def segmentation(name: str, folder: Path, min_score: float) -> Runtime:
    return Segmentation(untaught(name), min_score=min_score, device="cpu", canvas_side=SIDE)


def lineage(name: str, folder: Path, min_score: float) -> Runtime:
    """With random weights, which find more of nothing than those that have learned."""
    torch.manual_seed(0)
    file = folder / "random.safetensors"
    system_class(name)(CLASS_NAMES).save(file)
    return open_system(name, file, min_score=min_score, canvas_side=SIDE)


def foreign(layout: str, folder: Path, min_score: float) -> Runtime:
    make, _ = LAYOUTS[layout]
    names = {"names": "{0: 'cat', 1: 'dog', 2: 'cow'}"}
    points = {"kpt_shape": "[1, 3]"} if "keypoints" in layout else {}
    file = write_detector(folder / "them.onnx", make(), notes=names | points)
    return ForeignDetector(file, min_score=min_score)


@pytest.fixture(scope="module")
def embedded(exports: object) -> dict[str, Open]:
    """The embedded model, as torchvision runs it and as a static graph."""
    return {
        "embedded": lambda _, min_score: eager(exports, min_score),  # type: ignore[arg-type]
        "embedded static": lambda _, min_score: torch_static()(exports, min_score),
    }


FAMILIES: dict[str, Open] = {
    **{name: partial(torchvision_detector, name) for name in TORCHVISION},
    **{name: partial(segmentation, name) for name in SEGMENTATION},
    **{name: partial(lineage, name) for name in SYSTEMS},
    **{f"foreign {layout}": partial(foreign, layout) for layout in LAYOUTS},
}


def pixel() -> Image:
    """One object of one pixel."""
    picture = np.full((96, 128, 3), 114, np.uint8)
    picture[40, 60] = 255
    return picture


def noise(height: int, width: int) -> Image:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


PICTURES: dict[str, Callable[[], Image]] = {
    "grey": lambda: np.full((96, 128, 3), 114, np.uint8),
    "an object of one pixel": pixel,
    "a picture of one pixel": lambda: noise(1, 1),
    "a sliver": lambda: noise(3, 200),
    "4K": lambda: noise(2160, 3840),
}


@pytest.fixture(scope="module", params=["embedded", "embedded static", *FAMILIES])
def open_model(
    request: pytest.FixtureRequest,
    embedded: dict[str, Open],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[float], Runtime]:
    """Opens the model with a least score."""
    made = {**embedded, **FAMILIES}[request.param]
    return partial(made, tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def runtime(open_model: Callable[[float], Runtime]) -> Iterator[Runtime]:
    with open_model(0.05) as opened:
        yield opened


@pytest.mark.parametrize("kind", PICTURES)
def test_every_picture_has_an_answer(runtime: Runtime, kind: str) -> None:
    picture = PICTURES[kind]()
    assert_sound(runtime.detect(picture), runtime, picture)


def test_no_object_is_an_answer(open_model: Callable[[float], Runtime]) -> None:
    with open_model(1.0) as strict:
        found = strict.detect(PICTURES["grey"]())
    assert len(found) == 0
    assert_sound(found, strict, PICTURES["grey"]())


def test_closed_it_stays_closed(open_model: Callable[[float], Runtime]) -> None:
    once = open_model(0.5)
    canvas = once.preprocess(PICTURES["grey"]())
    once.close()
    once.close()
    with pytest.raises(RuntimeError, match="closed"):
        once.infer(canvas)


def test_a_batch_of_mixed_sizes_is_its_pictures_one_by_one(runtime: Runtime) -> None:
    pictures = [noise(96, 128), noise(300, 100), noise(1, 1), pixel()]
    canvases = [runtime.preprocess(picture) for picture in pictures]
    together = runtime.infer_many(canvases)
    assert len(together) == len(pictures)
    for found, canvas, picture in zip(together, canvases, pictures, strict=True):
        assert_equal(found, runtime.infer(canvas), px=0.01)
        assert_sound(runtime.postprocess(found, canvas), runtime, picture)


def assert_sound(found: Detections, runtime: Runtime, picture: Image) -> None:
    """Types, shapes and ranges are what every user of detections relies on."""
    count, (height, width) = len(found), picture.shape[:2]
    assert found.class_names == runtime.class_names
    assert (found.boxes.shape, found.boxes.dtype) == ((count, 4), np.float32)
    assert (found.scores.shape, found.scores.dtype) == ((count,), np.float32)
    assert (found.labels.shape, found.labels.dtype) == ((count,), np.int64)
    assert np.isfinite(found.boxes).all()
    assert (found.boxes >= 0).all()
    assert (found.boxes[:, 2:] <= np.array([width, height]) + 1e-2).all()
    assert (found.boxes[:, 2:] >= found.boxes[:, :2]).all()
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    assert (np.diff(found.scores) <= 0).all()
    assert ((found.labels >= 0) & (found.labels < len(found.class_names))).all()
    if found.masks is not None:
        assert found.masks.shape == (count, 28, 28)
        assert ((found.masks >= 0) & (found.masks <= 1)).all()
    if found.keypoints is not None:
        assert found.keypoints.shape[::2] == (count, 3)
        assert np.isfinite(found.keypoints).all()
    if found.class_map is not None:
        assert found.class_map.ndim == 2
        assert found.class_map.max(initial=0) < len(found.class_names)
