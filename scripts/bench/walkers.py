"""People who walk past each other: where each is known exactly, and what a detector makes of it.

Nothing is drawn: a clip is boxes over time, for trackers to be scored on. The nearer of two people,
whose feet are lower in the picture, hides the other; so does a pillar.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.detections import Detections

SIZE = (640, 480)  # (width, height) px
CLASS_NAMES = ("__background__", "person", "bicycle")
PERSON, BICYCLE = 1, 2
VISIBLE = 0.3  # share of a box that has to be seen for it to be part of the truth
_CELLS = 24  # a box is looked at in so many columns and rows, to see what is hidden
_PILLAR = (110.0, 0.0, 150.0, 300.0)  # px, xyxy; hides whoever's feet are above its foot


@dataclass(frozen=True)
class Walker:
    """One person at a steady pace.

    Attributes:
        feet: x px at the start, and y px throughout.
        speed: px a second, to the right.
        height: px.
        enters: seconds.
    """

    feet: tuple[float, float]
    speed: float
    height: float
    enters: float = 0.0

    def box(self, at_seconds: float) -> tuple[float, float, float, float]:
        """The box as xyxy px, not cut at the picture's edge."""
        x = self.feet[0] + self.speed * (at_seconds - self.enters)
        half = self.height * 0.18
        return x - half, self.feet[1] - self.height, x + half, self.feet[1]


CROSSING = (
    Walker((200, 420), 80, 240),  # these two meet, and the second is hidden altogether
    Walker((660, 400), -80, 220),
    Walker((60, 330), 55, 150),  # is passed by the next
    Walker((-20, 345), 110, 160, enters=1.5),
    Walker((20, 290), 45, 130),  # goes behind the pillar
    Walker((560, 280), -35, 120, enters=0.5),  # goes behind four of them, one after the other
)


@dataclass(frozen=True)
class Moment:
    """The truth of one frame.

    Attributes:
        at_seconds: presentation time.
        numbers: (N,) which walkers are seen.
        boxes: (N,4) float32 xyxy px.
        shares: (N,) how much of each box is seen.
    """

    at_seconds: float
    numbers: np.ndarray
    boxes: np.ndarray
    shares: np.ndarray


def truth(walkers: Sequence[Walker], times: Sequence[float]) -> list[Moment]:
    """Who is seen where at each time."""
    return [_moment(walkers, at_seconds) for at_seconds in times]


def _moment(walkers: Sequence[Walker], at_seconds: float) -> Moment:
    present = [i for i, walker in enumerate(walkers) if at_seconds >= walker.enters]
    boxes = {i: walkers[i].box(at_seconds) for i in present}
    shares = {i: _seen(boxes[i], _nearer(i, boxes)) for i in present}
    seen = [i for i in present if shares[i] >= VISIBLE]
    sides = np.array([boxes[i] for i in seen], np.float32).reshape(-1, 4)
    return Moment(
        at_seconds,
        np.array(seen, int),
        np.clip(sides, 0, np.array(SIZE * 2, np.float32)),
        np.array([shares[i] for i in seen]),
    )


def _nearer(i: int, boxes: dict[int, tuple[float, ...]]) -> list[tuple[float, ...]]:
    """What can hide walker ``i``."""
    others = [box for j, box in boxes.items() if j != i and box[3] > boxes[i][3]]
    return [*others, _PILLAR] if _PILLAR[3] > boxes[i][3] else others


def _seen(box: tuple[float, ...], hiding: list[tuple[float, ...]]) -> float:
    x = box[0] + (np.arange(_CELLS) + 0.5) / _CELLS * (box[2] - box[0])
    y = (box[1] + (np.arange(_CELLS) + 0.5) / _CELLS * (box[3] - box[1]))[:, None]
    seen = (x >= 0) & (x < SIZE[0]) & (y >= 0) & (y < SIZE[1])
    for left, top, right, bottom in hiding:
        seen &= ~((x >= left) & (x < right) & (y >= top) & (y < bottom))
    return float(seen.mean())


def detected(moments: Sequence[Moment], seed: int = 0) -> list[Detections]:
    """What a middling detector reports of the truth.

    Sides are off by 2 % of the box's, one person in twelve is missed and one in fifteen taken for a
    bicycle; the score falls with what is hidden. Every tenth frame has a false alarm.
    """
    rng = np.random.default_rng(seed)
    return [_report(moment, rng) for moment in moments]


def _report(moment: Moment, rng: np.random.Generator) -> Detections:
    count = len(moment.numbers)
    sides = moment.boxes[:, 2:] - moment.boxes[:, :2]
    boxes = moment.boxes + rng.normal(0, 0.02, (count, 4)) * np.tile(sides, 2)
    scores = np.clip(0.25 + 0.7 * moment.shares + rng.normal(0, 0.05, count), 0.05, 0.99)
    labels = np.where(rng.random(count) < 1 / 15, BICYCLE, PERSON)
    kept = rng.random(count) > 1 / 12
    boxes, scores, labels = boxes[kept], scores[kept], labels[kept]
    if rng.random() < 0.1:
        corner = rng.uniform(0, (SIZE[0] - 60, SIZE[1] - 90))
        boxes = np.concatenate([boxes, [[*corner, corner[0] + 50, corner[1] + 80]]])
        scores, labels = np.append(scores, rng.uniform(0.2, 0.55)), np.append(labels, PERSON)
    order = np.argsort(-scores)
    return Detections(
        boxes=boxes[order].astype(np.float32),
        labels=labels[order].astype(np.int64),
        scores=scores[order].astype(np.float32),
        class_names=CLASS_NAMES,
    )


def evaluate(moments: Sequence[Moment], tracked: Sequence[Detections]) -> dict[str, float]:
    """MOTA, IDF1, HOTA and id switches, by TrackEval.

    Args:
        moments: the truth.
        tracked: the same frames with ``track_ids``; objects without a track do not count.
    """
    from trackeval.metrics import CLEAR, HOTA, Identity

    rows = [frame.select(frame.track_ids >= 0) for frame in tracked]
    names = np.unique(np.concatenate([row.track_ids for row in rows]))
    data = {
        "gt_ids": [moment.numbers for moment in moments],
        "tracker_ids": [np.searchsorted(names, row.track_ids) for row in rows],
        "similarity_scores": [
            _overlaps(moment.boxes, row.boxes) for moment, row in zip(moments, rows, strict=True)
        ],
        "num_gt_dets": sum(len(moment.numbers) for moment in moments),
        "num_tracker_dets": sum(len(row) for row in rows),
        "num_gt_ids": 1 + max(int(moment.numbers.max(initial=-1)) for moment in moments),
        "num_tracker_ids": len(names),
        "num_timesteps": len(moments),
    }
    quiet = {"PRINT_CONFIG": False}
    clear = CLEAR(quiet).eval_sequence(data)
    identity = Identity(quiet).eval_sequence(data)
    return {
        "MOTA": float(clear["MOTA"]),
        "IDF1": float(identity["IDF1"]),
        "HOTA": float(np.mean(HOTA(quiet).eval_sequence(data)["HOTA"])),
        "switches": float(clear["IDSW"]),
        "tracks": float(len(names)),
    }


def _overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N,M) intersection over union."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (first, second)]
    return shared / (areas[0][:, None] + areas[1][None] - shared)
