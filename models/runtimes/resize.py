"""Which canvas a model gives a frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from torchvision.models.detection.transform import GeneralizedRCNNTransform

from models.errors import UsageError
from models.letterbox import Letterbox


@dataclass(frozen=True, slots=True)
class Resize:
    """torchvision's rule: a shorter side of so many px, unless the longer one gets too long.

    Attributes:
        min_side: px.
        max_side: px.
        fixed_size: (width, height) px of a model that has one size only.
    """

    min_side: float
    max_side: float
    fixed_size: tuple[int, int] | None = None

    @classmethod
    def of(
        cls, transform: GeneralizedRCNNTransform, canvas_side: int | None, model_name: str
    ) -> Self:
        """A detector's own rule, or the same for another shorter side.

        Raises:
            UsageError: if another is asked of a model that has one size only.
        """
        fixed_size: tuple[int, int] | None = transform.fixed_size
        if fixed_size is not None and canvas_side is not None:
            width, height = fixed_size
            raise UsageError(
                f"{model_name} always works at {width}x{height} px: leave out --canvas-side."
            )
        own = transform.min_size[-1]
        min_side = float(canvas_side or own)
        return cls(min_side, transform.max_size * min_side / own, fixed_size)

    def letterbox(self, frame_size: tuple[int, int]) -> Letterbox:
        """Where a frame of (width, height) px lies on its canvas."""
        if self.fixed_size is not None:
            return Letterbox(frame_size, self.fixed_size)
        return Letterbox.by_sides(frame_size, min_side=self.min_side, max_side=self.max_side)
