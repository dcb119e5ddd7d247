"""Shapes as labelled pictures, for ``rcnn-live train`` and ``eval``."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from models.data.augment import augmentation
from models.data.open import open_data
from models.data.shapes import boxes_around
from models.errors import UsageError
from models.shapes.dataset import ShapesPictures
from models.shapes.outlines import KEYPOINT_NAMES
from models.shapes.world import CLASS_NAMES

SMALL = Path("shapes:size=96x64,train=12,validation=6")


def test_targets_are_those_of_any_labelled_set() -> None:
    pictures = open_data(SMALL).train
    assert (len(pictures), pictures.class_names) == (12, CLASS_NAMES)
    for index in range(12):
        picture, target = pictures[index]
        assert (picture.shape, picture.dtype) == ((3, 64, 96), torch.uint8)
        count = len(target["labels"])
        assert target["masks"].shape == (count, 64, 96)
        assert target["keypoints"].shape == (count, len(KEYPOINT_NAMES), 2)
        assert target["visibility"].shape == (count, len(KEYPOINT_NAMES))
        assert int(target["image_id"]) == index
        assert not target["iscrowd"].any()
        assert torch.equal(target["boxes"].as_subclass(torch.Tensor), boxes_around(target["masks"]))


def test_pictures_are_the_same_again_and_no_two_are_alike() -> None:
    parts, again = open_data(SMALL), open_data(SMALL)
    drawn = [parts.part("all")[index][0].numpy().tobytes() for index in range(18)]
    assert drawn == [again.part("all")[index][0].numpy().tobytes() for index in range(18)]
    assert len(set(drawn)) == 18
    other = open_data(Path(f"{SMALL},seed=1"))
    assert other.train[0][0].numpy().tobytes() not in drawn


def test_a_part_is_taken_pickled_and_named() -> None:
    train = open_data(SMALL).train
    part = pickle.loads(pickle.dumps(train.take([3, 1])))
    assert isinstance(part, ShapesPictures)
    assert np.array_equal(part[1][0], train[1][0])
    assert [part.path(index).name for index in range(2)] == ["00003.png", "00001.png"]


def test_augmentation_keeps_keypoints_on_their_objects() -> None:
    torch.manual_seed(0)
    train = open_data(SMALL).train
    change = augmentation("flip", keypoint_names=train.keypoint_names)
    for index in range(6):
        picture, target = change(*train[index])
        assert picture.dtype == torch.float32
        x0, y0, x1, y1 = target["boxes"].as_subclass(torch.Tensor).unbind(-1)
        x, y, seen = target["keypoints"].unbind(-1)
        inside = (x > x0[:, None] - 3) & (x < x1[:, None] + 3)
        inside &= (y > y0[:, None] - 3) & (y < y1[:, None] + 3)
        whole = (x0 > 0) & (y0 > 0) & (x1 < 96) & (y1 < 64)
        assert (inside | (seen == 0))[whole].float().mean() > 0.8


@pytest.mark.parametrize(
    ("options", "part"),
    [({"images": Path()}, "no COCO data"), ({"validation_count": 3}, "of its own, 6 pictures")],
)
def test_options_for_other_data_are_refused(options: dict[str, object], part: str) -> None:
    with pytest.raises(UsageError, match=part):
        open_data(SMALL, **options)  # type: ignore[arg-type]


@pytest.mark.usefixtures("one_torch_thread")
def test_the_usual_commands_train_and_evaluate_on_shapes(
    rcnn_live: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    data = "shapes:size=96x64,train=2,validation=2"
    flags = ("--device", "cpu", "--canvas-side", "64", "--quiet")
    code, out, err = rcnn_live(
        "train", data, *flags, "--epochs", "1", "-o", "out", "--workers", "0", "--no-tensorboard"
    )
    assert (code, "best:" in out) == (0, True), err
    code, out, err = rcnn_live(
        "eval", data, *flags, "--weights", "out/best.safetensors", "--json", "-"
    )
    assert code == 0, err
    assert '"circle"' in out
