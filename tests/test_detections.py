from __future__ import annotations

import numpy as np
import pytest

from models.detections import Detections

NAMES = ("__background__", "person", "bicycle")


def three(**changes: object) -> Detections:
    fields: dict[str, object] = {
        "boxes": np.arange(12, dtype=np.float32).reshape(3, 4),
        "labels": np.array([1, 2, 1]),
        "scores": np.array([0.9, 0.8, 0.7], np.float32),
        "class_names": NAMES,
        "masks": np.stack([np.full((28, 28), k / 10, np.float32) for k in range(3)]),
        "keypoints": np.arange(3 * 17 * 3, dtype=np.float32).reshape(3, 17, 3),
        "track_ids": np.array([5, -1, 2]),
    }
    return Detections(**(fields | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("boxes", (3, 5), (3, 4)),
        ("boxes", (3,), (3, 4)),
        ("labels", (2,), (3,)),
        ("labels", (3, 1), (3,)),
        ("scores", (4,), (3,)),
        ("masks", (3, 14, 14), (3, 28, 28)),
        ("masks", (2, 28, 28), (3, 28, 28)),
        ("keypoints", (3, 17, 2), (3, 17, 3)),
        ("keypoints", (2, 17, 3), (3, 17, 3)),
        ("keypoints", (3, 3), (3, 3, 3)),
        ("track_ids", (2,), (3,)),
    ],
)
def test_error_names_the_actual_shape(
    name: str, shape: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the message is compared whole
        three(**{name: np.zeros(shape, np.float32)})
    assert str(raised.value) == f"{name} must be {expected}, not {shape}"


def test_select_keeps_rows_of_every_field_together_and_in_order() -> None:
    chosen = three().select(np.array([False, True, True]))
    assert len(chosen) == 2
    assert chosen.boxes[:, 0].tolist() == [4, 8]
    assert chosen.labels.tolist() == [2, 1]
    np.testing.assert_allclose(chosen.scores, [0.8, 0.7])
    assert chosen.masks is not None
    np.testing.assert_allclose(chosen.masks[:, 0, 0], [0.1, 0.2])
    assert chosen.keypoints is not None
    assert chosen.keypoints[:, 0, 0].tolist() == [51, 102]
    assert chosen.track_ids is not None
    assert chosen.track_ids.tolist() == [-1, 2]
    assert chosen.class_names == NAMES


def test_select_of_nothing_and_without_masks() -> None:
    none = three(masks=None, keypoints=None, track_ids=None).select(np.zeros(3, bool))
    assert len(none) == 0
    assert none.boxes.shape == (0, 4)
    assert none.masks is None
    assert none.keypoints is None
    assert none.track_ids is None


def test_empty() -> None:
    empty = Detections.empty(NAMES)
    assert len(empty) == 0
    assert empty.names() == []
    assert empty.class_names == NAMES
    assert (empty.boxes.dtype, empty.labels.dtype) == (np.float32, np.int64)


def test_empty_can_have_masks_and_keypoints() -> None:
    empty = Detections(
        boxes=np.zeros((0, 4), np.float32),
        labels=np.zeros(0, np.int64),
        scores=np.zeros(0, np.float32),
        class_names=NAMES,
        masks=np.zeros((0, 28, 28), np.float32),
        keypoints=np.zeros((0, 17, 3), np.float32),
    )
    assert repr(empty) == "Detections(0 objects, masks, 17 keypoints)"


def test_names() -> None:
    assert three().names() == ["person", "bicycle", "person"]


def test_repr_shows_what_there_is_but_no_data() -> None:
    assert repr(three()) == "Detections(3 objects, masks, 17 keypoints, track ids)"
    assert repr(three(masks=None, keypoints=None, track_ids=None)) == "Detections(3 objects)"


def test_fields_cannot_be_replaced() -> None:
    with pytest.raises(AttributeError):
        three().labels = np.zeros(3, np.int64)  # type: ignore[misc]
