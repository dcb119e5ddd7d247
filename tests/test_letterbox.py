from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torchvision.models.detection.transform import GeneralizedRCNNTransform, resize_boxes

from models.letterbox import Letterbox

frame_sizes = st.tuples(st.integers(16, 4000), st.integers(16, 4000))
small_sizes = st.tuples(st.integers(16, 700), st.integers(16, 700))


@given(small_sizes, st.integers(16, 800), st.integers(16, 1333))
def test_by_sides_is_torchvisions_size(size: tuple[int, int], min_side: int, more: int) -> None:
    max_side = min_side + more
    assume(min(size) * max_side > 1.01 * max(size))  # torchvision fails on a side of 0 px
    transform = GeneralizedRCNNTransform(min_side, max_side, [0.0] * 3, [1.0] * 3)
    picture = torch.zeros(1, 1, 1).expand(3, size[1], size[0])
    resized, _ = transform.resize(picture)
    letterbox = Letterbox.by_sides(size, min_side=min_side, max_side=max_side)
    assert letterbox.resized_size == (resized.shape[2], resized.shape[1])


@pytest.mark.parametrize(
    ("frame_size", "sides", "resized_size"),
    [
        ((1920, 1080), (800, 1333), (1333, 749)),
        ((640, 480), (352, 640), (469, 352)),
        ((480, 640), (352, 640), (352, 469)),
        ((352, 352), (352, 640), (352, 352)),
        ((10_000, 8), (352, 640), (640, 1)),  # torchvision would make it 0 px high
    ],
)
def test_by_sides_examples(
    frame_size: tuple[int, int], sides: tuple[int, int], resized_size: tuple[int, int]
) -> None:
    letterbox = Letterbox.by_sides(frame_size, min_side=sides[0], max_side=sides[1])
    assert letterbox.resized_size == resized_size


@given(frame_sizes, frame_sizes, st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_boxes_map_back_as_torchvisions(
    frame_size: tuple[int, int], resized_size: tuple[int, int], shares: list[float]
) -> None:
    box = np.array([shares], np.float32) * np.array(resized_size * 2, np.float32)
    expected = resize_boxes(torch.from_numpy(box), resized_size[::-1], frame_size[::-1])
    mapped = Letterbox(frame_size, resized_size).boxes_to_frame(box)
    assert mapped.dtype == np.float32
    np.testing.assert_allclose(mapped, expected.numpy(), rtol=1e-5, atol=1e-3)


def test_boxes_are_clipped_to_the_frame() -> None:
    letterbox = Letterbox((200, 100), (100, 50))
    mapped = letterbox.boxes_to_frame(np.array([[-5, -5, 300, 300]], np.float32))
    assert mapped.tolist() == [[0, 0, 200, 100]]


def test_no_boxes_stay_no_boxes() -> None:
    assert Letterbox((200, 100), (100, 50)).boxes_to_frame(np.zeros((0, 4), np.float32)).shape == (
        0,
        4,
    )


@given(frame_sizes, frame_sizes)
def test_inside_fits_and_touches_one_side(
    frame_size: tuple[int, int], canvas_size: tuple[int, int]
) -> None:
    width, height = Letterbox.inside(frame_size, canvas_size).resized_size
    assert 1 <= width <= canvas_size[0]
    assert 1 <= height <= canvas_size[1]
    assert width == canvas_size[0] or height == canvas_size[1]


@given(frame_sizes, st.integers(1, 8))
def test_inside_of_a_multiple_is_exact(size: tuple[int, int], times: int) -> None:
    canvas = size[0] * times, size[1] * times
    assert Letterbox.inside(size, canvas).resized_size == canvas


@given(frame_sizes, frame_sizes, st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_boxes_survive_the_way_there_and_back(
    frame_size: tuple[int, int], canvas_size: tuple[int, int], shares: list[float]
) -> None:
    letterbox = Letterbox.inside(frame_size, canvas_size)
    box = np.array([shares], np.float32) * np.array(frame_size * 2, np.float32)
    on_canvas = (box / np.array(letterbox.scale * 2)).astype(np.float32)
    np.testing.assert_allclose(letterbox.boxes_to_frame(on_canvas), box, atol=2e-3)


def test_keypoints_move_and_keep_their_score() -> None:
    letterbox = Letterbox((200, 90), (100, 30))
    keypoints = np.array([[[10, 20, 0.5]]], np.float32)
    assert letterbox.keypoints_to_frame(keypoints).tolist() == [[[20, 60, 0.5]]]


def test_resize_keeps_the_picture_where_boxes_say_it_is() -> None:
    frame = np.zeros((120, 200, 3), np.uint8)
    frame[30:60, 50:100] = 255
    letterbox = Letterbox.inside((200, 120), (100, 100))
    small = letterbox.resize(frame)
    assert small.shape == (60, 100, 3)
    ys, xs = np.nonzero(small[..., 0] > 127)
    box = np.array([[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]], np.float32)
    assert letterbox.boxes_to_frame(box).tolist() == [[50, 30, 100, 60]]


def test_resize_to_the_same_size_copies_nothing() -> None:
    frame = np.zeros((12, 20, 3), np.uint8)
    assert Letterbox((20, 12), (20, 12)).resize(frame) is frame


@given(frame_sizes, st.integers(32, 1000), st.integers(0, 600))
def test_inside_fills_the_canvas_that_by_sides_gives(
    frame_size: tuple[int, int], min_side: int, more: int
) -> None:
    """So an export of that canvas sees what torchvision's own resize would have made."""
    canvas = Letterbox.by_sides(frame_size, min_side=min_side, max_side=min_side + more)
    assert Letterbox.inside(frame_size, canvas.resized_size) == canvas


@pytest.mark.parametrize(
    ("frame_size", "canvas_size", "resized_size"),
    [
        ((854, 480), (256, 192), (256, 143)),  # 143.9 px: only a side near the canvas's is filled
        ((854, 480), (256, 144), (256, 144)),
        ((1920, 1080), (1333, 749), (1333, 749)),  # 749.8 px
        ((4000, 16), (64, 64), (64, 1)),
    ],
)
def test_inside_examples(
    frame_size: tuple[int, int], canvas_size: tuple[int, int], resized_size: tuple[int, int]
) -> None:
    assert Letterbox.inside(frame_size, canvas_size).resized_size == resized_size
