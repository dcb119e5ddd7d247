"""A system of the lineage in the pipeline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from models.detections import Detections
from models.errors import UsageError
from models.letterbox import Image
from models.lineage.base import LEAST_SCORE, Lineage
from models.lineage.systems import load_system
from models.runtimes.base import Canvas, Runtime
from models.runtimes.heap import keep_freed_memory
from models.runtimes.resize import Resize

CANVAS_SIDES = (240, 480)  # px, shorter and longest: the size of the pictures they learned from


class LineageRuntime(Runtime):
    """Any system, eagerly on the CPU.

    Args:
        system: with what it has learned.
        min_score: objects below are left out.
        canvas_side: px of the shorter side that it sees, None for that of the shapes world.
    """

    name, device, precision = "torch-eager", "cpu", "fp32"

    def __init__(
        self, system: Lineage, *, min_score: float = 0.5, canvas_side: int | None = None
    ) -> None:
        self.model_name, self.class_names = system.name, system.class_names
        self.threads = torch.get_num_threads()
        self.system = system
        system.min_score = max(min_score, LEAST_SCORE)
        shorter, longest = CANVAS_SIDES
        side = canvas_side or shorter
        self._resize = Resize(side, longest * side / shorter)
        keep_freed_memory()

    def preprocess(self, image: Image) -> Canvas:
        """An RGB array (h,w,3) uint8."""
        letterbox = self._resize.letterbox((image.shape[1], image.shape[0]))
        return Canvas(np.ascontiguousarray(letterbox.resize(image)), letterbox)

    def infer(self, canvas: Canvas) -> Detections:
        self._check_open()
        return self.system.detect(canvas.pixels)

    def close(self) -> None:
        self._is_open = False


def open_system(
    name: str,
    weights: Path | None = None,
    *,
    runtime: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    min_score: float = 0.5,
    canvas_side: int | None = None,
) -> LineageRuntime:
    """The runtime of the system ``name``, one of ``SYSTEMS``.

    Raises:
        UsageError: if it is to run as it cannot, or there are no such weights.
        ModelError: if the weights belong to another system.
    """
    asked = {"runtime": runtime, "device": device, "precision": precision}
    own = {"runtime": "torch-eager", "device": "cpu", "precision": "fp32"}
    for option, value in asked.items():
        if value not in ("auto", own[option]):
            raise UsageError(
                f"{name} shows how detection came to be, in PyTorch eager on the CPU and in fp32: "
                f"leave out --{option} {value}."
            )
    system = load_system(name, weights)
    return LineageRuntime(system, min_score=min_score, canvas_side=canvas_side)
