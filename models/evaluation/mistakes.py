"""What a detector got wrong: objects it missed, and alarms without an object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pycocotools import mask as coco_mask
from pycocotools.cocoeval import COCOeval

from models.evaluation.rows import Row, xyxy

Box = tuple[float, float, float, float]

KEPT = 100  # of each sort, the worst; all are counted
_IOU_50 = 0  # the first of COCO's thresholds


@dataclass(frozen=True, slots=True)
class Overlap:
    """The other side's object that a mistake overlaps most.

    Attributes:
        class_name: its class, which may be another.
        iou: of the boxes, 0..1.
        score: of a detection; None for a labelled object.
    """

    class_name: str
    iou: float
    score: float | None


@dataclass(frozen=True, slots=True)
class Mistake:
    """One missed object or false alarm.

    Attributes:
        picture: its index in the set.
        class_name: of the object.
        box: xyxy px.
        area_px: square pixels of the object's mask, or of its box where there is none.
        score: of a false alarm; None for a miss.
        overlap: for a miss the detection, of whatever score, that overlaps it most; for a false
            alarm the labelled object; None where nothing overlaps.
        truths: xyxy px of every labelled object of the picture, crowds left out.
        crowds: xyxy px of its crowds.
        found: xyxy px of every detection of the picture at the score asked for.
    """

    picture: int
    class_name: str
    box: Box
    area_px: float
    score: float | None
    overlap: Overlap | None
    truths: tuple[Box, ...] = field(repr=False)
    crowds: tuple[Box, ...] = field(repr=False)
    found: tuple[Box, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Mistakes:
    """Boxes against boxes at IoU 0.5, detections below a score taken away.

    Attributes:
        score: detections below are taken away.
        hits: labelled objects that were found.
        miss_count: labelled objects that were not; crowds do not count.
        false_alarm_count: detections without an object of their class that was theirs.
        misses: the ``KEPT`` largest.
        false_alarms: the ``KEPT`` most confident.
    """

    score: float
    hits: int
    miss_count: int
    false_alarm_count: int
    misses: tuple[Mistake, ...] = field(repr=False)
    false_alarms: tuple[Mistake, ...] = field(repr=False)

    @property
    def precision(self) -> float | None:
        """Share of the detections that are right; None without detections."""
        return _share(self.hits, self.false_alarm_count)

    @property
    def recall(self) -> float | None:
        """Share of the labelled objects that were found; None without objects."""
        return _share(self.hits, self.miss_count)


def _share(part: int, rest: int) -> float | None:
    return part / (part + rest) if part + rest else None


def find_mistakes(scorer: COCOeval, class_names: Sequence[str], *, score: float) -> Mistakes:
    """Read the mistakes out of an evaluation of boxes.

    COCO matches the most confident detections first, so that leaving out those below ``score``
    changes no match of the others.

    Args:
        scorer: of ``run_coco`` for boxes; its picture ids count from 1.
        class_names: category 1 is the first.
        score: least score of a detection that counts.
    """
    found, truth = scorer.cocoDt.anns, scorer.cocoGt.anns
    hits, misses, alarms = 0, [], []
    for matches in scorer.evalImgs:
        if matches is None or matches["aRng"] != scorer.params.areaRng[0]:
            continue
        for truth_id, match, ignored in zip(
            matches["gtIds"], matches["gtMatches"][_IOU_50], matches["gtIgnore"], strict=True
        ):
            if ignored:
                continue
            if match and found[int(match)]["score"] >= score:
                hits += 1
            else:
                misses.append(truth[truth_id])
        alarms += [
            found[found_id]
            for found_id, match, ignored in zip(
                matches["dtIds"],
                matches["dtMatches"][_IOU_50],
                matches["dtIgnore"][_IOU_50],
                strict=True,
            )
            if not match and not ignored and found[found_id]["score"] >= score
        ]
    misses.sort(key=lambda row: -row["area"])
    alarms.sort(key=lambda row: -row["score"])
    return Mistakes(
        score=score,
        hits=hits,
        miss_count=len(misses),
        false_alarm_count=len(alarms),
        misses=tuple(_describe(row, scorer, class_names, score) for row in misses[:KEPT]),
        false_alarms=tuple(_describe(row, scorer, class_names, score) for row in alarms[:KEPT]),
    )


def _describe(row: Row, scorer: COCOeval, class_names: Sequence[str], score: float) -> Mistake:
    found = scorer.cocoDt.imgToAnns[row["image_id"]]
    truths = scorer.cocoGt.imgToAnns[row["image_id"]]
    singles = [other for other in truths if not other["iscrowd"]]
    is_alarm = "score" in row
    return Mistake(
        picture=row["image_id"] - 1,
        class_name=class_names[row["category_id"] - 1],
        box=xyxy(row["bbox"]),
        area_px=row["area"],
        score=row.get("score"),
        overlap=_closest(row, singles if is_alarm else found, class_names),
        truths=tuple(xyxy(other["bbox"]) for other in singles),
        crowds=tuple(xyxy(other["bbox"]) for other in truths if other["iscrowd"]),
        found=tuple(xyxy(other["bbox"]) for other in found if other["score"] >= score),
    )


def _closest(row: Row, others: Sequence[Row], class_names: Sequence[str]) -> Overlap | None:
    if not others:
        return None
    boxes = [other["bbox"] for other in others]
    (overlaps,) = coco_mask.iou([row["bbox"]], boxes, [0] * len(boxes)).tolist()
    best = max(range(len(others)), key=overlaps.__getitem__)
    if overlaps[best] <= 0:
        return None
    name = class_names[others[best]["category_id"] - 1]
    return Overlap(name, overlaps[best], others[best].get("score"))
