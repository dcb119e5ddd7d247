"""How long a picture takes, measured so that a GPU's unfinished work is counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from models.detections import Detections
from models.letterbox import Image
from models.runtimes.base import Runtime

STAGES = ("total", "preprocess", "infer", "postprocess")


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds a picture took: the mean, and what 50, 95 and 99 of 100 did not exceed."""

    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float

    @classmethod
    def of(cls, milliseconds: Sequence[float]) -> Latency:
        """Of at least one picture."""
        p50, p95, p99 = np.percentile(milliseconds, [50, 95, 99])
        return cls(float(np.mean(milliseconds)), float(p50), float(p95), float(p99))

    @property
    def fps(self) -> float:
        """Pictures a second, one after the other."""
        return 1000 / self.mean_ms


@dataclass(frozen=True, slots=True)
class TimedDetection:
    """One picture's result.

    Attributes:
        found: in source px.
        canvas_size: (width, height) px at which the model saw the picture.
        milliseconds: by name in ``STAGES``.
    """

    found: Detections
    canvas_size: tuple[int, int]
    milliseconds: dict[str, float]


def synchronizer(device: str) -> Callable[[], None]:
    """A function that waits until ``device`` has done everything it was given."""
    if device.startswith("cuda"):
        return lambda: torch.cuda.synchronize(device)
    if device.startswith("mps"):
        return lambda: torch.mps.synchronize()
    return lambda: None


def timed_detect(runtime: Runtime, image: Image) -> TimedDetection:
    """``Runtime.detect``, its three steps timed one by one and together.

    Args:
        runtime: the detector.
        image: (H,W,3) uint8 RGB.
    """
    synchronize = synchronizer(runtime.device)

    def now() -> float:
        synchronize()
        return time.perf_counter()

    times = [now()]
    canvas = runtime.preprocess(image)
    times.append(now())
    in_canvas = runtime.infer(canvas)
    times.append(now())
    found = runtime.postprocess(in_canvas, canvas)
    times.append(now())
    spans = [times[-1] - times[0], *np.diff(times).tolist()]
    return TimedDetection(
        found=found,
        canvas_size=canvas.letterbox.resized_size,
        milliseconds={stage: seconds * 1000 for stage, seconds in zip(STAGES, spans, strict=True)},
    )
