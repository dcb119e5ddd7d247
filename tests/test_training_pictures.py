from __future__ import annotations

import numpy as np
import torch

from models.detections import Detections
from models.training.pictures import draw_found, draw_sample

GREY = torch.full((3, 96, 128), 128, dtype=torch.uint8)


def found(*, keypoints: bool = False) -> Detections:
    return Detections(
        boxes=np.array([[20, 10, 50, 80], [70, 20, 100, 90]], np.float32),
        labels=np.ones(2, np.int64),
        scores=np.array([0.9, 0.3], np.float32),
        class_names=("__background__", "person"),
        masks=None if keypoints else np.ones((2, 28, 28), np.float32),
        keypoints=np.array([[[35, 20, 1], [35, 60, -1]]] * 2, np.float32) if keypoints else None,
    )


def changed(drawn: torch.Tensor) -> torch.Tensor:
    return (drawn != GREY).any(0)


def test_certain_objects_are_drawn_and_uncertain_ones_are_not() -> None:
    drawn = changed(draw_found(GREY, found(), min_score=0.5))
    assert drawn[12:78, 22:48].all()  # the mask
    assert not drawn[:, 60:].any()
    both = changed(draw_found(GREY, found(), min_score=0.2))
    assert both[22:88, 72:98].all()


def test_nothing_found_is_nothing_drawn() -> None:
    assert torch.equal(draw_found(GREY, found(), min_score=0.95), GREY)


def test_visible_keypoints_are_drawn() -> None:
    drawn = changed(draw_found(GREY, found(keypoints=True), min_score=0.5))
    assert drawn[20, 35]
    assert not drawn[60, 35]


def test_a_sample_is_drawn_with_its_masks() -> None:
    masks = torch.zeros(1, 96, 128, dtype=torch.uint8)
    masks[0, 30:60, 40:80] = 1
    target = {"boxes": torch.tensor([[40.0, 30, 80, 60]]), "masks": masks}
    drawn = changed(draw_sample(GREY / 255, target))
    assert drawn[32:58, 42:78].all()
    assert not drawn[:28].any()
    assert torch.equal(draw_sample(GREY / 255, {"boxes": torch.zeros(0, 4)}), GREY)
