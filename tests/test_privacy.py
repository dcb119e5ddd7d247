from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest

from models.detections import Detections
from models.planes import YuvPlanes
from models.roi_masks import paste_whole
from stream.errors import UsageError
from stream.frame import Frame
from stream.privacy import HOLD_SECONDS, MARGIN, Privacy, PrivacySettings, Way, covered

NAMES = ("__background__", "person", "dog")
SIZE = (320, 240)  # (width, height) px


def frame(index: int = 0, *, rate: int = 25) -> Frame:
    """Noise, in which every pixel can be told from its neighbours."""
    image = np.random.default_rng(7).integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)
    return Frame(image, index, "noise", index, Fraction(1, rate), 0.0)


def people(**changes: object) -> Detections:
    """A person, a dog that overlaps, and a person half out of the picture."""
    y, x = np.mgrid[-1:1:28j, -1:1:28j]
    ellipse = (1 / (1 + np.exp(12 * (np.hypot(x, y) - 0.8)))).astype(np.float32)
    fields: dict[str, object] = {
        "boxes": np.array(
            [[40.4, 30.2, 140.1, 220.7], [120, 150, 200, 210], [290, 100, 350, 260]], np.float32
        ),
        "labels": np.array([1, 2, 1]),
        "scores": np.array([0.9, 0.8, 0.3], np.float32),
        "class_names": NAMES,
        "masks": np.stack([ellipse] * 3),
    }
    return Detections(**(fields | changes))  # type: ignore[arg-type]


def inside(found: Detections, label: int, grown_by: float = 0) -> np.ndarray:
    """(H,W) of the frame's pixels in masks of a class, found without the code under test."""
    whole = np.zeros((SIZE[1], SIZE[0]), bool)
    for mask, box, one in zip(found.masks, found.boxes, found.labels, strict=True):  # type: ignore[arg-type]
        if one == label:
            pixels = paste_whole(mask, box, SIZE)
            distance = cv2.distanceTransform(1 - pixels, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            cell = max(box[2] - box[0], box[3] - box[1]) / 28
            whole |= distance <= grown_by * (MARGIN + np.ceil(cell / 2))
    return whole


def high_frequencies(image: np.ndarray, where: np.ndarray) -> float:
    """How much pixels differ from the mean of their neighbours."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(np.abs(grey - cv2.blur(grey, (5, 5)))[where].mean())


@pytest.mark.parametrize("way", list(Way))
def test_inside_nothing_is_left_and_outside_nothing_changes(way: Way) -> None:
    before, found = frame(), people()
    after = Privacy(PrivacySettings(("person",), way), NAMES).hide(before, found)
    outside = ~inside(found, 1, grown_by=1.05)
    np.testing.assert_array_equal(after.image[outside], before.image[outside])
    hidden = inside(found, 1)
    core = cv2.erode(hidden.astype(np.uint8), np.ones((7, 7), np.uint8)).astype(bool)
    assert high_frequencies(after.image, core) < 0.12 * high_frequencies(before.image, core)
    # the noise is gone, and with it every likeness
    likeness = np.corrcoef(after.image[hidden].ravel(), before.image[hidden].ravel())[0, 1]
    assert abs(likeness) < 0.15
    rim = inside(found, 1, grown_by=0.95) & ~hidden
    assert rim.sum() > 1000
    assert (after.image != before.image)[rim].mean() > 0.9


def test_a_picture_cannot_be_told_from_another_with_the_same_coarse_colours() -> None:
    """Detail is averaged away: what is left depends on sums over cells alone."""
    found = people().select(np.array([True, False, False]))
    (x, y, mask) = next(covered(found, SIZE))
    cell_h, cell_w = mask.shape[0] / round(mask.shape[0] / (min(mask.shape) / 8)), mask.shape[1] / 8
    assert min(cell_h, cell_w) > 10  # px
    faces = []
    for seed in (1, 2):
        fine = np.random.default_rng(seed).permutation(np.repeat([0, 255], SIZE[0] * SIZE[1] // 2))
        image = np.repeat(fine.reshape(SIZE[1], SIZE[0], 1), 3, axis=2).astype(np.uint8)
        hidden = Privacy(PrivacySettings(("person",), Way.PIXELATE), NAMES).hide(
            replace(frame(), image=image), found
        )
        faces.append(hidden.image[y : y + mask.shape[0], x : x + mask.shape[1]][mask == 1])
    assert np.abs(faces[0].astype(int) - faces[1]).mean() < 15  # of 255; 128 before


def test_the_captured_frame_is_not_touched_and_its_planes_do_not_travel_on() -> None:
    luma = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    planes = YuvPlanes(luma, (luma[::2, ::2], luma[::2, ::2]), (0.299, 0.114), True)
    before = replace(frame(), planes=planes)
    copy = before.image.copy()
    after = Privacy(PrivacySettings(("person",)), NAMES).hide(before, people())
    np.testing.assert_array_equal(before.image, copy)
    assert after.planes is None
    assert (after.index, after.pts, after.source_id) == (before.index, before.pts, "noise")


@pytest.mark.parametrize("way", list(Way))
def test_everything_but_a_class(way: Way) -> None:
    before, found = frame(), people()
    after = Privacy(PrivacySettings(("dog",), way, all_but=True), NAMES).hide(before, found)
    kept = inside(found, 2)
    np.testing.assert_array_equal(after.image[kept], before.image[kept])
    core = cv2.erode((~kept).astype(np.uint8), np.ones((7, 7), np.uint8)).astype(bool)
    assert high_frequencies(after.image, core) < 0.12 * high_frequencies(before.image, core)


def test_without_masks_boxes_are_hidden() -> None:
    before = frame()
    for masks in (None, np.zeros((3, 28, 28), np.float32)):
        found = people(masks=masks)
        after = Privacy(PrivacySettings(("person",)), NAMES).hide(before, found)
        box = np.zeros((SIZE[1], SIZE[0]), bool)
        box[30:221, 40:141] = box[100:, 290:] = True
        margin = MARGIN + (0 if masks is None else 4)
        far = cv2.dilate(box.astype(np.uint8), np.ones((2 * margin + 1,) * 2, np.uint8)) == 0
        np.testing.assert_array_equal(after.image[far], before.image[far])
        assert high_frequencies(after.image, box) < 0.15 * high_frequencies(before.image, box)


def test_objects_outside_of_the_picture_or_without_area_are_no_error() -> None:
    boxes = np.array([[-50, -50, -10, -10], [320, 240, 400, 300], [50, 50, 50, 50]], np.float32)
    for masks in (None, np.ones((3, 28, 28), np.float32)):
        for all_but in (False, True):
            found = people(boxes=boxes, masks=masks)
            settings = PrivacySettings(("person", "dog"), all_but=all_but)
            assert Privacy(settings, NAMES).hide(frame(), found).image.shape == (240, 320, 3)


def test_who_is_missed_for_a_moment_stays_hidden() -> None:
    privacy = Privacy(PrivacySettings(("person",)), NAMES)
    found = people()
    where = inside(found, 1)
    privacy.hide(frame(0), found)
    for index in range(1, 40):
        before = frame(index)
        after = privacy.hide(before, found.select(found.labels == 2))
        is_hidden = high_frequencies(after.image, where) < high_frequencies(before.image, where) / 2
        assert is_hidden == (index / 25 <= HOLD_SECONDS), index


def test_who_is_found_again_is_hidden_where_he_is_now_alone() -> None:
    privacy = Privacy(PrivacySettings(("person",)), NAMES)
    one = people().select(np.array([True, False, False]))
    for index in range(50):
        now = replace(one, boxes=one.boxes + np.float32(index))
        before = frame(index)
        after = privacy.hide(before, now)
        outside = ~inside(now, 1, grown_by=1.05)
        np.testing.assert_array_equal(after.image[outside], before.image[outside])
    assert len(privacy._held) == 1


def test_a_class_the_model_does_not_have_is_a_sentence() -> None:
    with pytest.raises(UsageError, match="no class 'cat'"):
        Privacy(PrivacySettings(("person", "cat")), NAMES)
