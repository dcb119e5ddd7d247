"""Outlines in the COCO format, checked and drawn as masks; boxes around masks, and cut at edges.

An outline ("segmentation") is a list of polygons, or run lengths down the picture's columns:
``{"size": [height, width], "counts": …}``, where counts is a list or pycocotools' string.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor
from torchvision.ops import clip_boxes_to_image, masks_to_boxes

Box = tuple[float, float, float, float]  # x0, y0, x1, y1, half-open

POLYGON_NUMBERS = 6  # three corners
POLYGON_REACH_PX = 100_000  # pycocotools walks along every pixel of an edge
TEXT_BITS = 5  # of a number in each character of a string of run lengths


def boxes_around(masks: Tensor) -> Tensor:
    """The tightest boxes (N,4) float32 xyxy px, half-open: the last pixel is inside.

    Args:
        masks: (N,H,W), each with at least one pixel that is not 0.
    """
    boxes: Tensor = masks_to_boxes(masks)
    boxes[:, 2:] += 1
    return boxes


def clipped_boxes(boxes: Sequence[Sequence[float]], size: tuple[int, int]) -> Tensor:
    """Boxes cut at the picture's edges, (N,4) float32 xyxy px.

    Args:
        boxes: N of them, that may reach outside.
        size: (height, width) px of the picture.
    """
    inside: Tensor = clip_boxes_to_image(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), size
    )
    return inside


def drawn_masks(outlines: Sequence[Any], boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks (N,H,W) uint8 of 0 and 1, each with at least one pixel.

    An outline too thin to hold the middle of any pixel would draw an empty mask, which has no
    extent and teaches nothing; it gets the one pixel in the middle of its box.

    Args:
        outlines: N of them, in which ``outline_fault`` finds none.
        boxes: (N,4) xyxy px, inside the picture.
        size: (height, width) px of the picture.
    """
    height, width = size
    masks = np.zeros((len(outlines), height, width), np.uint8)
    for mask, outline, (x0, y0, x1, y1) in zip(masks, outlines, boxes.tolist(), strict=True):
        mask[:] = coco_mask.decode(_compressed(outline, size))
        if not mask.any():
            row, column = int((y0 + y1) / 2), int((x0 + x1) / 2)
            mask[min(row, height - 1), min(column, width - 1)] = 1
    return torch.from_numpy(masks)


def _compressed(outline: Any, size: tuple[int, int]) -> Any:
    """The outline as pycocotools' compressed run lengths."""
    if isinstance(outline, list):
        return coco_mask.merge(coco_mask.frPyObjects(outline, *size))
    if isinstance(outline["counts"], list):
        return coco_mask.frPyObjects(outline, *size)
    return outline


def are_numbers(values: Any, *, limit: float = 1e9) -> bool:
    """Whether it is a list of finite numbers, none farther from 0 than ``limit``."""
    return (
        isinstance(values, list)
        and set(map(type, values)) <= {int, float}
        and all(-limit < value < limit for value in values)
    )


def outline_fault(outline: Any, size: tuple[int, int]) -> str | None:
    """What is wrong with an outline, as the rest of "it has …"; None if nothing is.

    pycocotools must never see a faulty one: it reads two corners as a box, and fills what run
    lengths leave open with whatever lies in memory.

    Args:
        outline: as a file has it.
        size: (height, width) px of its picture.
    """
    if isinstance(outline, list):
        return next(filter(None, map(_polygon_fault, outline)), None)
    if not isinstance(outline, dict) or not {"size", "counts"} <= outline.keys():
        return "a segmentation that is neither a list of polygons nor run lengths"
    if outline["size"] != list(size):
        return f"run lengths of the size {outline['size']}, not {list(size)} (height, width)"
    counts = outline["counts"]
    if isinstance(counts, str):
        counts = _run_lengths(counts)
    if not are_numbers(counts) or min(counts, default=-1) < 0 or sum(counts) != math.prod(size):
        return f"run lengths that do not fill its {size[1]}x{size[0]} px"
    return None


def _polygon_fault(polygon: Any) -> str | None:
    if not are_numbers(polygon, limit=POLYGON_REACH_PX):
        return f"a polygon that is no list of numbers below {POLYGON_REACH_PX} px"
    if len(polygon) < POLYGON_NUMBERS or len(polygon) % 2:
        return (
            f"a polygon of {len(polygon)} numbers, where it takes an even number of them and at "
            f"least {POLYGON_NUMBERS}"
        )
    return None


def _run_lengths(text: str) -> list[int] | None:
    """Run lengths out of pycocotools' string; None if it is none.

    Each character holds five bits of a number, lowest first, and a sixth that says whether there
    are more; from the fourth on, a number is the difference to the last but one.
    """
    codes = np.frombuffer(text.encode(), np.uint8).astype(np.int64) - ord("0")
    ends = np.flatnonzero(codes & 32 == 0)
    if not len(ends) or ends[-1] != len(codes) - 1 or codes.min() < 0 or codes.max() > 63:
        return None
    starts = np.concatenate([[0], ends[:-1] + 1])
    if (ends - starts).max() > 6:  # more than 35 bits: no picture is that large
        return None
    shifts = TEXT_BITS * (np.arange(len(codes)) - np.repeat(starts, ends - starts + 1))
    values = np.add.reduceat((codes & 31) << shifts, starts)
    values -= (codes[ends] & 16 > 0) * (1 << TEXT_BITS * (ends - starts + 1))
    values[1::2] = values[1::2].cumsum()
    values[2::2] = values[2::2].cumsum()
    runs: list[int] = values.tolist()
    return runs
