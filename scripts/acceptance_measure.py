"""How scripts/gpu_acceptance measures: contenders are opened, compared with torchvision, timed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from acceptance_subjects import Eager, Subject
from torchvision.ops import box_iou

from models.detections import Detections
from models.errors import ModelError
from models.runtimes.base import Runtime
from models.runtimes.static import StaticRuntime
from models.runtimes.torch_static import TorchStatic

IN_MEMORY = {"torch": False, "torch-compiled": True}  # whether it is compiled
PROVIDERS = {"onnxruntime": "cuda", "onnxruntime-tensorrt": "tensorrt"}
GATE_SCORE = 0.05  # the parity gate's, for average precision
CONFIDENT = 0.5  # an object of trained weights that must be found again
PEAK_SIDES = {"cuda": 8192, "cpu": 1024}  # of the matrices whose product is the device's peak
TURN = 10  # calls of a contender in a round, so that it is warm
_MB = 1_000_000


class Contenders:
    """Opens runtimes for one subject; what several start from is made once.

    Args:
        subject: what to run.
        device: ``cuda`` or ``cpu``.
        precision: of the arithmetic.
        folder: for exports.
    """

    def __init__(self, subject: Subject, device: str, precision: str, folder: Path) -> None:
        self.subject, self.device = subject, device
        self.precision, self.folder = precision, folder
        self._graphs: dict[int, Path] = {}

    @contextmanager
    def open(self, name: str, batch: int) -> Iterator[StaticRuntime]:
        """A runtime that takes so many pictures at once.

        Raises:
            ImportError: if a package is missing.
            RcnnLiveError: if it cannot be opened.
        """
        with self._opened(name, batch) as runtime:
            runtime.manifest = replace(runtime.manifest, batch=batch)
            yield runtime

    def _opened(self, name: str, batch: int) -> StaticRuntime:
        subject, device, folder = self.subject, self.device, self.folder
        if name in IN_MEMORY:
            return TorchStatic.of_model(
                subject.loaded,
                subject.canvas,
                min_score=least_score(self.subject),
                precision=self.precision,
                device=device,
                threads=torch.get_num_threads(),
                compiled=IN_MEMORY[name],
            )
        if name == "tensorrt":
            from export.tensorrt import build_engine
            from models.runtimes.tensorrt import TensorRt

            engine = build_engine(self._graph(batch), folder, batch=(batch,) * 3, device=device)
            return TensorRt(engine, min_score=least_score(self.subject), device=device)
        from models.runtimes.onnxruntime import OnnxRuntime
        from models.runtimes.onnxruntime_gpu import check_device

        provider = PROVIDERS[name] if device == "cuda" else "cpu"
        check_device(provider)
        return OnnxRuntime(
            self._graph(batch),
            min_score=least_score(self.subject),
            device=provider,
            threads=torch.get_num_threads(),
            engines=folder,
        )

    def _graph(self, batch: int) -> Path:
        from export.build import export_model

        if batch not in self._graphs:
            output = self.folder / f"batch{batch}"
            output.mkdir()
            self._graphs[batch] = export_model(
                self.subject.loaded,
                None,
                canvas=self.subject.canvas,
                output=output,
                batch=batch,
                precision=self.precision,
                min_score=least_score(self.subject),
                form="whole",
            )
        return self._graphs[batch]


def least_score(subject: Subject) -> float:
    """Of objects that runtimes and originals are asked for, before only certain ones are timed."""
    return min(subject.min_score, GATE_SCORE)


def synchronise(device: str) -> None:
    """Wait until the device has done all that it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def milliseconds(call: Callable[[], object], device: str) -> float:
    """Of one call, by the wall clock, the device being idle before and after."""
    synchronise(device)
    began = time.perf_counter()
    call()
    synchronise(device)
    return (time.perf_counter() - began) * 1e3


def latency(runtime: Runtime, eager: Eager, subject: Subject, rounds: int, device: str) -> dict:
    """Of one frame at a time, in rounds with torchvision's own in each.

    From the frame in the host's memory to ROI masks there. ``gpu_ms`` are the device's own, by
    CUDA events, where the runtime has them.
    """
    frames = cycle(subject.frames)
    own: list[float] = []
    theirs: list[float] = []
    ratios: list[float] = []
    steps: list[dict[str, float]] = []

    def run() -> None:
        runtime.infer(runtime.preprocess(next(frames)))
        if runtime.gpu_ms is not None:
            steps.append(dict(runtime.gpu_ms))

    for number in range(-1, rounds):
        eager([next(frames)])  # caches are cold after the other one
        before = [milliseconds(lambda: eager([next(frames)]), device) for _ in range(2)]
        run()
        after = [milliseconds(run, device) for _ in range(TURN)]
        if number < 0:  # to warm up
            steps.clear()
            continue
        theirs += before
        own += after
        ratios.append(statistics.median(before) / statistics.median(after))
    return {
        **quantiles(own),
        "gpu_ms": {
            name: statistics.median(each[name] for each in steps) for name in (steps or [{}])[0]
        },
        "eager_ms_p50": statistics.median(theirs),
        "times_eager": statistics.median(ratios),
        "times_eager_least": min(ratios),
        "times_eager_most": max(ratios),
    }


def throughput(runtime: Runtime, subject: Subject, rounds: int, device: str) -> dict:
    """Frames a second where many wait, from the host's memory to ROI masks there."""
    frames = subject.frames

    def run() -> None:
        runtime.infer_many([runtime.preprocess(frame) for frame in frames])

    run()
    times = [milliseconds(run, device) for _ in range(max(2, rounds // 4))]
    return {"frames_per_second": len(frames) / statistics.median(times) * 1e3}


def eager_alone(subject: Subject, batch: int, rounds: int, device: str, *, autocast: bool) -> dict:
    """What torchvision has: latency, its time on the GPU by CUDA events, and frames a second."""
    eager = Eager(subject, device, autocast=autocast)
    frames = cycle(subject.frames)
    eager([next(frames)])
    times = [milliseconds(lambda: eager([next(frames)]), device) for _ in range(2 * rounds)]
    found = {**quantiles(times), "gpu_ms": {}}
    if device == "cuda":
        elapsed = [by_events(lambda: eager([next(frames)])) for _ in range(rounds)]
        found["gpu_ms"] = {"compute": statistics.median(elapsed)}
    together = list(islice(frames, batch))
    eager(together)
    times = [milliseconds(lambda: eager(together), device) for _ in range(max(2, rounds // 4))]
    return found | {"frames_per_second": batch / statistics.median(times) * 1e3}


def by_events(call: Callable[[], object]) -> float:
    """Milliseconds between two CUDA events in the current stream."""
    began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    began.record()
    call()
    ended.record()
    ended.synchronize()
    return float(began.elapsed_time(ended))


def quantiles(times: list[float]) -> dict[str, float]:
    """p50 and p99 of milliseconds."""
    return {
        "ms_p50": float(np.percentile(times, 50)),
        "ms_p99": float(np.percentile(times, 99)),
        "calls": len(times),
    }


def peak_tflops(device: str) -> float:
    """Of a large matrix product of random numbers, fp16 on a GPU and fp32 on a CPU; best of ten."""
    side = PEAK_SIDES[device]
    dtype = torch.float16 if device == "cuda" else torch.float32
    left, right = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
    timer = by_events if device == "cuda" else lambda call: milliseconds(call, device)
    best = min(timer(lambda: torch.mm(left, right)) for _ in range(10))
    return 2 * side**3 / best / 1e9


def used_mb(device: str) -> float | None:
    """Of the GPU's memory, by everything on it but what PyTorch keeps for later."""
    if device != "cuda":
        return None
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    return (total - free) / _MB


def agreement(originals: list[Detections], found: list[Detections], least: float) -> dict:
    """The original's certain objects that are there again, and how far off they are."""
    expected = matched = 0
    boxes: list[float] = []
    overlaps: list[float] = []
    for original, other in zip(originals, found, strict=True):
        certain = np.flatnonzero(original.scores >= least)
        expected += len(certain)
        if not len(certain) or not len(other):
            continue
        ious = box_iou(torch.from_numpy(original.boxes), torch.from_numpy(other.boxes)).numpy()
        ious[original.labels[:, None] != other.labels[None]] = 0
        for at in certain:
            there = int(ious[at].argmax())
            if ious[at, there] < CONFIDENT:
                continue
            matched += 1
            boxes.append(float(np.abs(original.boxes[at] - other.boxes[there]).max()))
            if original.masks is not None and other.masks is not None:
                one, two = original.masks[at] > 0.5, other.masks[there] > 0.5
                overlaps.append(float((one & two).sum() / max(1, (one | two).sum())))
    return {
        "expected": expected,
        "matched": matched,
        "box_px_mean": float(np.mean(boxes)) if boxes else None,
        "box_px_max": max(boxes, default=None),
        "mask_iou_mean": float(np.mean(overlaps)) if overlaps else None,
    }


def parity_gate(
    originals: list[Detections], found: list[Detections], runtime: StaticRuntime
) -> dict[str, Any]:
    """The project's own gate: average precision and what it may lose.

    Raises:
        ImportError: if a package is missing.
        ModelError: if too much is lost.
    """
    from export.compare import agreement as compared
    from export.compare import ap50
    from export.proof import FLOOR, SCORE_MARGIN, Case

    height, width = runtime.manifest.canvas
    case = Case(
        where=f"{runtime.name} {runtime.precision}",
        pictures="frames",
        batch=1,
        precision=runtime.precision,
        agreement=compared(
            originals,
            found,
            floor=FLOOR,
            margin=SCORE_MARGIN,
            most=runtime.manifest.max_detections,
            canvas_size=(width, height),
        ),
        ap50=ap50(originals, found, canvas_size=(width, height)),
    )
    excess = case.excess()
    if excess is not None:
        raise ModelError(f"The parity gate fails: {excess}.")
    return {"ap50": case.ap50, "passed": True}
