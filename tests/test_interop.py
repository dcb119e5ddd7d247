from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from models.detections import UNTRACKED, Detections
from models.errors import UsageError
from models.roi_masks import paste_whole

NAMES = ("__background__", "person", "bicycle")
SIZE = (160, 120)  # (width, height) px


def found(**changes: object) -> Detections:
    """Two ellipses, the second half out of the frame's corner."""
    y, x = np.mgrid[-1:1:28j, -1:1:28j]
    ellipse = (1 / (1 + np.exp(12 * (np.hypot(x, y) - 0.85)))).astype(np.float32)
    fields: dict[str, object] = {
        "boxes": np.array([[10.3, 20.6, 90.2, 110.9], [120, 90, 160, 120]], np.float32),
        "labels": np.array([1, 2]),
        "scores": np.array([0.9, 0.6], np.float32),
        "class_names": NAMES,
        "masks": np.stack([ellipse, ellipse]),
        "track_ids": np.array([7, UNTRACKED]),
    }
    return Detections(**(fields | changes))  # type: ignore[arg-type]


def iou(first: np.ndarray, second: np.ndarray) -> float:
    first, second = first.astype(bool), second.astype(bool)
    return float((first & second).sum() / (first | second).sum())


def test_supervision_gets_everything() -> None:
    objects = found()
    theirs = objects.to_supervision(SIZE)
    np.testing.assert_array_equal(theirs.xyxy, objects.boxes)
    assert theirs.class_id is not None
    assert theirs.class_id.tolist() == [1, 2]
    assert theirs.tracker_id is not None
    assert theirs.tracker_id.tolist() == [7, -1]
    assert theirs.data["class_name"].tolist() == ["person", "bicycle"]
    assert theirs.mask is not None
    assert objects.masks is not None
    for theirs_one, mask, box in zip(theirs.mask, objects.masks, objects.boxes, strict=True):
        np.testing.assert_array_equal(theirs_one, paste_whole(mask, box, SIZE).astype(bool))


def test_supervision_draws_what_it_gets() -> None:
    import supervision

    theirs = found().to_supervision(SIZE)
    scene = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    drawn = supervision.MaskAnnotator().annotate(scene.copy(), theirs)
    inside = paste_whole(found().masks[0], found().boxes[0], SIZE).astype(bool)  # type: ignore[index]
    assert drawn[inside].any(axis=1).all()


def test_there_and_back_is_the_same() -> None:
    objects = found()
    back = Detections.from_supervision(objects.to_supervision(SIZE), NAMES)
    for name in ("boxes", "labels", "scores", "track_ids"):
        np.testing.assert_array_equal(getattr(back, name), getattr(objects, name))
    assert back.class_names == NAMES
    assert back.masks is not None
    assert objects.masks is not None
    for i, box in enumerate(objects.boxes):
        before, after = (paste_whole(masks[i], box, SIZE) for masks in (objects.masks, back.masks))
        assert iou(before, after) > 0.92  # up to a third of a pixel on every side


def test_without_size_there_are_no_masks_and_nothing_is_no_special_case() -> None:
    assert found().to_supervision().mask is None
    empty = Detections.empty(NAMES)
    back = Detections.from_supervision(empty.to_supervision(SIZE), NAMES)
    assert len(back) == 0
    assert back.boxes.shape == (0, 4)
    none_of_some = found().select(np.zeros(2, bool))
    back = Detections.from_supervision(none_of_some.to_supervision(SIZE))
    assert back.masks is not None
    assert back.masks.shape == (0, 28, 28)


def test_detections_of_others_are_sorted_and_named() -> None:
    import supervision

    theirs = supervision.Detections(
        xyxy=np.array([[0, 0, 5, 5], [1, 1, 9, 9]], float),
        class_id=np.array([3, 0]),
        confidence=np.array([0.2, 0.8]),
        data={"class_name": np.array(["cat", "dog"])},
    )
    ours = Detections.from_supervision(theirs)
    assert ours.names() == ["dog", "cat"]
    assert ours.scores.tolist() == pytest.approx([0.8, 0.2])
    assert ours.class_names == ("dog", "class 1", "class 2", "cat")
    with pytest.raises(ValueError, match="has to be below 2"):
        Detections.from_supervision(theirs, ("a", "b"))
    theirs.class_id = None
    with pytest.raises(ValueError, match="without class_id"):
        Detections.from_supervision(theirs)


def test_coco_rows_are_json_and_decode_to_the_masks() -> None:
    objects = found(keypoints=np.ones((2, 17, 3), np.float32))
    rows = json.loads(json.dumps(objects.to_coco(42, SIZE)))
    assert [row["category_id"] for row in rows] == [1, 2]
    assert rows[0]["bbox"] == pytest.approx([10.3, 20.6, 79.9, 90.3], abs=1e-4)
    assert rows[0]["image_id"] == 42
    assert rows[0]["track_id"] == 7
    assert "track_id" not in rows[1]
    assert len(rows[0]["keypoints"]) == 17 * 3
    decoded = coco_mask.decode(rows[0]["segmentation"])
    np.testing.assert_array_equal(
        decoded,
        paste_whole(objects.masks[0], objects.boxes[0], SIZE),  # type: ignore[index]
    )


def test_coco_categories_choose_and_rename() -> None:
    rows = found(masks=None).to_coco(1, SIZE, {"bicycle": 2})
    assert [(row["category_id"], row["bbox"]) for row in rows] == [(2, [120, 90, 40, 30])]
    assert "segmentation" not in rows[0]


def test_pandas() -> None:
    table = found().to_pandas()
    assert table.columns.tolist() == ["label", "score", "x1", "y1", "x2", "y2", "track_id"]
    assert table["label"].tolist() == ["person", "bicycle"]
    assert table["track_id"].tolist() == [7, UNTRACKED]
    assert table["x2"].tolist() == pytest.approx([90.2, 160])
    assert len(Detections.empty(NAMES).to_pandas()) == 0


@pytest.mark.parametrize(
    ("method", "package"), [("to_supervision", "supervision"), ("to_pandas", "pandas")]
)
def test_a_missing_package_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, method: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=f"{package}, which is missing: pip install {package}"):
        getattr(found(), method)()


def test_detections_alone_import_neither() -> None:
    code = "import sys, models.detections; print({'supervision', 'pandas'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
