"""Detections against detections, and what is past which tolerance."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from export.compare import Agreement, agreement, ap50, match
from export.proof import EMPTY, Case, Proof
from models.detections import Detections

NAMES = ("__background__", "person", "dog")
SIZE = (200, 100)


def found(
    boxes: list[list[float]],
    scores: list[float],
    labels: list[int] | None = None,
    **more: np.ndarray,
) -> Detections:
    return Detections(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.array(scores, np.float32),
        labels=np.array(labels or [1] * len(scores), np.int64),
        class_names=NAMES,
        **more,
    )


ONE = found([[10, 10, 50, 90], [100, 20, 180, 60]], [0.9, 0.6])
NONE = found([], [])


def compared(original: Detections, exported: Detections, most: int = 100) -> Agreement:
    return agreement([original], [exported], floor=0.05, margin=1e-3, most=most, canvas_size=SIZE)


def case(have: Agreement | None = None, **values: object) -> Case:
    settings = {"where": "x fp32", "pictures": "p", "batch": 1, "precision": "fp32", "ap50": {}}
    return Case(agreement=have, **(settings | values))  # type: ignore[arg-type]


def test_the_same_is_the_same() -> None:
    have = compared(ONE, ONE)
    assert (have.expected, have.matched, have.missing, have.surplus) == (2, 2, 0, 0)
    assert have.box_px_max == have.score_max == 0
    assert case(have).excess() is None


def test_order_does_not_matter() -> None:
    assert match(ONE, ONE.select(np.array([1, 0]))) == [(0, 1), (1, 0)]


def test_another_class_is_another_object() -> None:
    other = dataclasses.replace(ONE, labels=np.array([1, 2]))
    have = compared(ONE, other)
    assert (have.matched, have.missing, have.surplus) == (1, 1, 1)


def test_a_box_that_is_not_a_number_is_missing() -> None:
    broken = found([[np.nan] * 4, [100, 20, 180, 60]], [0.9, 0.6])
    assert compared(ONE, broken).missing == 1


def test_nothing_twice() -> None:
    have = compared(NONE, NONE)
    assert (have.expected, have.box_px_max) == (0, None)
    assert case(have, pictures=EMPTY).excess() is None


@pytest.mark.parametrize(("score", "missing"), [(0.0505, 0), (0.052, 1)])
def test_close_to_the_floor_it_may_be_there_or_not(score: float, missing: int) -> None:
    extra = found([[0, 0, 9, 9]], [score])
    assert compared(extra, NONE).missing == missing
    assert compared(NONE, extra).surplus == missing


def test_where_the_rows_are_full_the_last_may_differ() -> None:
    original = found([[0, 0, 9, 9], [20, 20, 40, 40]], [0.9, 0.3])
    exported = found([[0, 0, 9, 9], [60, 20, 90, 40]], [0.9, 0.3])
    assert compared(original, exported, most=2).missing == 0
    assert compared(original, exported, most=3).missing == 1


def test_masks_and_keypoints() -> None:
    masks = np.ones((2, 28, 28), np.float32)
    points = np.zeros((2, 17, 3), np.float32)
    half = masks.copy()
    half[:, :, 14:] = 0
    original = dataclasses.replace(ONE, masks=masks, keypoints=points)
    exported = dataclasses.replace(ONE, masks=half, keypoints=points + np.float32([3, 4, 0]))
    have = compared(original, exported)
    assert have.mask_iou_mean == pytest.approx(0.5, abs=0.05)
    assert have.keypoint_px_mean == pytest.approx(5)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"boxes": ONE.boxes + 0.1}, "a box is off by 0.1 px, and 0.05 px is allowed"),
        ({"scores": ONE.scores - 0.01}, "a score is off by 0.01, and 0.001 is allowed"),
        ({"labels": np.array([1, 2])}, "1 of the original's 2 objects are missing and 1 are new"),
    ],
)
def test_fp32_has_to_be_the_same(changed: dict[str, np.ndarray], words: str) -> None:
    excess = case(compared(ONE, dataclasses.replace(ONE, **changed))).excess()
    assert excess is not None
    assert words in excess


def test_ap_of_the_original_s_own_answer() -> None:
    assert ap50([ONE], [ONE], canvas_size=SIZE) == {"box": (1.0, 1.0)}
    lost = ap50([ONE, ONE], [ONE, NONE], canvas_size=SIZE)["box"]
    assert lost[0] == 1.0
    assert lost[1] == pytest.approx(0.5, abs=0.01)
    assert ap50([NONE], [ONE], canvas_size=SIZE) == {}


def test_what_the_original_is_unsure_of_counts_for_nothing() -> None:
    original = found([[10, 10, 50, 90], [100, 20, 180, 60]], [0.9, 0.49])
    surer = found([[10, 10, 50, 90], [100, 20, 180, 60]], [0.9, 0.95])
    assert ap50([original], [surer], canvas_size=SIZE)["box"] == pytest.approx((1.0, 1.0))
    elsewhere = found([[10, 10, 50, 90], [0, 91, 180, 100]], [0.9, 0.95])
    assert ap50([original], [elsewhere], canvas_size=SIZE)["box"][1] < 0.6


def test_ap_of_masks_and_keypoints() -> None:
    whole = dataclasses.replace(
        ONE,
        masks=np.ones((2, 28, 28), np.float32),
        keypoints=np.tile(np.arange(17, dtype=np.float32)[:, None], (2, 1, 3)),
    )
    both = ap50([whole], [whole], canvas_size=SIZE)
    assert both == dict.fromkeys(("box", "keypoints", "mask"), (1.0, 1.0))


@pytest.mark.parametrize(
    ("precision", "export", "passes"),
    [("bf16", 0.996, True), ("bf16", 0.99, False), ("int8", 0.991, True), ("int8", 0.98, False)],
)
def test_less_precise_ones_by_average_precision(
    precision: str, export: float, passes: bool
) -> None:
    this = case(compared(ONE, NONE), precision=precision, ap50={"box": (1.0, export)})
    assert (this.excess() is None) == passes


def test_an_object_on_the_empty_picture_fails_any_precision() -> None:
    this = case(compared(NONE, ONE), precision="int8", pictures=EMPTY)
    assert "2 are new" in str(this.excess())


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_nothing_comparable_is_a_failure(precision: str) -> None:
    cases = [
        case(compared(NONE, NONE), pictures=name, precision=precision) for name in ("p", EMPTY)
    ]
    proof = Proof.of(cases, "p")
    assert not proof.compared
    assert str(proof.failure).startswith("Nothing could be compared")


def test_labels_alone_can_prove_int8() -> None:
    cases = [
        case(compared(ONE, ONE), precision="int8"),
        case(None, precision="int8", ap50={"box": (0.5, 0.495)}),
    ]
    proof = Proof.of(cases, "p")
    assert proof.failure is None
    assert proof.to_dict()["cases"][0]["agreement"]["matched"] == 2


def test_an_fp32_proof_is_enough_where_bf16_has_nothing_to_show() -> None:
    cases = [case(compared(ONE, ONE)), case(compared(ONE, ONE), where="x bf16", precision="bf16")]
    assert Proof.of(cases, "p").failure is None
