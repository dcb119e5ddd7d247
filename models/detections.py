"""The one result type: what a model found in one frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

ROI_MASK_SIDE = 28  # px of a mask's side, as the mask head gives it


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Detections:
    """The N objects of one frame, highest score first.

    Attributes:
        boxes: (N,4) float32, xyxy px in the source frame, not rounded.
        labels: (N,) int64 into ``class_names``.
        scores: (N,) float32 in 0..1.
        class_names: name of each class; index 0 is the background where the model has one.
        masks: (N,28,28) float32 in 0..1 over each box, or None for a model without masks.
        keypoints: (N,K,3) float32: x px, y px and score, or None for a model without keypoints.
    """

    boxes: Floats
    labels: Labels
    scores: Floats
    class_names: tuple[str, ...] = field(repr=False)
    masks: Floats | None = None
    keypoints: Floats | None = None

    def __post_init__(self) -> None:
        count = len(self.boxes)
        shapes: dict[str, tuple[npt.NDArray[Any], tuple[int, ...]]] = {
            "boxes": (self.boxes, (count, 4)),
            "labels": (self.labels, (count,)),
            "scores": (self.scores, (count,)),
        }
        if self.masks is not None:
            shapes["masks"] = (self.masks, (count, ROI_MASK_SIDE, ROI_MASK_SIDE))
        if self.keypoints is not None:
            shapes["keypoints"] = (self.keypoints, (count, *self.keypoints.shape[1:2], 3))
        for name, (array, shape) in shapes.items():
            if array.shape != shape:
                raise ValueError(f"{name} must be {shape}, not {array.shape}")

    @classmethod
    def empty(cls, class_names: tuple[str, ...]) -> Detections:
        """Nothing found."""
        return cls(
            boxes=np.zeros((0, 4), np.float32),
            labels=np.zeros(0, np.int64),
            scores=np.zeros(0, np.float32),
            class_names=class_names,
        )

    def __len__(self) -> int:
        return len(self.boxes)

    def __repr__(self) -> str:
        parts = [f"{len(self)} objects"]
        parts += [] if self.masks is None else ["masks"]
        parts += [] if self.keypoints is None else [f"{self.keypoints.shape[1]} keypoints"]
        return f"Detections({', '.join(parts)})"

    def names(self) -> list[str]:
        """The class name of each object."""
        return [self.class_names[label] for label in self.labels]

    def select(self, keep: npt.NDArray[np.bool_]) -> Detections:
        """The objects where ``keep`` (N,) is true, in the same order."""
        return Detections(
            boxes=self.boxes[keep],
            labels=self.labels[keep],
            scores=self.scores[keep],
            class_names=self.class_names,
            masks=None if self.masks is None else self.masks[keep],
            keypoints=None if self.keypoints is None else self.keypoints[keep],
        )
