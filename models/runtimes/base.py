"""What every runtime promises: three steps, so that each can have a thread of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np

from models.detections import Detections
from models.letterbox import Image, Letterbox
from models.planes import YuvPlanes


@dataclass(frozen=True, slots=True, eq=False)
class Canvas:
    """A frame made ready for one runtime.

    Attributes:
        pixels: what the runtime takes, in its own layout.
        letterbox: where the frame lies on the canvas.
    """

    pixels: Any
    letterbox: Letterbox


class Runtime(ABC):
    """One model on one device.

    Attributes:
        name: for reports, for example ``torch-eager``.
        device: where it computes, for example ``cpu``.
        precision: of its arithmetic, for example ``fp32``.
        model_name: name in the zoo.
        class_names: name of each label.
        threads: how many of the CPU it computes on; 0 as long as that is not decided.
        gpu_ms: milliseconds of the GPU for the last ``infer`` or the last batch of ``infer_many``,
            by step (``copy_in``, ``compute``, ``copy_out``) and by the GPU's own clock; None on
            other devices.
    """

    name: str
    device: str
    precision: str
    threads: int = 0
    gpu_ms: Mapping[str, float] | None = None
    model_name: str
    class_names: tuple[str, ...]
    _is_open: bool = True

    @abstractmethod
    def preprocess(self, image: Image) -> Canvas:
        """Bring a frame (H,W,3) uint8 RGB to the model's size and layout."""

    def preprocess_decoded(self, image: Image, planes: YuvPlanes | None) -> Canvas:
        """As ``preprocess``, of whichever is better for this runtime; both show the same.

        Args:
            image: the frame (H,W,3) uint8 RGB.
            planes: the same as the decoder gave it, which a GPU converts faster; None without.
        """
        return self.preprocess(image)

    @abstractmethod
    def infer(self, canvas: Canvas) -> Detections:
        """Run the model. The result is in canvas px."""

    def infer_many(self, canvases: Sequence[Canvas]) -> list[Detections]:
        """As ``infer`` on each, at once where the runtime can."""
        return [self.infer(canvas) for canvas in canvases]

    def postprocess(self, found: Detections, canvas: Canvas) -> Detections:
        """The same objects in source px."""
        letterbox = canvas.letterbox
        return Detections(
            boxes=letterbox.boxes_to_frame(found.boxes),
            labels=found.labels,
            scores=found.scores,
            class_names=found.class_names,
            masks=found.masks,
            keypoints=None
            if found.keypoints is None
            else letterbox.keypoints_to_frame(found.keypoints),
            class_map=found.class_map,
        )

    def detect(self, image: Image) -> Detections:
        """All three steps on one frame (H,W,3) uint8 RGB."""
        canvas = self.preprocess(image)
        return self.postprocess(self.infer(canvas), canvas)

    def warm_up(self, frame_size: tuple[int, int]) -> None:
        """Run once on a grey frame of (width, height) px, so that no real frame pays for it."""
        width, height = frame_size
        self.detect(np.full((height, width, 3), 128, np.uint8))

    @abstractmethod
    def close(self) -> None:
        """Release the model. Legal any number of times."""

    def _check_open(self) -> None:
        """For a runtime to call before it runs the model.

        Raises:
            RuntimeError: if it is closed.
        """
        if not self._is_open:
            raise RuntimeError(f"The {self.name} runtime of {self.model_name} is closed.")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
