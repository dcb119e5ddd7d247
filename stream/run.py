"""``rcnn-live run``: one source through one model into the outputs that were asked for."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from models import zoo
from models.runtimes.base import Runtime
from models.runtimes.cpu import one_thread
from models.runtimes.torch_eager import TorchEager
from stream.bounded_queue import Policy
from stream.errors import UsageError
from stream.ledger import Ledger
from stream.metrics import Meter
from stream.pipeline import Pipeline
from stream.redact import redact
from stream.serial import SerialPipeline
from stream.sinks.base import Sink
from stream.sinks.events import EventLog
from stream.sinks.paths import check_writable
from stream.sinks.trace import TraceLog
from stream.sinks.video_file import VideoFile
from stream.sinks.window import Window
from stream.sources import FrameSource, SourceOptions, create_source
from stream.stages import build_stages
from stream.summary import sentence, summarize, write_summary
from stream.terminal import TerminalView
from stream.threaded import ThreadedPipeline

POLL_SECONDS = 0.02  # how often the main thread looks after window, terminal and signals


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What to run. ``rcnn-live run --help`` explains each setting."""

    source: str = "demo"
    source_options: SourceOptions = field(default_factory=SourceOptions)
    model: str = zoo.EMBEDDED
    weights: Path | None = None
    device: str = "auto"
    canvas_side: int | None = None
    min_score: float = 0.5
    classes: tuple[str, ...] | None = None
    record: Path | None = None
    events: str | None = None
    event_masks: bool = False
    trace: str | None = None
    summary: Path | None = None
    window: bool = False
    hud: bool = True
    policy: Policy | None = None
    max_frames: int | None = None
    single_thread: bool = False
    quiet: bool = False


def run(settings: RunSettings) -> dict[str, Any]:
    """Run until the source ends, the user stops it or something fails.

    What can be checked is checked before the model is loaded, and the model is loaded before the
    source is opened.

    Returns:
        the summary, which has also been written where it was asked for.

    Raises:
        RcnnLiveError: whatever ended the run early; recordings are finished by then.
    """
    stop_requests: list[str] = []
    source = create_source(settings.source, options=settings.source_options)
    window = (
        Window("rcnn-live", lambda: stop_requests.append("window")) if settings.window else None
    )
    sinks = _sinks(settings, window)
    runtime = _load_runtime(settings)
    pipeline = _assemble(settings, source, runtime, sinks)
    console = Console(stderr=True, quiet=settings.quiet)
    view = TerminalView(pipeline, lambda: _frames_to_come(pipeline, settings), console)
    try:
        with _signals_into(stop_requests), view:
            _drive(pipeline, stop_requests, [view.pump, *([window.pump] if window else [])])
        pipeline.finish()
    finally:
        if window is not None:
            window.destroy()
        summary = summarize(pipeline, runtime, redact(settings.source))
        if summary["frames"]["captured"]:
            console.print(sentence(summary), highlight=False, soft_wrap=True)
            if settings.summary is not None:
                write_summary(summary, settings.summary)
    return summary


def _check_outputs(settings: RunSettings) -> None:
    """Refuse outputs that would overwrite the source or each other."""
    targets = {
        "--record": settings.record,
        "--events": settings.events,
        "--trace": settings.trace,
        "--summary": settings.summary,
    }
    taken = {Path(settings.source).resolve(): "the source"}
    for option, target in targets.items():
        if target is None:
            continue
        path = Path(target).resolve()
        if path in taken:
            raise UsageError(f"{option} {target} is {taken[path]} already: give it another name.")
        taken[path] = option


def _sinks(settings: RunSettings, window: Window | None) -> list[Sink]:
    """The outputs asked for, checked; the trace last, so that it sees the others' time."""
    sinks: list[Sink] = []
    _check_outputs(settings)
    if settings.summary is not None:
        check_writable(settings.summary, "--summary")
    if settings.record is not None:
        sinks.append(VideoFile(settings.record))
    if settings.events is not None:
        sinks.append(EventLog(settings.events, masks=settings.event_masks))
    if window is not None:
        sinks.append(window)
    if settings.trace is not None:
        sinks.append(TraceLog(settings.trace))
    return sinks


def _load_runtime(settings: RunSettings) -> Runtime:
    with one_thread():
        loaded = zoo.load(settings.model, settings.weights)
    runtime = TorchEager(
        loaded,
        min_score=settings.min_score,
        device=settings.device,
        canvas_side=settings.canvas_side,
    )
    for name in settings.classes or ():
        if name not in runtime.class_names:
            close = difflib.get_close_matches(name, runtime.class_names) or runtime.class_names[1:9]
            raise UsageError(
                f"{settings.model} has no class {name!r}: did you mean {' or '.join(close)}?"
            )
    return runtime


def _assemble(
    settings: RunSettings, source: FrameSource, runtime: Runtime, sinks: list[Sink]
) -> Pipeline:
    meter, ledger = Meter(), Ledger()
    hud_lines = _hud(meter, ledger) if settings.hud else None
    return (SerialPipeline if settings.single_thread else ThreadedPipeline)(
        source,
        build_stages(runtime, sinks, classes=settings.classes, hud_lines=hud_lines),
        policy=settings.policy,
        max_frames=settings.max_frames,
        meter=meter,
        ledger=ledger,
    )


def _hud(meter: Meter, ledger: Ledger) -> Callable[[], list[str]]:
    def lines() -> list[str]:
        dropped = sum(ledger.counts().dropped.values())
        return [
            f"{meter.rates()[1]:.1f} FPS",
            f"latency {meter.recent_ms('total'):.0f} ms, model {meter.recent_ms('model'):.0f} ms",
            f"{dropped} dropped",
        ]

    return lines


def _frames_to_come(pipeline: Pipeline, settings: RunSettings) -> int | None:
    counts = [settings.max_frames, pipeline.info.frame_count if pipeline.info else None]
    return min((count for count in counts if count is not None), default=None)


def _drive(pipeline: Pipeline, stop_requests: list[str], pumps: list[Callable[[], None]]) -> None:
    """Look after the pipeline from the main thread until it has ended."""
    pipeline.start()
    while not pipeline.wait(POLL_SECONDS):
        if stop_requests:
            pipeline.stop()
        for pump in pumps:
            pump()


@contextmanager
def _signals_into(stop_requests: list[str]) -> Iterator[None]:
    """Ctrl-C and SIGTERM ask for an orderly stop; a second Ctrl-C no longer waits for it."""

    def ask(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and signal.SIGINT.name in stop_requests:
            raise KeyboardInterrupt
        stop_requests.append(signal.Signals(number).name)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
