"""One RoIAlign over an atlas against torchvision's over each level."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign

from models.deploy.pyramid import Atlas, PyramidRoIAlign

pytestmark = pytest.mark.usefixtures("one_torch_thread")

STRIDES = (4, 8, 16, 32)
CANVASES = [(256, 320), (250, 333), (96, 1000), (1000, 96), (32, 64)]  # (height, width)


def levels_of(
    canvas: tuple[int, int], strides: tuple[int, ...] = STRIDES, batch: int = 1
) -> list[Tensor]:
    """Feature maps (N,3,h,w) of a canvas padded to a multiple of 32, none of them near zero."""
    drawn = torch.Generator().manual_seed(0)
    padded = [-(-side // 32) * 32 for side in canvas]
    return [
        torch.rand(batch, 3, padded[0] // stride, padded[1] // stride, generator=drawn) + 1
        for stride in strides
    ]


def both(
    levels: list[Tensor], boxes: Tensor, canvas: tuple[int, int], *, ratio: int = 2
) -> tuple[Tensor, Tensor]:
    """What lies under boxes (N,R,4), by the atlas and by torchvision: (N,R,3,7,7)."""
    pooler = MultiScaleRoIAlign([str(at) for at in range(len(levels))], 7, ratio)
    sizes = [(level.shape[-2], level.shape[-1]) for level in levels]
    atlas = Atlas(sizes)
    found = PyramidRoIAlign(pooler, sizes, canvas, atlas.corners)(atlas(levels), boxes)
    by_name = OrderedDict((str(at), level) for at, level in enumerate(levels))
    expected = pooler(by_name, list(boxes), [canvas] * len(boxes))
    return found, expected.unflatten(0, boxes.shape[:2])


def random_boxes(canvas: tuple[int, int], batch: int, count: int) -> Tensor:
    """(N,R,4) of sides from a tenth of a pixel to past the canvas, clipped to it."""
    drawn = torch.Generator().manual_seed(1)
    limit = torch.tensor([canvas[1], canvas[0]]).float()
    middle = (torch.rand(batch, count, 2, generator=drawn) * 1.2 - 0.1) * limit
    half = 10 ** (torch.rand(batch, count, 2, generator=drawn) * 4 - 1) / 2
    return torch.cat([middle - half, middle + half], dim=-1).clamp(min=0).minimum(limit.repeat(2))


@pytest.mark.parametrize("ratio", [1, 2])
@pytest.mark.parametrize("canvas", CANVASES)
def test_every_box_of_every_picture_gives_torchvisions_features(
    canvas: tuple[int, int], ratio: int
) -> None:
    boxes = random_boxes(canvas, batch=3, count=150)
    found, expected = both(levels_of(canvas, batch=3), boxes, canvas, ratio=ratio)
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=0)


@pytest.mark.parametrize("level", range(4))
def test_each_level_is_read_at_its_own_place(level: int) -> None:
    canvas = (512, 640)
    levels = [torch.full_like(values, at) for at, values in enumerate(levels_of(canvas))]
    side = 80.0 * 2**level
    box = torch.tensor([[[3.0, 5, 3 + min(side, 600), 5 + min(side, 500)]]])
    found, expected = both(levels, box, canvas)
    assert (expected == level).all()
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("canvas", CANVASES)
def test_boxes_that_touch_the_edges_give_torchvisions_features(canvas: tuple[int, int]) -> None:
    height, width = canvas
    edges = [
        [left, top, right, bottom]
        for left, right in ((0, width), (0, width / 2), (width / 2, width))
        for top, bottom in ((0, height), (0, height / 2), (height / 2, height))
    ]
    found, expected = both(levels_of(canvas), torch.tensor([edges]).float(), canvas)
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=0)


@pytest.mark.parametrize("side", [0.0, 0.01, 1.3, 3.0])
@pytest.mark.parametrize(
    ("canvas", "strides"),
    [
        ((256, 320), STRIDES),
        ((32, 64), STRIDES),
        ((1312, 32), STRIDES),
        ((64, 96), (16,)),
        ((64, 96), (32, 32)),
    ],
)
def test_boxes_thinner_than_a_cell_read_zeros_past_the_edge_as_in_torchvision(
    canvas: tuple[int, int], strides: tuple[int, ...], side: float
) -> None:
    height, width = canvas
    thin = torch.tensor(
        [
            [width - side, height - side, width, height],
            [width - side, 0, width, height],
            [0, height - side, width, height],
            [0.0, 0, side, side],
            [width - side, 0, width, side],
        ]
    )
    found, expected = both(levels_of(canvas, strides), thin[None], canvas)
    assert (expected[0, :3] < 0.6).any()  # the maps themselves are above 1
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=0)


def test_a_box_both_thin_and_extremely_long_may_differ_in_its_last_row() -> None:
    canvas = (64, 2048)
    levels = levels_of(canvas)
    box = torch.tensor([[[0.0, 57, 2048, 64]]])  # at stride 8: 7/8 of a cell high
    found, expected = both(levels, box, canvas)
    torch.testing.assert_close(found[..., :-1, :], expected[..., :-1, :], atol=2e-4, rtol=0)
    assert (expected[..., -1, :] == 0).all()
    assert found.max() <= max(float(level.max()) for level in levels)


def test_a_single_level_is_not_copied() -> None:
    (level,) = levels_of((64, 96), (16,))
    assert Atlas([(4, 6)])([level]) is level


def test_a_single_level_of_odd_scale_gives_torchvisions_features() -> None:
    """Without padding to a multiple of 32, the map's size is no fraction of the canvas's."""
    canvas = (150, 203)
    level = torch.rand(2, 3, 10, 13, generator=torch.Generator().manual_seed(2))
    found, expected = both([level], random_boxes(canvas, batch=2, count=100), canvas)
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=0)
