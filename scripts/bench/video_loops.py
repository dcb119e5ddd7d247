"""Programs that detect on a video and write it annotated: ours, and what others write.

Each is made once and then goes through the whole clip at every call. It is timed from the first
frame's reading until the written file is closed; models are loaded and warm by then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import supervision as sv
import torch

from export.deployed import open_runtime
from models import zoo
from models.runtimes.base import Runtime
from models.runtimes.exported import open_exported
from stream.frame import FrameTrace
from stream.hud import hud_lines
from stream.ledger import Ledger
from stream.metrics import Meter
from stream.render import color_of
from stream.sinks.base import Sink
from stream.sinks.recording import Recording
from stream.sources import create_source
from stream.stages import CAPTURE, Job, Stage, build_stages
from stream.threaded import ThreadedPipeline


@dataclass(frozen=True, kw_only=True)
class Task:
    """What all of them do.

    Attributes:
        clip: to read.
        frames: of the clip.
        folder: for what is written.
        model: name in the zoo.
        weights: of the model, None for its own.
        device: ``cpu`` or ``cuda``.
        canvas_side: px of the shorter side, None for the model's own.
        min_score: of objects.
        threads: that our model computes on; 0 for all cores.
    """

    clip: Path
    frames: int
    folder: Path
    model: str
    weights: Path | None
    device: str
    canvas_side: int | None
    min_score: float = 0.5
    threads: int = 0


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One way through the clip.

    Attributes:
        frames: that were written.
        seconds: for all of them.
        objects: in all of them.
        runtime: what computed.
        stage_ms: milliseconds a frame of each stage of ours, all alone.
    """

    frames: int
    seconds: float
    objects: int
    runtime: str
    stage_ms: dict[str, float] = field(default_factory=dict)


class FirstFrame(Sink):
    """Notes when the first frame's packet was read."""

    name = "first"

    def __init__(self) -> None:
        self.read_at = 0.0

    def write(self, job: Job) -> None:
        self.read_at = self.read_at or job.frame.captured_at

    def close(self) -> None:
        """Nothing is open."""


def ours(task: Task, *, graph: Path, runtime: str, precision: str) -> Callable[[], Pass]:
    """The pipeline as ``rcnn-live run CLIP --record FILE`` has it; then each of its stages alone.

    On a CPU the model is the very graph that supervision's loop has; a GPU's runtimes have others
    made for them.
    """
    settings: dict[str, Any] = {
        "runtime": runtime,
        "precision": precision,
        "min_score": task.min_score,
        "threads": task.threads,
    }
    if task.device == "cpu":
        opened = open_runtime(str(graph), device="cpu", **settings)
    else:
        opened = open_runtime(
            task.model,
            task.weights,
            device=task.device,
            canvas_side=task.canvas_side,
            **settings,
        )
    opened.close = lambda: None  # a pipeline closes its model, which the next one needs
    return lambda: _our_pass(task, opened)


def _our_pass(task: Task, runtime: Runtime) -> Pass:
    meter, ledger, first = Meter(), Ledger(), FirstFrame()
    pipeline = ThreadedPipeline(
        create_source(str(task.clip)),
        build_stages(
            runtime,
            [Recording(task.folder / "ours.mp4"), first],
            hud_lines=partial(hud_lines, meter, ledger),
        ),
        max_frames=task.frames,
        meter=meter,
        ledger=ledger,
    )
    with pipeline:
        while not pipeline.wait(1.0):
            continue
        seconds = time.monotonic() - first.read_at
    pipeline.finish()
    return Pass(
        frames=ledger.counts().emitted,
        seconds=seconds,
        objects=meter.objects,
        runtime=f"{runtime.name} {runtime.precision}",
        stage_ms=_stages_alone(task, runtime),
    )


def _stages_alone(task: Task, runtime: Runtime) -> dict[str, float]:
    """Milliseconds a frame of each stage on all frames, while nothing else is done."""
    with create_source(str(task.clip)) as source:
        info = source.open()
        began = time.perf_counter()
        frames = [frame for _ in range(task.frames) if (frame := source.read()) is not None]
        seconds = {CAPTURE: time.perf_counter() - began}
    jobs = [Job(frame, FrameTrace(frame.captured_at)) for frame in frames]
    sinks = [Recording(task.folder / "alone.mp4", is_threaded=False)]
    hud = partial(hud_lines, Meter(), Ledger())
    for stage in build_stages(runtime, sinks, hud_lines=hud):
        stage.open(info)
        seconds[stage.name] = _seconds_of(stage, jobs)
    return {name: value * 1e3 / len(jobs) for name, value in seconds.items()}


def _seconds_of(stage: Stage, jobs: list[Job]) -> float:
    began = time.perf_counter()
    for job in jobs:
        stage.process(job)
    stage.close()
    return time.perf_counter() - began


def torchvision_loop(task: Task) -> Callable[[], Pass]:
    """The lecture's: OpenCV reads, torchvision's Mask R-CNN detects and pastes, OpenCV writes.

    The same weights and the same canvas as ours. Objects of low scores are left out before their
    masks are computed, which torchvision's defaults would not do.
    """
    model = zoo.load(task.model, task.weights).module.eval().to(task.device)
    model.roi_heads.score_thresh = task.min_score
    if task.canvas_side is not None:
        model.transform.min_size = (task.canvas_side,)
    return lambda: _torchvision_pass(task, model)


def _torchvision_pass(task: Task, model: torch.nn.Module) -> Pass:
    info = sv.VideoInfo.from_video_path(str(task.clip))
    capture = cv2.VideoCapture(str(task.clip))
    path = str(task.folder / "torchvision.mp4")
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"mp4v"), info.fps, info.resolution_wh)
    frames = objects = 0
    began = time.perf_counter()
    while frames < task.frames:
        is_there, picture = capture.read()
        if not is_there:
            break
        rgb = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
        with torch.inference_mode():
            pixels = torch.from_numpy(rgb).to(task.device).permute(2, 0, 1).float() / 255
            found = {name: values.cpu().numpy() for name, values in model([pixels])[0].items()}
        _draw(picture, found)
        writer.write(picture)
        frames, objects = frames + 1, objects + len(found["boxes"])
    writer.release()
    seconds = time.perf_counter() - began
    capture.release()
    return Pass(frames=frames, seconds=seconds, objects=objects, runtime="torchvision eager")


def _draw(picture: np.ndarray, found: dict[str, np.ndarray]) -> None:
    """Masks, boxes and labels on a BGR picture."""
    for mask, box, label, score in zip(
        found["masks"], found["boxes"], found["labels"], found["scores"], strict=True
    ):
        color = color_of(int(label))[::-1]
        inside = mask[0] > 0.5
        picture[inside] = (0.55 * picture[inside] + 0.45 * np.array(color)).astype(np.uint8)
        left, top, right, bottom = (int(side) for side in box)
        cv2.rectangle(picture, (left, top), (right, bottom), color, 2)
        text, corner = f"{label} {score:.2f}", (left, top - 4)
        cv2.putText(picture, text, corner, cv2.FONT_HERSHEY_SIMPLEX, 0.5, color)


def supervision_loop(task: Task, *, graph: Path) -> Callable[[], Pass]:
    """Supervision's video reader, annotators and writer around ONNX Runtime and our graph.

    It is given our resizing, and its masks in its own compact form: its users paste them over the
    whole frame.
    """
    runtime = open_exported(
        graph,
        runtime="onnxruntime",
        precision="fp32",
        device=task.device,
        min_score=task.min_score,
    )
    annotators = sv.MaskAnnotator(), sv.BoxAnnotator(), sv.LabelAnnotator()
    return lambda: _supervision_pass(task, runtime, annotators)


def _supervision_pass(task: Task, runtime: Runtime, annotators: Sequence[Any]) -> Pass:
    info = sv.VideoInfo.from_video_path(str(task.clip))
    frames = objects = 0
    began = time.perf_counter()
    with sv.VideoSink(str(task.folder / "supervision.mp4"), info) as sink:
        for picture in islice(sv.get_video_frames_generator(str(task.clip)), task.frames):
            rgb = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
            found = runtime.detect(rgb).to_supervision((info.width, info.height))
            for annotator in annotators:
                picture = annotator.annotate(picture, found)
            sink.write_frame(picture)
            frames, objects = frames + 1, objects + len(found)
    seconds = time.perf_counter() - began
    name = f"{runtime.name} {runtime.precision}"
    return Pass(frames=frames, seconds=seconds, objects=objects, runtime=name)
