"""``rcnn-live run``: one source through one model into the outputs that were asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from export.deployed import open_runtime
from models.paths import check_writable
from models.runtimes.base import Runtime
from models.zoo import EMBEDDED
from stream.bounded_queue import Policy
from stream.clip_options import clip_name
from stream.config import Metrics
from stream.control.camera import CameraControl, lowest_score
from stream.control.controls import Controls
from stream.control.run_camera import control_run, controls_of_run
from stream.errors import UsageError
from stream.events.target import is_target
from stream.model_pool import check_classes
from stream.monitor.logs import notices
from stream.monitor.server import serving
from stream.pipeline import Pipeline
from stream.redact import redact
from stream.run_figures import RunFigures
from stream.scene import NO_SCENE, SceneSettings
from stream.serial import SerialPipeline
from stream.signals import signals_into
from stream.sinks.base import Sink
from stream.sinks.clip_trigger import ClipOptions, check_clips
from stream.sinks.event_clips import OPTION as CLIPS
from stream.sinks.event_clips import EventClips
from stream.sinks.event_targets import event_sinks, rotation_of
from stream.sinks.publish import Publish
from stream.sinks.raw_copy import RawCopy
from stream.sinks.recording import Recording
from stream.sinks.segments import RecordingOptions
from stream.sinks.trace import TraceLog
from stream.sinks.window import Window
from stream.sources import FrameSource, ReconnectOptions, SourceOptions, create_source
from stream.sources.decoders import refusal
from stream.sources.live import innermost
from stream.sources.tap import PacketTap, joined
from stream.stages import build_stages
from stream.summary import sentence, summarize, write_summary
from stream.terminal import TerminalView
from stream.threaded import ThreadedPipeline
from stream.web.page import showing_page
from stream.web.settings import ServeSettings

POLL_SECONDS = 0.02  # how often the main thread looks after window, terminal and signals


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What to run. ``rcnn-live run --help`` explains each setting."""

    source: str = "demo"
    source_options: SourceOptions = field(default_factory=SourceOptions)
    model: str = EMBEDDED
    weights: Path | None = None
    device: str = "auto"
    canvas_side: int | None = None
    runtime: str = "auto"
    precision: str = "auto"
    threads: int = 0
    min_score: float = 0.5
    classes: tuple[str, ...] | None = None
    scene: SceneSettings = NO_SCENE
    record: Path | None = None
    record_raw: Path | None = None
    recording: RecordingOptions = RecordingOptions()  # noqa: RUF009 - it is frozen
    clips: ClipOptions | None = None
    events: tuple[str, ...] = ()
    publish: tuple[str, ...] = ()
    rotate_events: str | None = None
    event_masks: bool = False
    trace: str | None = None
    summary: Path | None = None
    window: bool = False
    hud: bool = True
    policy: Policy | None = None
    max_age_ms: float | None = None
    reconnect: bool = True
    max_frames: int | None = None
    single_thread: bool = False
    metrics: Metrics | None = None
    serve: ServeSettings | None = None
    recordings: Path | None = None
    quiet: bool = False
    tells_in_json: bool = False  # the log says it all, nothing else is to be written


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
    window = (
        Window("rcnn-live", lambda: stop_requests.append("window")) if settings.window else None
    )
    controls, figures = controls_of_run(settings), RunFigures(redact(settings.source))
    control = None if controls is None else _controlled(controls, settings, figures)
    sinks = _sinks(settings, window, control)
    source = _source(settings, joined(sink.tap for sink in sinks))
    console = Console(stderr=True, quiet=settings.quiet or settings.tells_in_json)
    notice = notices(console, in_log=settings.tells_in_json)

    if (decoding := refusal(settings.source_options.decode)) is not None:
        notice(decoding)
    runtime = _load_runtime(settings, notice)
    if control is not None:
        control.meet(runtime.class_names)
    pipeline = _assemble(settings, source, runtime, sinks, figures, control)
    view = TerminalView(pipeline, lambda: _frames_to_come(pipeline, settings), console)
    try:
        with (
            signals_into(stop_requests),
            serving(settings.metrics, notice, cameras=lambda: [figures.snapshot()]),
            showing_page(settings.serve, controls, notice),
            view,
        ):
            _drive(pipeline, stop_requests, [view.pump, *([window.pump] if window else [])])
        pipeline.finish()
    finally:
        if window is not None:
            window.destroy()
        if controls is not None:
            controls.close()
        summary = summarize(pipeline, runtime, redact(settings.source))
        if summary["frames"]["captured"]:
            notice(sentence(summary))
            if settings.summary is not None:
                write_summary(summary, settings.summary)
    return summary


def _raw_copies(settings: RunSettings) -> list[Sink]:
    """A copy of what comes, unless something in it is to be hidden."""
    if settings.record_raw is None:
        return []
    if settings.single_thread:
        raise UsageError("--record-raw needs a thread: leave out --single-thread.")
    if settings.scene.privacy is not None:
        raise UsageError("--record-raw would show what is to be hidden: use --record.")
    return [RawCopy(settings.record_raw)]


def _clips(settings: RunSettings) -> list[EventClips]:
    """Clips of events, unless something in them is to be hidden."""
    if settings.clips is None:
        return []
    if settings.single_thread:
        raise UsageError(f"{CLIPS} needs a thread: leave out --single-thread.")
    scene = settings.scene
    zones = tuple(zone.name for zone in scene.zones)
    hides = scene.privacy is not None
    check_clips(settings.clips, option=CLIPS, zones=zones, classes=settings.classes, hides=hides)
    return [EventClips(clip_name(settings.source), settings.clips)]


def _source(settings: RunSettings, tap: PacketTap | None) -> FrameSource:
    """What comes back does so on a thread of its own, so not where there shall be none."""
    comes_back = settings.reconnect and not settings.single_thread
    return create_source(
        settings.source,
        options=replace(settings.source_options, tap=tap),
        reconnect=ReconnectOptions() if comes_back else None,
    )


def _check_outputs(settings: RunSettings) -> None:
    """Refuse outputs that would overwrite the source or each other."""
    targets = [
        ("--record", settings.record),
        ("--record-raw", settings.record_raw),
        *(("--events", target) for target in settings.events if not is_target(target)),
        *(("--publish", target) for target in settings.publish if not is_target(target)),
        ("--trace", settings.trace),
        ("--summary", settings.summary),
    ]
    source = innermost(settings.source).removeprefix("file:").removeprefix("//")
    taken = {Path(source).resolve(): "the source"}
    for option, target in targets:
        if target is None:
            continue
        path = Path(target).resolve()
        if path in taken:
            raise UsageError(f"{option} {target} is {taken[path]} already: give it another name.")
        taken[path] = option


def _sinks(
    settings: RunSettings, window: Window | None, control: CameraControl | None
) -> list[Sink]:
    """The outputs asked for, checked; the trace last, so that it sees the others' time."""
    sinks: list[Sink] = []
    _check_outputs(settings)
    if settings.summary is not None:
        check_writable(settings.summary, "--summary")
    if control is not None:
        control.recording.prepare()
        sinks.append(control.recording)
    elif settings.record is not None:
        is_threaded = not settings.single_thread
        sinks.append(Recording(settings.record, settings.recording, is_threaded=is_threaded))
    if settings.publish:
        sinks.append(Publish(settings.publish))
    sinks += event_sinks(
        settings.events,
        redact(settings.source),
        masks=settings.event_masks,
        rotation=rotation_of(settings.rotate_events, settings.events),
    )
    if window is not None:
        sinks.append(window)
    if control is not None:
        sinks += control.sinks()
    if settings.trace is not None:
        sinks.append(TraceLog(settings.trace))
    clips = _clips(settings)
    for one in clips:
        one.watch(sinks)
    return [*clips, *sinks, *_raw_copies(settings)]  # a clip's end is told to those that are open


def _load_runtime(settings: RunSettings, notice: Callable[[str], None]) -> Runtime:
    runtime = open_runtime(
        settings.model,
        settings.weights,
        runtime=settings.runtime,
        device=settings.device,
        precision=settings.precision,
        threads=settings.threads,
        min_score=settings.scene.model_score(_lowest_score(settings)),
        canvas_side=settings.canvas_side,
        notice=notice,
    )
    named = [*(settings.classes or ()), *(settings.clips.classes if settings.clips else ())]
    check_classes(settings.model, named, runtime.class_names)
    return runtime


def _lowest_score(settings: RunSettings) -> float:
    """Of what the model reports: where it is served, the score may be changed."""
    return settings.min_score if settings.serve is None else lowest_score(settings.min_score)


def _assemble(
    settings: RunSettings,
    source: FrameSource,
    runtime: Runtime,
    sinks: list[Sink],
    figures: RunFigures,
    control: CameraControl | None,
) -> Pipeline:
    scene = settings.scene if control is None else replace(settings.scene, track=True)
    pipeline: Pipeline = (SerialPipeline if settings.single_thread else ThreadedPipeline)(
        source,
        build_stages(
            runtime,
            sinks,
            classes=settings.classes,
            hud_lines=figures.hud_lines if settings.hud else None,
            scene=scene,
            min_score=settings.min_score,
            live=None if control is None else control.live,
        ),
        policy=settings.policy,
        max_frames=settings.max_frames,
        meter=figures.accounts.meter,
        ledger=figures.accounts.ledger,
        max_age_ms=settings.max_age_ms,
        observers=sinks,
    )
    figures.pipeline = pipeline
    return pipeline


def _controlled(controls: Controls, settings: RunSettings, figures: RunFigures) -> CameraControl:
    return control_run(
        controls,
        settings,
        hud_lines=figures.hud_lines,
        snapshot=figures.snapshot,
        meter=figures.accounts.meter,
    )


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
