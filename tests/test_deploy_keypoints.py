"""Points from heatmaps, against torchvision's own function."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.models.detection.roi_heads import heatmaps_to_keypoints

from models.deploy.keypoints import keypoints_of

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def smooth_maps(count: int, points: int = 17) -> Tensor:
    """Heatmaps with hills, (R,K,56,56): noise has its peaks too close to each other."""
    drawn = torch.Generator().manual_seed(0)
    coarse = torch.randn(count, points, 8, 8, generator=drawn) * 5
    return functional.interpolate(coarse, size=(56, 56), mode="bicubic")


def compare(maps: Tensor, boxes: Tensor) -> None:
    points, scores = heatmaps_to_keypoints(maps, boxes)
    found = keypoints_of(maps.numpy(), boxes.numpy())
    assert found.dtype == np.float32
    assert found.shape == (*maps.shape[:2], 3)
    np.testing.assert_allclose(found[..., :2], points[..., :2], atol=1e-3)
    np.testing.assert_allclose(found[..., 2], scores, atol=1e-4)


def test_boxes_of_every_size_give_torchvisions_points() -> None:
    drawn = torch.Generator().manual_seed(1)
    corner = torch.rand(40, 2, generator=drawn) * 400
    size = 10 ** (torch.rand(40, 2, generator=drawn) * 2.7)
    compare(smooth_maps(40), torch.cat([corner, corner + size], dim=1))


@pytest.mark.parametrize(
    "box",
    [
        [10, 20, 10, 20],
        [10.5, 20.5, 10.7, 90.2],
        [3, 4, 59, 60],
        [0, 0, 640, 480],
        [1.25, 2.5, 2.25, 3.5],
    ],
    ids=["empty", "thinner than a pixel", "of the map's size", "large", "one pixel"],
)
def test_a_box_gives_torchvisions_points(box: list[float]) -> None:
    compare(smooth_maps(1), torch.tensor([box]))


def test_a_peak_is_found_at_its_place_in_the_box() -> None:
    maps = np.zeros((1, 2, 56, 56), np.float32)
    maps[0, 0, 7, 42] = 9
    maps[0, 1, 55, 0] = 5
    ((first, second),) = keypoints_of(maps, np.array([[100, 200, 212, 312]], np.float32))
    np.testing.assert_allclose(first[:2], (100 + 42.5 * 2, 200 + 7.5 * 2), atol=1)
    np.testing.assert_allclose(second[:2], (100 + 0.5, 312 - 0.5), atol=1)
    assert first[2] > second[2] > 4


def test_no_boxes_give_no_points() -> None:
    found = keypoints_of(np.zeros((0, 17, 56, 56), np.float32), np.zeros((0, 4), np.float32))
    assert found.shape == (0, 17, 3)
