from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from labelled import SIZE, make_coco, make_penn_fudan
from torch import Tensor
from torchvision.ops import masks_to_boxes

from models.data.coco import CocoPictures
from models.data.copy_paste import MAX_PASTED, CopyPaste
from models.data.penn_fudan import PennFudan
from models.errors import UsageError


@pytest.fixture
def people(tmp_path: Path) -> PennFudan:
    return PennFudan.open(make_penn_fudan(tmp_path))


def test_people_are_added(people: PennFudan) -> None:
    torch.manual_seed(0)
    pasted = CopyPaste(people, probability=1.0)
    assert len(pasted) == len(people)
    assert pasted.class_names == people.class_names
    assert pasted.path(1) == people.path(1)
    counts = set()
    for _ in range(40):
        picture, target = pasted[1]
        original, _ = people[1]
        count = len(target["boxes"])
        counts.add(count)
        assert picture.shape == original.shape
        assert picture.dtype == torch.uint8
        assert target["masks"].shape == (count, SIZE[1], SIZE[0])
        assert target["masks"].sum(0).max() == 1  # a pixel belongs to whoever is in front
        assert target["labels"].tolist() == [1] * count
        assert target["iscrowd"].tolist() == [False] * count
        around = masks_to_boxes(target["masks"])
        around[:, 2:] += 1
        torch.testing.assert_close(target["boxes"].as_subclass(Tensor), around)
    assert min(counts) >= 1
    assert 2 < max(counts) <= 1 + MAX_PASTED


def test_pictures_without_objects_are_passed_over_as_donors(people: PennFudan) -> None:
    torch.manual_seed(0)
    for mask in people.masks[1:]:
        assert cv2.imwrite(str(mask), np.zeros((SIZE[1], SIZE[0]), np.uint8))
    pasted = CopyPaste(people, probability=1.0)
    assert sum(len(pasted[3][1]["boxes"]) > 0 for _ in range(30)) > 24  # one donor in four


def test_nobody_has_objects_to_give(people: PennFudan) -> None:
    for mask in people.masks:
        assert cv2.imwrite(str(mask), np.zeros((SIZE[1], SIZE[0]), np.uint8))
    assert len(CopyPaste(people, probability=1.0)[0][1]["boxes"]) == 0


def test_what_is_not_covered_stays(people: PennFudan) -> None:
    torch.manual_seed(1)
    pasted = CopyPaste(people, probability=1.0)
    for _ in range(20):
        picture, target = pasted[0]
        original, labelled = people[0]
        near = torch.nn.functional.max_pool2d(
            (target["masks"].amax(0) != labelled["masks"].amax(0)).float()[None, None]
            + target["masks"].amax(0).float(),
            7,
            1,
            3,
        )[0, 0]
        untouched = near == 0
        assert untouched.any()
        assert torch.equal(picture[:, untouched], original[:, untouched])


def test_pasted_pixels_are_a_persons(people: PennFudan) -> None:
    torch.manual_seed(2)
    donor_picture = CopyPaste(people, probability=1.0)
    for _ in range(10):
        picture, target = donor_picture[1]
        inside = target["masks"][-1].bool()
        inner = inside & ~torch.from_numpy(np.zeros(inside.shape, bool))
        assert picture[0, inner].float().mean() > 150  # red, as people are and no background is


def test_probability(people: PennFudan) -> None:
    torch.manual_seed(0)
    never, sometimes = CopyPaste(people, probability=0.0), CopyPaste(people, probability=0.5)
    original = people[0][0]
    assert all(torch.equal(never[0][0], original) for _ in range(10))
    changed = sum(not torch.equal(sometimes[0][0], original) for _ in range(40))
    assert 8 < changed < 32


def test_the_set_itself_is_left_alone(people: PennFudan) -> None:
    before = people[0]
    torch.manual_seed(0)
    for _ in range(5):
        CopyPaste(people, probability=1.0)[0]
    after = people[0]
    assert torch.equal(before[0], after[0])
    assert torch.equal(before[1]["masks"], after[1]["masks"])


def test_a_part_of_it(people: PennFudan) -> None:
    part = CopyPaste(people, probability=0.0).take([3, 1])
    assert [part.path(index) for index in range(2)] == [people.path(3), people.path(1)]


def test_sets_without_masks_or_with_keypoints_are_refused(tmp_path: Path) -> None:
    for name, kind in (("a", {"masks": False}), ("b", {"keypoints": True})):
        root = make_coco(tmp_path / name, **kind)  # type: ignore[arg-type]
        samples = CocoPictures.open(root / "annotations" / "instances.json", root / "images")
        with pytest.raises(UsageError, match="Copy-paste needs objects with masks"):
            CopyPaste(samples)
