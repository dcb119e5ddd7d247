"""Static against greedy non-maximum suppression, torchvision's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import batched_nms, nms

from models.deploy.nms import ITERATIONS, overlaps, static_nms

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def greedy(boxes: Tensor, max_iou: float, labels: Tensor | None = None) -> Tensor:
    """torchvision's answer, (K,) bool, for boxes that come best first."""
    falling = -torch.arange(len(boxes), dtype=torch.float32)
    # its kernel for CPUs compares in double precision, where 0.3 is less than float32's 0.3
    max_iou = float(np.float32(max_iou))
    if labels is None:
        kept = nms(boxes, falling, max_iou)
    else:
        kept = batched_nms(boxes, falling, labels, max_iou)
    keep = torch.zeros(len(boxes), dtype=torch.bool)
    keep[kept] = True
    return keep


def static(boxes: Tensor, max_iou: float, iterations: int = ITERATIONS) -> Tensor:
    everyone = torch.ones(len(boxes), dtype=torch.bool)
    return static_nms(boxes, everyone, max_iou=max_iou, iterations=iterations)


def crowd(count: int, objects: int, seed: int) -> Tensor:
    """Boxes as a detector has them: many around each of a few objects."""
    drawn = torch.Generator().manual_seed(seed)
    middles = torch.rand(objects, 2, generator=drawn) * 300
    sizes = torch.rand(objects, 2, generator=drawn) * 80 + 10
    which = torch.randint(objects, (count,), generator=drawn)
    scatter = torch.randn(count, 4, generator=drawn) * 0.1
    middle = middles[which] + scatter[:, :2] * sizes[which]
    half = sizes[which] * scatter[:, 2:].exp() / 2
    return torch.cat([middle - half, middle + half], dim=1)


def queue(count: int) -> Tensor:
    """Each box excludes the next and no other (at 0.5): every second one stays."""
    left = torch.arange(count) * 2.0
    return torch.stack([left, torch.zeros(count), left + 10, torch.ones(count)], dim=1)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("max_iou", [0.3, 0.5, 0.7])
def test_a_crowd_is_thinned_out_as_by_torchvision(seed: int, max_iou: float) -> None:
    boxes = crowd(400, 12, seed)
    expected = greedy(boxes, max_iou)
    assert 10 < expected.sum() < 200
    assert static(boxes, max_iou).equal(expected)


def test_overlaps_decide_as_torchvisions_to_the_last_digit() -> None:
    boxes = crowd(300, 1, 0)
    ious = overlaps(boxes)
    for row in range(1, 300):
        at = float(ious[0, row])
        pair = boxes[[0, row]]
        assert static(pair, at).tolist() == [True, True]
        just_below = float(np.nextafter(np.float32(at), np.float32(0)))
        assert static(pair, just_below).equal(greedy(pair, just_below))
        assert greedy(pair, at).all()


def test_a_chain_as_long_as_the_boxes_are_many_is_solved_by_as_many_iterations() -> None:
    boxes = queue(100)
    expected = greedy(boxes, 0.5)
    assert expected.tolist() == [True, False] * 50
    assert static(boxes, 0.5, iterations=100).equal(expected)


@pytest.mark.parametrize("iterations", [1, 2, 23, ITERATIONS])
def test_boxes_behind_a_longer_chain_than_there_are_iterations_may_differ(iterations: int) -> None:
    boxes = queue(100)
    right = static(boxes, 0.5, iterations=iterations) == greedy(boxes, 0.5)
    assert right[: iterations + 1].all()
    assert not right[iterations + 1]


CORNER = st.tuples(st.integers(0, 8), st.integers(0, 8))
SIZE = st.tuples(st.integers(0, 5), st.integers(0, 5))  # points and lines among them


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(CORNER, SIZE, st.integers(1, 2), st.booleans()), min_size=1, max_size=16),
    st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]),
    st.booleans(),
)
def test_every_set_of_boxes_gives_torchvisions_answer(
    rows: list[tuple[tuple[int, int], tuple[int, int], int, bool]], max_iou: float, labelled: bool
) -> None:
    boxes = torch.tensor([[x, y, x + w, y + h] for (x, y), (w, h), _, _ in rows]).float()
    labels = torch.tensor([label for _, _, label, _ in rows]) if labelled else None
    valid = torch.tensor([kept for *_, kept in rows])
    found = static_nms(boxes, valid, max_iou=max_iou, labels=labels, iterations=len(rows))
    assert not found[~valid].any()
    expected = greedy(boxes[valid], max_iou, None if labels is None else labels[valid])
    assert found[valid].equal(expected)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(CORNER, SIZE, st.integers(0, 2)), min_size=2, max_size=12))
def test_of_equal_scores_the_first_box_wins_as_in_torchvision(
    rows: list[tuple[tuple[int, int], tuple[int, int], int]],
) -> None:
    boxes = torch.tensor([[x, y, x + w, y + h] for (x, y), (w, h), _ in rows]).float()
    scores = torch.tensor([score / 2 for *_, score in rows])
    order = scores.argsort(descending=True, stable=True)
    keep = static(boxes[order], 0.5, iterations=len(rows))
    assert order[keep].tolist() == nms(boxes, scores, 0.5).tolist()


def test_of_identical_boxes_one_stays_and_of_identical_points_all() -> None:
    box, point = torch.tensor([1.0, 2, 5, 6]), torch.tensor([3.0, 3, 3, 3])
    for rows in (box.expand(4, 4), point.expand(4, 4)):
        assert static(rows, 0.5).equal(greedy(rows, 0.5))
    assert static(box.expand(4, 4), 0.5).tolist() == [True, False, False, False]
    assert static(point.expand(4, 4), 0.5).all()


def test_a_box_that_is_not_valid_neither_stays_nor_suppresses() -> None:
    rows = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 8]])
    valid = torch.tensor([False, True, True])
    assert static_nms(rows, valid, max_iou=0.5).tolist() == [False, True, False]
    assert not static_nms(rows, torch.zeros(3, dtype=torch.bool), max_iou=0.5).any()


def labels_of(count: int, classes: int) -> Tensor:
    return torch.randint(1, classes + 1, (count,), generator=torch.Generator().manual_seed(1))


def whole(boxes: Tensor) -> Tensor:
    """In whole pixels, where torchvision's shift of each class is exact."""
    return boxes.round()


@pytest.mark.parametrize("make", [whole, lambda boxes: boxes], ids=["whole px", "any"])
def test_labels_keep_classes_apart_as_in_torchvision(make: Callable[[Tensor], Tensor]) -> None:
    boxes, labels = make(crowd(300, 8, 3)), labels_of(300, 5)
    everyone = torch.ones(300, dtype=torch.bool)
    found = static_nms(boxes, everyone, max_iou=0.5, labels=labels)
    assert found.equal(greedy(boxes, 0.5, labels))
    assert found.sum() > greedy(boxes, 0.5).sum()


def test_every_picture_and_level_is_on_its_own() -> None:
    boxes = torch.stack([crowd(50, 4, seed) for seed in range(6)]).reshape(2, 3, 50, 4)
    valid = torch.arange(50).expand(2, 3, 50) % 7 > 0
    together = static_nms(boxes, valid, max_iou=0.5)
    for picture in range(2):
        for level in range(3):
            alone = static_nms(boxes[picture, level], valid[picture, level], max_iou=0.5)
            assert together[picture, level].equal(alone)
            assert alone.sum() < 43
