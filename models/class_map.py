"""Semantic segmentation as detections: a class map, and a row for each class that it shows."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from models.detections import Detections, Floats

ClassMap = npt.NDArray[np.uint8]
MOST_CLASSES = 256


def from_probabilities(
    values: Floats, class_names: tuple[str, ...], *, min_score: float
) -> Detections:
    """One row for each class that is likeliest somewhere, background left out, best first.

    Its box goes around all of its places, in px of the map, and its score is the mean probability
    over them. Classes below ``min_score`` become background.

    Args:
        values: (C,h,w) probabilities of each class.
        class_names: C of them, background first.
        min_score: rows have a higher one.
    """
    shown = values.argmax(axis=0).astype(np.uint8)
    rows: list[tuple[float, int, list[int]]] = []
    for label in np.unique(shown):
        here = shown == label
        score = float(values[label][here].mean())
        if label == 0:
            continue
        if score <= min_score:
            shown[here] = 0
            continue
        columns, lines = np.flatnonzero(here.any(axis=0)), np.flatnonzero(here.any(axis=1))
        box = [columns[0], lines[0], columns[-1] + 1, lines[-1] + 1]
        rows.append((score, int(label), box))
    rows.sort(reverse=True)
    return Detections(
        boxes=np.array([box for *_, box in rows], np.float32).reshape(-1, 4),
        labels=np.array([label for _, label, _ in rows], np.int64),
        scores=np.array([score for score, *_ in rows], np.float32),
        class_names=class_names,
        class_map=shown,
    )


def stretched(class_map: ClassMap, frame_size: tuple[int, int]) -> ClassMap:
    """The map (H,W) of a frame of (width, height) px."""
    return np.asarray(cv2.resize(class_map, frame_size, interpolation=cv2.INTER_NEAREST), np.uint8)
