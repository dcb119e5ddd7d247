"""Every system on the same pictures: what it proposes and finds, and what takes how long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou

from models.data.samples import LabelledPictures, as_image
from models.detections import Detections
from models.evaluation.evaluate import evaluate
from models.lineage.base import LEAST_SCORE, STEPS, Lineage
from models.lineage.examples import match
from models.lineage.fcn import FCN, class_map
from models.lineage.localise import Localise, largest_of
from models.lineage.pose import Pose
from models.lineage.runtime import LineageRuntime

HIT_IOU = 0.5

# What the lecture tells of one picture on a GPU of the time
LECTURE = {
    "rcnn_shapes": "2 s proposals + 47 s",
    "fast_rcnn_shapes": "2 s proposals + 0.3 s",
    "faster_rcnn_shapes": "0.2 s in all",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A system's figures, means over the pictures.

    Attributes:
        name: of the system.
        ap50: box AP at IoU 0.5, 0..1; None where a system finds no boxes.
        mask_ap: mask AP over IoU 0.5 to 0.95; None without masks.
        proposals: of a picture; None where a system has none.
        recall: part of the objects that a proposal overlaps at IoU 0.5; None without proposals.
        milliseconds: of a picture by step, see ``STEPS``.
        note: what else was measured, for people to read.
    """

    name: str
    ap50: float | None
    mask_ap: float | None
    proposals: float | None
    recall: float | None
    milliseconds: dict[str, float]
    note: str

    @property
    def total_ms(self) -> float:
        """Of a picture, all steps."""
        return sum(self.milliseconds.values())


def measure(system: Lineage, pictures: LabelledPictures) -> Measured:
    """A system's figures on ``pictures``, which have the size of its canvas.

    Raises:
        DataError: if there is no picture.
        UsageError: if system and pictures have no class in common.
    """
    steps: list[dict[str, float]] = []
    runtime = LineageRuntime(system, min_score=LEAST_SCORE)
    evaluation = evaluate(
        runtime,
        pictures,
        warm_up=1,
        on_picture=lambda _done, _total: steps.append(system.timings.milliseconds),
    )
    proposals, recall = _proposals(system, pictures)
    masks = evaluation.scores.get("mask")
    return Measured(
        name=system.name,
        ap50=None if isinstance(system, FCN) else evaluation.scores["box"].table["ap50"],
        mask_ap=None if masks is None else masks.table["ap"],
        proposals=proposals,
        recall=recall,
        milliseconds={name: sum(row[name] for row in steps) / len(steps) for name in STEPS},
        note=_note(system, pictures),
    )


def figures(system: Lineage, pictures: LabelledPictures) -> str:
    """How well a system finds, in percent, for people to read: box and mask AP, or its ``note``."""
    note = _note(system, pictures)
    if note:
        return note
    scores = evaluate(LineageRuntime(system, min_score=LEAST_SCORE), pictures, warm_up=0).scores
    told = [f"{kind} AP@0.5 {100 * (one.table['ap50'] or 0):.1f}" for kind, one in scores.items()]
    return ", ".join(told)


def _proposals(system: Lineage, pictures: LabelledPictures) -> tuple[float | None, float | None]:
    """How many a picture, and the part of the objects that one of them overlaps enough."""
    propose = getattr(system, "propose", None)
    if propose is None:
        return None, None
    counts, hits = [], []
    with torch.inference_mode():
        for index in range(len(pictures)):
            picture, target = pictures[index]
            boxes = propose(as_image(picture))
            counts.append(len(boxes))
            best, _ = match(target["boxes"].as_subclass(Tensor), boxes)
            hits.append(best >= HIT_IOU)
    return sum(counts) / len(counts), float(torch.cat(hits).float().mean())


def _note(system: Lineage, pictures: LabelledPictures) -> str:
    """What AP does not tell of a system: all pixels, or a single object."""
    has_note = pictures.has_masks if isinstance(system, FCN) else isinstance(system, Localise)
    if not has_note:
        return ""
    found, targets = [], []
    for index in range(len(pictures)):
        picture, target = pictures[index]
        plain = {name: value.as_subclass(Tensor) for name, value in target.items()}
        found.append(system.detect(as_image(picture)))
        targets.append(plain)
    if isinstance(system, FCN):
        return f"mean IoU of the classes {mean_iou(found, targets):.2f}"
    said = f"largest object right in {_right(found, targets):.0%} of the pictures"
    return f"{said}, {_joints(found, targets)}" if isinstance(system, Pose) else said


def mean_iou(found: Sequence[Detections], targets: Sequence[dict[str, Tensor]]) -> float:
    """IoU of found and true pixels, mean over all classes that are there, background included."""
    count = len(found[0].class_names)
    confusion = torch.zeros(count, count, dtype=torch.int64)
    for one, target in zip(found, targets, strict=True):
        if one.class_map is None:
            raise ValueError("mean IoU is of systems that tell a class map")
        shown = torch.from_numpy(one.class_map).long()
        truth = class_map(target, shown.shape)
        pairs = (truth * count + shown).flatten()
        confusion += torch.bincount(pairs, minlength=count**2).view(count, count)
    both = confusion.diagonal()
    either = confusion.sum(0) + confusion.sum(1) - both
    return float((both[either > 0] / either[either > 0]).mean())


def _right(found: Sequence[Detections], targets: Sequence[dict[str, Tensor]]) -> float:
    """Part of the pictures whose largest object has its class and, at IoU 0.5, its box."""
    return len(_hits(found, targets)) / len(found)


def _joints(found: Sequence[Detections], targets: Sequence[dict[str, Tensor]]) -> str:
    """How far the joints of those that are right are off."""
    errors = []
    for number, row in _hits(found, targets):
        points, target = found[number].keypoints, targets[number]
        if points is None or "keypoints" not in target:
            continue
        seen = target["visibility"][row] > 0
        distance = (torch.from_numpy(points[0, :, :2]) - target["keypoints"][row]).norm(dim=1)
        box = target["boxes"][row]
        errors.append((distance / (box[2:] - box[:2]).max())[seen])
    if not errors:
        return "no joints to compare"
    return f"its joints {float(torch.cat(errors).mean()):.2f} of its longer side off"


def _hits(
    found: Sequence[Detections], targets: Sequence[dict[str, Tensor]]
) -> list[tuple[int, int]]:
    """Pictures whose one object found is the largest, and the largest one's row."""
    hits = []
    for number, (one, target) in enumerate(zip(found, targets, strict=True)):
        if len(one) == 0 or len(target["boxes"]) == 0:
            continue
        row = largest_of(target)
        overlap = box_iou(torch.from_numpy(one.boxes[:1]), target["boxes"][row : row + 1])
        if float(overlap) >= HIT_IOU and int(one.labels[0]) == int(target["labels"][row]):
            hits.append((number, row))
    return hits


def story(measured: Sequence[Measured]) -> list[str]:
    """What each step of the lineage saved, a sentence each."""
    by_name = {one.name: one for one in measured}
    rcnn, fast = by_name.get("rcnn_shapes"), by_name.get("fast_rcnn_shapes")
    faster = by_name.get("faster_rcnn_shapes")
    told = []
    if rcnn and fast:
        before, after = (_without_proposals(one) for one in (rcnn, fast))
        told.append(
            f"Shared features: after the proposals R-CNN takes {before:.0f} ms a picture and "
            f"Fast R-CNN {after:.0f} ms, {before / after:.0f} times less (lecture: 47 s and 0.3 s)."
        )
    if fast and faster:
        before, after = (one.milliseconds["proposals"] for one in (fast, faster))
        told.append(
            f"Learned proposals: selective search takes {before:.0f} ms and the region proposal "
            f"network {after:.1f} ms, {before / after:.0f} times less; the whole picture "
            f"{fast.total_ms:.0f} ms and {faster.total_ms:.0f} ms, "
            f"{fast.total_ms / faster.total_ms:.0f} times less (lecture: 2.3 s and 0.2 s)."
        )
    align, pool = by_name.get("mask_rcnn_shapes"), by_name.get("mask_rcnn_pool_shapes")
    if align and pool and align.mask_ap is not None and pool.mask_ap is not None:
        told.append(
            f"RoI Align instead of RoI Pool, trained alike: mask AP {align.mask_ap:.3f} instead "
            f"of {pool.mask_ap:.3f}."
        )
    return told


def _without_proposals(one: Measured) -> float:
    return one.total_ms - one.milliseconds["proposals"]
