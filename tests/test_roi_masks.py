from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from torchvision.models.detection.roi_heads import paste_masks_in_image

from models.roi_masks import paste, to_rle

FRAME = 160, 120  # (width, height) px
EDGE_SHARE = (
    0.002  # of a frame's pixels may differ: those whose probability is 0.5 but for rounding
)


def smooth_mask(seed: int) -> np.ndarray:
    """(28,28) like a mask head's output: smooth, from 0 to 1."""
    coarse = np.random.default_rng(seed).uniform(0, 1, (1, 1, 5, 5)).astype(np.float32)
    return (
        torch.nn.functional.interpolate(torch.from_numpy(coarse), (28, 28), mode="bicubic")[0, 0]
        .clamp(0, 1)
        .numpy()
    )


def pasted(mask: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The whole frame, from the crop that ``paste`` gives."""
    full = np.zeros(FRAME[::-1], np.uint8)
    x, y, crop = paste(mask, box, FRAME)
    full[y : y + crop.shape[0], x : x + crop.shape[1]] = crop
    return full


def torchvision_pasted(mask: np.ndarray, box: np.ndarray) -> np.ndarray:
    soft = paste_masks_in_image(
        torch.from_numpy(mask)[None, None], torch.from_numpy(box)[None], FRAME[::-1]
    )
    return (soft[0, 0] > 0.5).numpy().astype(np.uint8)


@st.composite
def boxes(draw: st.DrawFn) -> np.ndarray:
    """Boxes as a detector clips them: inside the frame, often along its border."""
    edges = []
    for side in FRAME:
        coordinate = st.floats(0, side, width=32) | st.sampled_from([0.0, 0.5, side - 0.5, side])
        low, high = sorted((draw(coordinate), draw(coordinate)))
        edges.append((low, high))
    (left, right), (top, bottom) = edges
    return np.array([left, top, right, bottom], np.float32)


@settings(max_examples=300)
@given(boxes(), st.integers(0, 1000))
def test_paste_is_torchvisions(box: np.ndarray, seed: int) -> None:
    mask = smooth_mask(seed)
    different = pasted(mask, box) != torchvision_pasted(mask, box)
    assert different.mean() <= EDGE_SHARE


def test_paste_is_exactly_torchvisions_away_from_the_edge() -> None:
    mask = np.zeros((28, 28), np.float32)
    mask[4:24, 10:18] = 1
    box = np.array([20.3, 10.7, 90.2, 100.9], np.float32)
    np.testing.assert_array_equal(pasted(mask, box), torchvision_pasted(mask, box))
    assert pasted(mask, box).sum() > 1000


@given(boxes(), st.integers(0, 1000))
def test_rle_decodes_to_the_same_pixels(box: np.ndarray, seed: int) -> None:
    mask = smooth_mask(seed)
    encoded = to_rle(mask, box, FRAME)
    assert encoded["size"] == [FRAME[1], FRAME[0]]
    assert isinstance(encoded["counts"], str)
    np.testing.assert_array_equal(coco_mask.decode(encoded), pasted(mask, box))


def test_outside_of_the_frame_is_empty() -> None:
    ones = np.ones((28, 28), np.float32)
    for box in ([-50, 10, -20, 40], [10, 200, 40, 240], [500, 500, 600, 600]):
        _, _, crop = paste(ones, np.array(box, np.float32), FRAME)
        assert crop.size == 0
        assert coco_mask.area(to_rle(ones, np.array(box, np.float32), FRAME)) == 0


def test_partly_outside_is_cut_off() -> None:
    ones = np.ones((28, 28), np.float32)
    full = pasted(ones, np.array([-20, -30, 40, 50], np.float32))
    assert full[:49, :39].all()
    assert not full[55:].any()
    assert not full[:, 45:].any()


def test_crop_is_no_larger_than_its_grown_box() -> None:
    _, _, crop = paste(np.ones((28, 28), np.float32), np.array([50, 40, 78, 68], np.float32), FRAME)
    assert max(crop.shape) <= 28 + 2 + 1
    assert set(np.unique(crop)) <= {0, 1}
