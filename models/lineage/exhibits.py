"""What the report shows: what each system sees on its way to a result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou

from models.data.samples import LabelledPictures, as_image
from models.deploy.box_math import clip
from models.detections import Detections
from models.letterbox import Image
from models.lineage.base import Lineage
from models.lineage.drawing import (
    FAINT,
    FOUND,
    SCALE,
    TRUTH,
    data_uri,
    draw_boxes,
    draw_heat,
    enlarged,
    quantised,
    tiles,
)
from models.lineage.examples import match, normalised
from models.lineage.faster_rcnn import FasterRCNN
from models.lineage.mask_rcnn import MaskRCNN
from models.lineage.trunk import STRIDE
from models.roi_masks import paste_whole

SURE = 0.5  # score of an object that is shown
_BEFORE = 0.3  # score of a box that is shown before NMS
_SHOWN_PROPOSALS = 150
_MASK_TILE = 168  # px of the side of a mask
_MASKS = 4


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A picture on the page.

    Attributes:
        uri: of the picture itself.
        title: a few words.
        detail: a sentence on what one sees.
    """

    uri: str
    title: str
    detail: str


@torch.inference_mode()
def exhibits(systems: Mapping[str, Lineage], pictures: LabelledPictures) -> list[Exhibit]:
    """Of one picture, those that these systems can show.

    Args:
        systems: by name.
        pictures: of the size of the systems' canvas; one with many objects is chosen.
    """
    picture, target = pictures[_fullest(pictures)]
    image, truth = as_image(picture), target["boxes"].as_subclass(Tensor)
    shown = [
        _proposals(systems[name], image, truth)
        for name in ("fast_rcnn_shapes", "faster_rcnn_shapes")
        if name in systems
    ]
    faster = systems.get("faster_rcnn_shapes")
    if isinstance(faster, FasterRCNN):
        shown += [_objectness(faster, image), _suppression(faster, image)]
    shown.append(_misalignment(image, truth))
    for name in ("mask_rcnn_shapes", "mask_rcnn_pool_shapes"):
        system = systems.get(name)
        if isinstance(system, MaskRCNN):
            shown.append(_masks(system, image))
    return shown


def _fullest(pictures: LabelledPictures) -> int:
    """Of the first twenty the picture with the most objects."""
    return max(range(min(20, len(pictures))), key=lambda index: len(pictures[index][1]["boxes"]))


def _proposals(system: Lineage, image: Image, truth: Tensor) -> Exhibit:
    boxes: Tensor = system.propose(image)  # type: ignore[attr-defined]  # those that have it
    drawing = enlarged(image)
    every = torch.linspace(0, len(boxes) - 1, min(len(boxes), _SHOWN_PROPOSALS)).long()
    draw_boxes(drawing, boxes[every], FAINT)
    best, which = match(truth, boxes)
    draw_boxes(drawing, truth, TRUTH, thickness=2)
    draw_boxes(drawing, boxes[which[best >= SURE]], FOUND, thickness=2)
    learned = "region proposal network" if isinstance(system, FasterRCNN) else "selective search"
    return Exhibit(
        data_uri(drawing),
        f"Proposals: {learned}",
        f"{len(boxes)} boxes, {len(every)} of them drawn; the best for each object in orange, the "
        f"objects in green. {int((best >= SURE).sum())} of {len(truth)} are hit at IoU 0.5.",
    )


def _objectness(system: FasterRCNN, image: Image) -> Exhibit:
    network = system.module
    (logits,), _ = network.rpn.head(list(network.backbone(normalised(image)).values()))
    heat = logits[0].sigmoid().amax(0)
    return Exhibit(
        data_uri(draw_heat(image, heat)),
        "Objectness of the region proposal network",
        f"{heat.shape[1]} x {heat.shape[0]} places, one every {STRIDE} px: how sure the likeliest "
        f"of the {logits.shape[1]} anchors of each is to be an object.",
    )


def _suppression(system: FasterRCNN, image: Image) -> Exhibit:
    network, pixels = system.module, normalised(image)
    maps = network.backbone(pixels)
    proposals = network.propose(pixels, maps)
    logits, differences = network.classify(pixels, maps, proposals)
    scores, labels = logits.softmax(1)[:, 1:].max(1)
    decoded = network.roi_heads.box_coder.decode(differences, [proposals])
    boxes = clip(decoded[torch.arange(len(labels)), labels + 1], image.shape[:2])
    before, after = enlarged(image), enlarged(image)
    many = boxes[scores >= _BEFORE]
    draw_boxes(before, many, FOUND)
    found = system.detect(image)
    few = torch.from_numpy(found.boxes[found.scores >= _BEFORE])
    draw_boxes(after, few, FOUND, thickness=2)
    return Exhibit(
        data_uri(tiles([before, after])),
        "Non-maximum suppression: before and after",
        f"{len(many)} boxes with a score of {_BEFORE} or more become {len(few)}: of boxes that "
        "overlap, the best stays.",
    )


def _misalignment(image: Image, truth: Tensor) -> Exhibit:
    """RoI Pool's rounded box against the box itself, on the places of the map."""
    small = truth[(truth[:, 2:] - truth[:, :2]).prod(1).argsort()[: max(1, len(truth) // 2)]]
    drawing = enlarged(image, 2 * SCALE)
    step = STRIDE * 2 * SCALE
    drawing[::step] = drawing[::step] // 2 + 60
    drawing[:, ::step] = drawing[:, ::step] // 2 + 60
    rounded = quantised(small, STRIDE)
    draw_boxes(drawing, rounded, FOUND, thickness=3, scale=2 * SCALE)
    draw_boxes(drawing, small, TRUTH, thickness=2, scale=2 * SCALE)
    if len(small) == 0:
        return Exhibit(data_uri(drawing), "RoI Pool against RoI Align", "There is no object here.")
    off = float((rounded - small).abs().mean())
    overlap = float(box_iou(rounded, small).diagonal().mean())
    return Exhibit(
        data_uri(drawing),
        "RoI Pool against RoI Align",
        f"The map has a place every {STRIDE} px (grid). RoI Pool rounds a box (green) to places "
        f"(orange): its edges move by {off:.1f} px on average, and only {overlap:.0%} of both is "
        "common. RoI Align reads the map between its places, at the box itself.",
    )


def _masks(system: MaskRCNN, image: Image) -> Exhibit:
    found = system.detect(image)
    found = found.select(found.scores >= SURE)
    rows = range(min(_MASKS, len(found)))
    if not rows:
        return Exhibit(data_uri(enlarged(image)), f"Masks: {system.name}", "Nothing is found here.")
    pairs = [np.concatenate(_mask_pair(found, row, image), 0) for row in rows]
    how = "RoI Pool" if "pool" in system.name else "RoI Align"
    return Exhibit(
        data_uri(tiles(pairs)),
        f"A mask for each box, by {how}",
        "Above: 28 x 28 probabilities that a pixel of the box belongs to the object. Below: the "
        "mask laid over its box in the picture.",
    )


def _mask_pair(found: Detections, row: int, image: Image) -> list[Image]:
    """Probabilities of one mask, and the mask on the picture around its box; both square."""
    if found.masks is None:
        raise ValueError("the system gives no masks")
    mask, box = found.masks[row], found.boxes[row]
    heat = cv2.applyColorMap((mask * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    over = image.copy()
    inside = paste_whole(mask, box, (image.shape[1], image.shape[0])).astype(bool)
    over[inside] = over[inside] // 2 + np.array(FOUND, np.uint8) // 2
    left, top, right, bottom = (round(float(edge)) for edge in box)
    cut = over[max(0, top) : bottom + 1, max(0, left) : right + 1]
    size = (_MASK_TILE, _MASK_TILE)
    return [
        cv2.resize(np.ascontiguousarray(part), size, interpolation=cv2.INTER_NEAREST).astype(
            np.uint8
        )
        for part in (heat, cut)
    ]
