"""Drawn pictures against golden ones, and what must hold for any detections.

The golden pictures are made by `python tests/test_render.py --update`: look at them before
committing. They are compared at a quarter of their size, where the glyphs of another version of
OpenCV, or lines a pixel aside, weigh little, and a missing line, plate or tint weighs a lot.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from models.detections import Detections
from stream import render
from stream.frame import Image
from stream.render import Pen, color_of, draw_detections, draw_hud

GOLDEN = Path(__file__).parent / "golden"
MAX_MEAN_DIFFERENCE = 1.2  # of 255, over the whole picture
FAR = 24  # of 255: a difference that is seen
MAX_SHARE_FAR = 0.003  # of all pixels of the small picture

same_letters = pytest.mark.skipif(
    int(cv2.__version__.split(".")[0]) < 5, reason="OpenCV 4 has other letters than 5"
)

NAMES = ("__background__", "person", "bicycle", "car")


def blob() -> np.ndarray:
    """(28,28) float32: a head on a body, soft at the edge."""
    y, x = (np.mgrid[:28, :28] + 0.5) / 28
    head = np.hypot((x - 0.5) / 0.22, (y - 0.16) / 0.15)
    body = np.hypot((x - 0.5) / 0.42, (y - 0.62) / 0.4)
    return (1 / (1 + np.exp(8 * (np.minimum(head, body) - 1)))).astype(np.float32)


def pose(box: np.ndarray) -> np.ndarray:
    """(17,3) float32: a person who stands upright in ``box``."""
    x = [50, 53, 47, 57, 43, 65, 35, 75, 25, 80, 20, 60, 40, 62, 38, 63, 37]
    y = [10, 8, 8, 10, 10, 25, 25, 40, 40, 55, 55, 55, 55, 75, 75, 95, 95]
    share = np.array([x, y]).T / 100
    points = box[:2] + share * (box[2:] - box[:2])
    return np.column_stack([points, np.ones(17)]).astype(np.float32)


def objects(
    boxes: list[tuple[float, float, float, float]],
    labels: list[int] | None = None,
    *,
    masks: bool = True,
    keypoints: bool = False,
) -> Detections:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    count = len(array)
    return Detections(
        boxes=array,
        labels=np.array(labels or [1] * count, np.int64),
        scores=np.linspace(0.95, 0.4, count, dtype=np.float32),
        class_names=NAMES,
        masks=np.stack([blob()] * count) if masks and count else None,
        keypoints=np.stack([pose(box) for box in array]) if keypoints and count else None,
    )


def grey(width: int, height: int, value: int = 96) -> Image:
    return np.full((height, width, 3), value, np.uint8)


# --- golden pictures ---


def scene_masks() -> Image:
    picture = grey(320, 240)
    picture[:, 160:] = 235
    boxes = [(20.0, 60.0, 100.0, 230.0), (70.0, 80.0, 150.0, 236.0), (190.0, 50.0, 300.0, 200.0)]
    draw_detections(picture, objects(boxes, [1, 1, 2]))
    return picture


def scene_borders() -> Image:
    picture = grey(320, 240, 30)
    boxes = [(-30.0, 40.0, 60.0, 150.0), (120.0, -20.0, 200.0, 70.0), (270.0, 90.0, 350.0, 260.0)]
    draw_detections(picture, objects(boxes, [1, 3, 2]))
    return picture


def scene_poses() -> Image:
    picture = grey(320, 240, 150)
    boxes = [(30.0, 30.0, 130.0, 230.0), (180.0, 50.0, 280.0, 220.0)]
    draw_detections(picture, objects(boxes, masks=False, keypoints=True))
    return picture


def scene_hud() -> Image:
    picture = grey(320, 240, 200)
    draw_hud(picture, ["27.3 fps  age 84 ms", "mask_rcnn_person", "3 objects"])
    return picture


SCENES = (scene_masks, scene_borders, scene_poses, scene_hud)


def golden_path(scene: Callable[[], Image]) -> Path:
    return GOLDEN / f"render_{scene.__name__.removeprefix('scene_')}.png"


def difference(drawn: Image, golden: Image) -> tuple[float, float]:
    """Mean absolute difference, and share of pixels that are far off, both at a quarter size."""
    assert drawn.shape == golden.shape
    size = drawn.shape[1] // 4, drawn.shape[0] // 4
    small = [
        cv2.resize(np.ascontiguousarray(picture), size, interpolation=cv2.INTER_AREA).astype(
            np.float32
        )
        for picture in (drawn, golden)
    ]
    off = np.abs(small[0] - small[1])
    return float(off.mean()), float((off.max(axis=2) > FAR).mean())


def is_like_golden(
    scene: Callable[[], Image], change: Callable[[Image], Image] = lambda drawn: drawn
) -> bool:
    golden = cv2.imread(str(golden_path(scene)))
    assert golden is not None
    mean, share = difference(change(scene()), np.asarray(golden[:, :, ::-1], np.uint8))
    return mean <= MAX_MEAN_DIFFERENCE and share <= MAX_SHARE_FAR


@same_letters
@pytest.mark.parametrize("scene", SCENES)
def test_looks_like_its_golden_picture(scene: Callable[[], Image]) -> None:
    assert is_like_golden(scene)


@same_letters
@pytest.mark.parametrize("scene", SCENES)
def test_fuzzier_edges_are_like_golden(scene: Callable[[], Image]) -> None:
    """As another version's anti-aliasing may draw them."""

    def blur(drawn: Image) -> Image:
        return np.asarray(cv2.GaussianBlur(drawn, (3, 3), 0.6), np.uint8)

    assert (blur(scene()) != scene()).any()
    assert is_like_golden(scene, blur)


def without(call: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A drawing function whose n-th call does nothing."""

    def wrap(function: Callable[..., None]) -> Callable[..., None]:
        calls = 0

        def wrapped(*arguments: object) -> None:
            nonlocal calls
            calls += 1
            if calls - 1 != call:
                function(*arguments)

        return wrapped

    return wrap


@same_letters
@pytest.mark.parametrize("call", range(3))
@pytest.mark.parametrize("part", ["blend_mask", "_draw_box", "_draw_label"])
@pytest.mark.parametrize("scene", [scene_masks, scene_borders])
def test_a_missing_part_is_not_like_golden(
    monkeypatch: pytest.MonkeyPatch, scene: Callable[[], Image], part: str, call: int
) -> None:
    monkeypatch.setattr(render, part, without(call)(getattr(render, part)))
    assert not is_like_golden(scene)


@same_letters
@pytest.mark.parametrize("call", range(2))
def test_a_missing_pose_is_not_like_golden(monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    monkeypatch.setattr(render, "_draw_pose", without(call)(render._draw_pose))
    assert not is_like_golden(scene_poses)


@same_letters
@pytest.mark.parametrize("call", range(3))
def test_a_missing_line_of_text_is_not_like_golden(
    monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    monkeypatch.setattr(render, "_put_text", without(call)(render._put_text))
    assert not is_like_golden(scene_hud)


@same_letters
def test_another_colour_is_not_like_golden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "color_of", lambda label: (255, 60, 200))
    assert not is_like_golden(scene_masks)


# --- what must hold for any detections ---

sides = st.integers(16, 400)
coordinates = st.floats(-150, 550, width=32)


@st.composite
def pictures_with_boxes(draw: st.DrawFn) -> tuple[tuple[int, int], list[tuple[float, ...]]]:
    boxes = []
    for _ in range(draw(st.integers(1, 4))):
        left, right = sorted((draw(coordinates), draw(coordinates)))
        top, bottom = sorted((draw(coordinates), draw(coordinates)))
        boxes.append((left, top, right, bottom))
    return (draw(sides), draw(sides)), boxes


def touched_at_most(picture: Image, detections: Detections) -> np.ndarray:
    """(H,W) bool: boxes grown by a mask's padding and a line's width, and room for labels."""
    height, width = picture.shape[:2]
    pen = Pen(picture)
    allowed = np.zeros((height, width), bool)
    for box, name in zip(detections.boxes, detections.names(), strict=True):
        left, top, right, bottom = box
        if right < -0.5 or bottom < -0.5 or left > width or top > height:
            continue
        grow = np.array([right - left, bottom - top]) / 28 + pen.line + 3
        x0, y0 = np.floor(np.maximum(box[:2] - grow, 0)).astype(int)
        x1, y1 = np.ceil(np.maximum(box[2:] + grow, 0)).astype(int)
        allowed[y0:y1, x0:x1] = True
        (text_width, text_height), base = cv2.getTextSize(
            f"{name} 0.88", render.FONT, pen.text, pen.text_line
        )
        plate = text_width + 4 * pen.line + 8, text_height + base + 2 * pen.line + 6
        x = int(np.clip(left, 0, max(0, width - plate[0])))
        y0, y1 = int(max(0, top) - plate[1]), int(max(0, top) + plate[1])
        y0, y1 = min(y0, height - plate[1]), max(y1, plate[1])
        allowed[max(0, y0 - 2) : max(0, y1 + 2), max(0, x - 2) : x + plate[0]] = True
    return allowed


@settings(max_examples=150)
@given(pictures_with_boxes(), st.integers(0, 255))
def test_what_is_far_from_every_object_stays_unchanged(
    case: tuple[tuple[int, int], list[tuple[float, float, float, float]]], value: int
) -> None:
    (width, height), boxes = case
    picture = grey(width, height, value)
    detections = objects(boxes)
    draw_detections(picture, detections)
    changed = (picture != value).any(axis=2)
    assert not (changed & ~touched_at_most(picture, detections)).any()


@pytest.mark.parametrize("size", [(16, 16), (320, 240), (1920, 1080)])
def test_no_detections_leave_the_picture_as_it_is(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    before = picture.copy()
    draw_detections(picture, Detections.empty(NAMES))
    draw_hud(picture, [])
    np.testing.assert_array_equal(picture, before)


@pytest.mark.parametrize(
    "box", [(-90, 20, -20, 80), (20, -90, 80, -20), (400, 20, 500, 90), (20, 300, 90, 400)]
)
def test_an_object_wholly_outside_is_not_drawn(box: tuple[float, float, float, float]) -> None:
    picture = grey(320, 240)
    draw_detections(picture, objects([box], keypoints=True))
    assert (picture == 96).all()


@pytest.mark.parametrize("size", [(16, 16), (16, 400), (400, 16), (1920, 1080), (3840, 2160)])
def test_every_picture_size(size: tuple[int, int]) -> None:
    width, height = size
    picture = grey(width, height)
    boxes = [(0.0, 0.0, float(width), float(height)), (width / 2, height / 2, width, height)]
    draw_detections(picture, objects(boxes, keypoints=True))
    draw_hud(picture, ["27.3 fps", "3 objects"])
    assert (picture != 96).any()


@pytest.mark.parametrize("side", [0.0, 0.4, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("corner", [(0.0, 0.0), (160.0, 120.0), (319.0, 239.0), (320.0, 240.0)])
def test_tiny_boxes(corner: tuple[float, float], side: float) -> None:
    picture = grey(320, 240)
    x, y = corner
    draw_detections(picture, objects([(x, y, x + side, y + side)]))


@pytest.mark.parametrize(
    "box",
    [
        (-40.0, -40.0, 20.0, 20.0),
        (300.0, -40.0, 380.0, 20.0),
        (300.0, 228.0, 380.0, 300.0),
        (-40.0, 228.0, 20.0, 300.0),
        (100.0, 3.0, 160.0, 90.0),
    ],
    ids=["top left", "top right", "bottom right", "bottom left", "top"],
)
def test_a_label_never_leaves_the_picture(
    monkeypatch: pytest.MonkeyPatch, box: tuple[float, float, float, float]
) -> None:
    """The plate has all of its pixels inside, and the text all of its own inside of the plate."""
    monkeypatch.setattr(render, "_draw_box", lambda *arguments: None)
    picture = grey(320, 240, 0)
    detections = objects([box], masks=False)
    draw_detections(picture, detections)
    ys, xs = np.nonzero(picture.any(axis=2))
    pen = Pen(picture)
    (width, height), base = cv2.getTextSize("person 0.95", render.FONT, pen.text, pen.text_line)
    margin = pen.line + 1
    assert xs.max() - xs.min() + 1 == width + 2 * margin
    assert ys.max() - ys.min() + 1 == height + base + margin


def test_a_label_without_room_above_or_below_moves_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "_draw_box", lambda *arguments: None)
    tall, low = grey(320, 240, 0), grey(320, 24, 0)
    for picture in (tall, low):
        draw_detections(picture, objects([(10.0, 12.0, 60.0, 23.0)], masks=False))
    rows = [np.flatnonzero(picture.any(axis=(1, 2))) for picture in (tall, low)]
    assert len(rows[0]) == len(rows[1])
    assert rows[0][0] == 12
    assert rows[1][-1] == 23


def test_masks_tint_and_do_not_hide() -> None:
    picture = grey(320, 240)
    picture[110:130] = 180  # a bar behind the person
    draw_detections(picture, objects([(100.0, 20.0, 220.0, 220.0)]))
    tinted, bar = picture[150, 160].astype(int), picture[120, 160].astype(int)
    expected = 96 * (1 - render.MASK_OPACITY) + np.array(color_of(1)) * render.MASK_OPACITY
    np.testing.assert_allclose(tinted, expected, atol=1.5)
    assert (bar > tinted + 20).all()


def test_the_most_certain_object_is_on_top() -> None:
    """The last label drawn is that of row 0."""
    picture = grey(320, 240)
    box = (50.0, 60.0, 150.0, 200.0)
    draw_detections(picture, objects([box, box], [1, 2], masks=False))
    assert tuple(picture[61, 100]) in (color_of(1), render._rim(color_of(1)))
    assert tuple(picture[57, 51]) == color_of(1)


@pytest.mark.parametrize("region", [np.s_[10:250, 20:340], np.s_[:240, 50:370]])
def test_a_crop_of_a_larger_picture_is_drawn_as_any_other(region: tuple[slice, slice]) -> None:
    large, small = grey(400, 300), grey(320, 240)
    detections = objects([(-10.0, 20.0, 120.0, 230.0), (90.0, 5.0, 340.0, 200.0)], keypoints=True)
    crop = large[region]
    assert not crop.flags.c_contiguous
    for picture in (crop, small):
        draw_detections(picture, detections)
        draw_hud(picture, ["27.3 fps"])
    np.testing.assert_array_equal(crop, small)
    large[region] = 96
    assert (large == 96).all()  # nothing was drawn beside it


# --- colours ---


def test_person_is_green() -> None:
    red, green, blue = color_of(1)
    assert green > blue > red
    assert green > 200


def test_a_class_has_one_colour_in_every_run() -> None:
    assert [color_of(label) for label in (1, 2, 3)] == [
        (38, 255, 151),
        (178, 96, 71),
        (34, 47, 230),
    ]


def test_coco_classes_have_different_colours() -> None:
    """By CIELAB distance, of which about 2.3 can just be seen."""
    colors = np.array([[color_of(label) for label in range(1, 91)]], np.float32) / 255
    (lab,) = cv2.cvtColor(colors, cv2.COLOR_RGB2LAB)
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert distances.min() > 7
    assert np.diag(distances, 1).min() > 50


if __name__ == "__main__":
    if sys.argv[1:] != ["--update"]:
        sys.exit("usage: python tests/test_render.py --update")
    GOLDEN.mkdir(exist_ok=True)
    for make in SCENES:
        cv2.imwrite(str(golden_path(make)), make()[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
