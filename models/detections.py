"""The one result type: what a model found in one frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas
    import supervision

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

ROI_MASK_SIDE = 28  # px of a mask's side, as the mask head gives it
UNTRACKED = -1  # the track id of an object that belongs to no track yet


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
        track_ids: (N,) int64, the same number for the same object in every frame, from 1;
            ``UNTRACKED`` for one that is not confirmed yet. None where nothing tracks.
        class_map: (h,w) uint8, what the frame shows at each place, as indices into
            ``class_names``; it covers the whole frame at a resolution of its own. None for a model
            that tells objects apart.
    """

    boxes: Floats
    labels: Labels
    scores: Floats
    class_names: tuple[str, ...] = field(repr=False)
    masks: Floats | None = None
    keypoints: Floats | None = None
    track_ids: Labels | None = None
    class_map: npt.NDArray[np.uint8] | None = field(default=None, repr=False)

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
        if self.track_ids is not None:
            shapes["track_ids"] = (self.track_ids, (count,))
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
        parts += [] if self.track_ids is None else ["track ids"]
        return f"Detections({', '.join(parts)})"

    def names(self) -> list[str]:
        """The class name of each object."""
        return [self.class_names[label] for label in self.labels]

    def select(self, keep: npt.NDArray[np.bool_]) -> Detections:
        """The objects where ``keep`` (N,) is true, in the same order."""
        return replace(
            self,
            boxes=self.boxes[keep],
            labels=self.labels[keep],
            scores=self.scores[keep],
            masks=None if self.masks is None else self.masks[keep],
            keypoints=None if self.keypoints is None else self.keypoints[keep],
            track_ids=None if self.track_ids is None else self.track_ids[keep],
        )

    # ── other programs' forms: see ``models.interop`` ──

    def to_supervision(self, frame_size: tuple[int, int] | None = None) -> supervision.Detections:
        """As ``supervision.Detections``, with names, track ids and, given the size, masks.

        Args:
            frame_size: (width, height) px of the frame, over which supervision has its masks.

        Raises:
            UsageError: if supervision is not installed.
        """
        from models import interop

        return interop.to_supervision(self, frame_size)

    @classmethod
    def from_supervision(
        cls, found: supervision.Detections, class_names: tuple[str, ...] | None = None
    ) -> Detections:
        """From ``supervision.Detections``; masks become 28x28 over their boxes.

        Args:
            found: with ``class_id``; without ``confidence`` every score is 1.
            class_names: name of each ``class_id``; by default what ``found`` says of itself.

        Raises:
            ValueError: if objects have no class, or one that has no name.
        """
        from models import interop

        return interop.from_supervision(found, class_names)

    def to_coco(
        self,
        image_id: int,
        frame_size: tuple[int, int],
        category_ids: Mapping[str, int] | None = None,
    ) -> list[dict[str, Any]]:
        """As COCO result rows, one an object, JSON-ready.

        Args:
            image_id: COCO's number of the picture.
            frame_size: (width, height) px of the frame.
            category_ids: COCO category of each class name, others are left out; by default the
                labels themselves.
        """
        from models import interop

        return interop.to_coco(self, image_id, frame_size, category_ids)

    def to_pandas(self) -> pandas.DataFrame:
        """As a table: ``label, score, x1, y1, x2, y2, track_id``, a row an object.

        Raises:
            UsageError: if pandas is not installed.
        """
        from models import interop

        return interop.to_pandas(self)
