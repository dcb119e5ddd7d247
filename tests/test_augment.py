from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.ops import masks_to_boxes
from torchvision.transforms import v2

from models.data.augment import (
    CROP_SIZE,
    MEAN_GREY,
    MIN_BOX_SIDE,
    FlipLeftRight,
    HideCrowds,
    augmentation,
)
from models.data.samples import Sample, detection_target
from models.errors import DataError

NAMES = ("nose", "left_hand", "right_hand")
SIZE = 240, 320  # (height, width) px
BOXES = torch.tensor([[40.0, 40, 100, 200], [200, 80, 280, 160]])
POINTS = torch.tensor([[[70.0, 50], [45, 120], [95, 120]], [[240, 90], [210, 150], [270, 150]]])


def sample(*, crowd: tuple[bool, bool] = (False, False), keypoints: bool = False) -> Sample:
    """Two objects whose pixels are white, the rest black."""
    masks = torch.zeros(2, *SIZE, dtype=torch.uint8)
    masks[0, 40:200, 40:100] = 1
    masks[1, 80:160, 200:280] = 1
    picture = v2.functional.to_image(masks.amax(0, keepdim=True).repeat(3, 1, 1) * 255)
    return picture, detection_target(
        BOXES.clone(),
        torch.tensor([1, 2]),
        size=SIZE,
        image_id=0,
        masks=masks,
        crowd=torch.tensor(crowd),
        keypoints=POINTS.clone() if keypoints else None,
        visibility=torch.tensor([[2, 1, 2], [2, 2, 0]]) if keypoints else None,
    )


def test_everything_stays_in_step() -> None:
    torch.manual_seed(0)
    transform = augmentation("standard")
    sizes, lost = set(), 0
    for _ in range(150):
        picture, target = transform(*sample())
        sizes.add(tuple(picture.shape[1:]))
        count = len(target["boxes"])
        lost += 2 - count
        assert picture.dtype == torch.float32
        assert 0 <= picture.min() <= picture.max() <= 1
        assert target["masks"].shape == (count, *picture.shape[1:])
        assert target["masks"].dtype == torch.uint8
        assert set(target["masks"].unique().tolist()) <= {0, 1}
        assert len(target["labels"]) == count
        assert "iscrowd" not in target
        if count:  # tight around the mask, to the rounding of a resized crop
            boxes = target["boxes"].as_subclass(Tensor)
            around = masks_to_boxes(target["masks"])
            around[:, 2:] += 1
            torch.testing.assert_close(boxes, around, atol=2.5, rtol=0)
            assert (boxes[:, 2:] - boxes[:, :2]).min() >= MIN_BOX_SIDE
    assert CROP_SIZE in sizes
    assert len(sizes) > 5  # zoomed out, too
    assert lost > 0  # a crop can lose an object


def test_masks_move_with_the_picture() -> None:
    torch.manual_seed(0)
    geometry = v2.Compose(augmentation("standard").transforms[:3])
    for _ in range(20):
        picture, target = geometry(*sample())
        assert ((picture[0] > 200) != target["masks"].amax(0).bool()).float().mean() < 0.01


@pytest.mark.timeout(400)
@pytest.mark.parametrize("with_masks", [True, False])
def test_whoever_is_still_in_the_picture_keeps_their_label(with_masks: bool) -> None:
    transform = augmentation("standard")
    geometry = v2.Compose(transform.transforms[:3])
    at_the_edge = 0
    for seed in range(200):
        kept = []
        for steps in (geometry, transform):
            picture, target = sample()
            if not with_masks:
                del target["masks"]
            torch.manual_seed(seed)
            kept.append(steps(picture, target))
        (cut, moved), (_, labelled) = kept
        height = cut.shape[-2]
        boxes = moved["boxes"].as_subclass(Tensor)
        sides = boxes[:, 2:] - boxes[:, :2]
        visible = (sides > MIN_BOX_SIDE + 1).all(1)
        assert len(labelled["boxes"]) >= visible.sum(), seed
        at_the_edge += int((visible & (boxes[:, 3] >= height - 0.01)).sum())
    assert at_the_edge > 10


def test_none_changes_values_alone() -> None:
    picture, target = augmentation("none")(*sample())
    original, expected = sample()
    torch.testing.assert_close(picture.as_subclass(Tensor), original.as_subclass(Tensor) / 255)
    assert torch.equal(target["boxes"], expected["boxes"])
    assert target.keys() == {"boxes", "labels", "masks", "image_id"}


def test_flip_flips_half() -> None:
    torch.manual_seed(0)
    transform = augmentation("flip")
    mirrored = [bool(transform(*sample())[1]["boxes"][0, 0] == 320 - 100) for _ in range(40)]
    assert 10 < sum(mirrored) < 30


def test_a_flip_exchanges_left_and_right() -> None:
    torch.manual_seed(0)
    flip, seen = FlipLeftRight(NAMES), set()
    while len(seen) < 2:
        _, target = flip(*sample(keypoints=True))
        points, visibility = target["keypoints"].as_subclass(Tensor), target["visibility"]
        flipped = bool(target["boxes"][0, 0] == 320 - 100)
        seen.add(flipped)
        if flipped:  # the left hand is where the right one was, mirrored
            assert points[0, 1].tolist() == [319 - 95 + 1, 120] or points[0, 1, 0] == 319 - 95
            assert visibility.tolist() == [[2, 2, 1], [2, 0, 2]]
        else:
            assert torch.equal(points, POINTS)
        assert points[0, 1, 0] < points[0, 2, 0]  # facing away or not, names follow the body


def test_a_keypoint_that_a_flip_cannot_exchange_is_named() -> None:
    with pytest.raises(DataError, match=r'"left_hand" and none "right_hand".*--augment none'):
        augmentation("flip", keypoint_names=("nose", "left_hand"))
    augmentation("none", keypoint_names=("nose", "left_hand"))


def test_keypoints_become_torchvisions() -> None:
    _, target = augmentation("none", keypoint_names=NAMES)(*sample(keypoints=True))
    assert target["keypoints"].shape == (2, 3, 3)
    assert target["keypoints"][..., 2].tolist() == [[1, 1, 1], [1, 1, 0]]
    torch.testing.assert_close(target["keypoints"][..., :2], POINTS)
    assert "visibility" not in target


def test_keypoints_outside_the_picture_are_invisible() -> None:
    torch.manual_seed(0)
    transform = augmentation("standard", keypoint_names=NAMES)
    hidden = 0
    for _ in range(60):
        picture, target = transform(*sample(keypoints=True))
        points = target["keypoints"]
        assert points.shape == (len(target["boxes"]), 3, 3)
        shown = points[points[..., 2] > 0]
        assert ((shown[:, :2] >= 0) & (shown[:, 0:1] < picture.shape[2])).all()
        hidden += int((points[0:1, :, 2] == 0).sum())
    assert hidden > 0


def test_crowds_are_painted_over_and_forgotten() -> None:
    picture, target = HideCrowds()(*sample(crowd=(False, True)))
    assert (picture[:, 80:160, 200:280] == MEAN_GREY).all()
    assert (picture[:, 40:200, 40:100] == 255).all()
    assert target["labels"].tolist() == [1]
    assert target["boxes"].tolist() == BOXES[:1].tolist()
    assert target["masks"].shape == (1, *SIZE)


def test_a_crowd_without_a_mask_is_painted_over_by_its_box() -> None:
    picture, target = sample(crowd=(True, False))
    del target["masks"]
    painted, target = HideCrowds()(picture, target)
    assert (painted[:, 40:200, 40:100] == MEAN_GREY).all()
    assert (picture[:, 40:200, 40:100] == 255).all()  # the set's own picture is left alone
    assert target["labels"].tolist() == [2]


def test_whoever_is_labelled_within_a_crowds_box_stays_visible() -> None:
    picture, target = sample(crowd=(True, False))
    del target["masks"]
    target["boxes"][0] = torch.tensor([20.0, 20, 300, 220])
    painted, target = HideCrowds()(picture, target)
    assert (painted[:, 80:160, 200:280] == 255).all()
    assert (painted[:, 40:200, 40:100] == MEAN_GREY).all()
