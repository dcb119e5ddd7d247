"""Scores that fall where objects overlap, against the paper's loop and in a whole model."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import box_iou

from models.compact import MAX_IOU, SOFT_IOU, mask_rcnn_person
from models.soft_nms import SoftRoIHeads, soft_scores

NONE = torch.zeros(0)


def by_the_paper(boxes: Tensor, scores: Tensor, *, min_iou: float) -> Tensor:
    """Algorithm 1 of Bodla et al., linear, without its first step of removing low scores."""
    iou, left, found = box_iou(boxes, boxes), list(range(len(boxes))), scores.clone()
    while left:
        best = max(left, key=lambda at: float(found[at]))
        left.remove(best)
        for other in left:
            if iou[best, other] > min_iou:
                found[other] *= 1 - iou[best, other]
    return found


def row_of_people(count: int, step: float) -> Tensor:
    """Boxes 10 wide and 30 high, each ``step`` px beside the one before."""
    left = torch.arange(count) * step
    return torch.stack([left, left * 0, left + 10, left * 0 + 30], 1)


def test_one_that_overlaps_a_better_one() -> None:
    boxes = row_of_people(2, 5.0)  # IoU 1/3
    found = soft_scores(boxes, torch.tensor([0.9, 0.6]), torch.ones(2), min_iou=0.3)
    torch.testing.assert_close(found, torch.tensor([0.9, 0.6 * 2 / 3]))


@pytest.mark.parametrize(
    ("labels", "min_iou"), [([1, 2], 0.3), ([1, 1], 0.34)], ids=["another class", "less overlap"]
)
def test_one_that_does_not_matter(labels: list[int], min_iou: float) -> None:
    scores = torch.tensor([0.9, 0.6])
    found = soft_scores(row_of_people(2, 5.0), scores, torch.tensor(labels), min_iou=min_iou)
    torch.testing.assert_close(found, scores)


def test_one_that_fell_behind_lowers_no_more() -> None:
    """The second falls to 0.24, behind the third, which only it overlaps."""
    boxes, scores = row_of_people(3, 0.0), torch.tensor([0.9, 0.6, 0.5])
    boxes[1, [0, 2]] += 2.5  # IoU with the first: 0.6
    boxes[2, [0, 2]] += 7.3  # with the second: 0.35; with the first: 0.16
    found = soft_scores(boxes, scores, torch.ones(3), min_iou=0.3)
    torch.testing.assert_close(found, by_the_paper(boxes, scores, min_iou=0.3))
    assert found[2] == 0.5


@settings(deadline=None)
@given(st.lists(st.integers(1, 1000), min_size=1, max_size=6, unique=True), st.integers(4, 20))
def test_as_in_the_paper_where_the_order_stays(tenths: list[int], step: int) -> None:
    scores = torch.tensor(sorted(tenths, reverse=True)) / 1000
    boxes = row_of_people(len(tenths), float(step))
    expected = by_the_paper(boxes, scores, min_iou=0.3)
    if (expected.diff() <= 0).all():
        found = soft_scores(boxes, scores, torch.ones(len(tenths)), min_iou=0.3)
        torch.testing.assert_close(found, expected)


def test_pictures_at_once_are_as_one_by_one() -> None:
    torch.manual_seed(0)
    boxes = torch.rand(3, 7, 4).sort(-1).values[..., [0, 1, 2, 3]] * 20
    scores = torch.rand(3, 7).sort(-1, descending=True).values
    labels = torch.randint(1, 3, (3, 7))
    together = soft_scores(boxes, scores, labels, min_iou=0.1)
    for number in range(3):
        alone = soft_scores(boxes[number], scores[number], labels[number], min_iou=0.1)
        torch.testing.assert_close(together[number], alone)


def test_nothing_found() -> None:
    found = soft_scores(torch.zeros(0, 4), NONE, NONE, min_iou=0.3)
    assert found.shape == (0,)


class TestTheEmbeddedModel:
    def test_its_heads(self) -> None:
        heads = mask_rcnn_person().roi_heads
        assert isinstance(heads, SoftRoIHeads)
        assert (heads.nms_thresh, heads.soft_iou) == (MAX_IOU, SOFT_IOU)

    def test_scores_fall_in_order_and_none_is_below_the_least(self) -> None:
        heads = mask_rcnn_person().roi_heads
        heads.score_thresh = 0.35
        torch.manual_seed(1)
        boxes = torch.tensor([[10.0, 10, 60, 110]]) + 8 * torch.randn(40, 4)
        given = (torch.randn(40, 2), torch.zeros(40, 8), [boxes], [(200, 200)])
        (plain,) = RoIHeads.postprocess_detections(heads, *given)[1]
        (soft_boxes,), (soft,), (labels,) = heads.postprocess_detections(*given)
        assert len(soft) == len(soft_boxes) == len(labels) > 0
        assert (soft.diff() <= 0).all()
        assert soft.min() > 0.35
        assert soft[0] == plain[0]
        assert len(soft) < len(plain)
