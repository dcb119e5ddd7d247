from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torchvision import tv_tensors

from models.data.penn_fudan import Sample, person_target
from models.detections import Detections
from models.evaluate import AveragePrecision, evaluate
from models.letterbox import Image

NAMES = ("__background__", "person")
SIZE = 160, 120  # (width, height) px
# Boxes of each picture. Every mask fills its box, so that box and mask overlap alike.
SCENES = (
    ((10, 10, 50, 90), (60, 20, 100, 110)),
    ((5, 30, 45, 110), (80, 10, 150, 60)),
)

Boxes = tuple[tuple[float, ...], ...]
Detect = Callable[[Image], Detections]


def sample(boxes: Boxes) -> Sample:
    masks = torch.zeros(len(boxes), SIZE[1], SIZE[0], dtype=torch.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[int(y0) : int(y1), int(x0) : int(x1)] = 1
    tensor = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    picture = tv_tensors.Image(torch.zeros(3, SIZE[1], SIZE[0], dtype=torch.uint8))
    return picture, person_target(tensor, masks, image_id=0)


def detections(
    boxes: Boxes, *, masks: bool = True, scores: list[float] | None = None
) -> Detections:
    count = len(boxes)
    return Detections(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.ones(count, np.int64),
        scores=np.array(scores if scores is not None else [0.9] * count, np.float32),
        class_names=NAMES,
        masks=np.ones((count, 28, 28), np.float32) if masks else None,
    )


def in_turn(*results: Detections) -> Detect:
    """A detector that finds what it is told to, picture by picture."""
    queue: Iterator[Detections] = iter(results)
    return lambda image: next(queue)


def score(*results: Detections) -> dict[str, AveragePrecision]:
    return evaluate(in_turn(*results), [sample(boxes) for boxes in SCENES])


def test_perfect_detections() -> None:
    found = score(*(detections(boxes) for boxes in SCENES))
    assert set(found) == {"box", "mask"}
    assert found["box"] == AveragePrecision(*[pytest.approx(1.0)] * 3)
    assert found["mask"].ap50 == pytest.approx(1.0)
    assert found["mask"].ap > 0.9  # a pasted mask is a pixel wider than its box


def test_without_masks_boxes_alone_are_scored() -> None:
    found = score(*(detections(boxes, masks=False) for boxes in SCENES))
    assert set(found) == {"box"}


def test_half_missing() -> None:
    found = score(*(detections(boxes[:1]) for boxes in SCENES))
    assert found["box"].ap == pytest.approx(0.5, abs=0.01)


def test_shifted_boxes_count_at_low_thresholds_alone() -> None:
    # 80x50 px moved by 10 px: IoU 70 / 90 = 0.78, so thresholds 0.50 to 0.75 of ten
    boxes = ((20.0, 20.0, 100.0, 70.0),)
    shifted = ((30.0, 20.0, 110.0, 70.0),)
    found = evaluate(in_turn(detections(shifted)), [sample(boxes)])["box"]
    assert (found.ap50, found.ap75) == (pytest.approx(1.0), pytest.approx(1.0))
    assert found.ap == pytest.approx(0.6)


def test_boxes_side_by_side_score_nothing() -> None:
    found = evaluate(
        in_turn(detections(((150, 100, 160, 110),))), [sample(((140, 100, 150, 110),))]
    )
    assert found["box"] == AveragePrecision(0, 0, 0)


def test_no_detections() -> None:
    found = score(Detections.empty(NAMES), Detections.empty(NAMES))
    assert found["box"] == AveragePrecision(0, 0, 0)


def test_a_false_alarm_in_a_picture_without_objects_costs_precision() -> None:
    samples = [sample(SCENES[0]), sample(())]
    quiet = evaluate(in_turn(detections(SCENES[0]), detections(())), samples)["box"]
    assert quiet.ap == pytest.approx(1.0)
    alarm = detections(((20, 20, 60, 60),), scores=[0.99])
    loud = evaluate(in_turn(detections(SCENES[0]), alarm), samples)["box"]
    assert loud.ap == pytest.approx(2 / 3, abs=0.01)


def test_confident_errors_cost_more_than_doubtful_ones() -> None:
    wrong = (100.0, 5.0, 140.0, 40.0)
    boxes = SCENES[0]
    results = [
        evaluate(in_turn(detections((*boxes, wrong), scores=[0.8, 0.7, doubt])), [sample(boxes)])[
            "box"
        ].ap
        for doubt in (0.1, 0.95)
    ]
    assert results[0] == pytest.approx(1.0)
    assert results[1] < 0.7


def test_the_detector_sees_the_picture_as_rgb_rows() -> None:
    picture, target = sample(SCENES[0])
    picture[0, 7, 5] = 200

    def detect(image: Image) -> Detections:
        assert image.shape == (SIZE[1], SIZE[0], 3)
        assert image.dtype == np.uint8
        assert image[7, 5].tolist() == [200, 0, 0]
        return detections(SCENES[0])

    assert evaluate(detect, [(picture, target)])["box"].ap == pytest.approx(1.0)


def test_mask_shape_matters() -> None:
    half = detections(SCENES[0])
    assert half.masks is not None
    half.masks[:, 14:] = 0
    found = evaluate(in_turn(half), [sample(SCENES[0])])
    assert found["box"].ap == pytest.approx(1.0)
    assert found["mask"].ap < 0.3
