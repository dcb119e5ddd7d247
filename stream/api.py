"""Frames and detections for a program of one's own: ``from stream import open_pipeline``."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from export.deployed import open_runtime
from models.runtimes.base import Runtime
from models.zoo import EMBEDDED
from stream.bounded_queue import Policy
from stream.errors import RcnnLiveError
from stream.hand_over import HandOver, Result
from stream.model_pool import check_classes
from stream.pipeline import Pipeline
from stream.privacy import PrivacySettings
from stream.scene import SceneSettings
from stream.sinks.base import Sink
from stream.sources import ReconnectOptions, SourceInfo, SourceOptions, SourceStatus, create_source
from stream.sources.tap import joined
from stream.stages import build_stages
from stream.threaded import STOP_SECONDS, ThreadedPipeline
from stream.worker import Worker
from stream.zone_counts import Counts
from stream.zones import Line, Zone

logger = logging.getLogger(__name__)

_DEFAULT_OPTIONS = SourceOptions()
_GRACE_SECONDS = 1.0  # for the thread that looks after the pipeline, once the pipeline has ended


def open_pipeline(
    source: str | int | Path = "demo",
    *,
    model: str = EMBEDDED,
    weights: Path | None = None,
    runtime: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    threads: int = 0,
    canvas_side: int | None = None,
    min_score: float = 0.5,
    classes: Sequence[str] | None = None,
    track: bool = False,
    zones: Sequence[Zone] = (),
    lines: Sequence[Line] = (),
    privacy: PrivacySettings | None = None,
    policy: Policy | None = None,
    max_age_ms: float | None = None,
    max_frames: int | None = None,
    reconnect: bool = True,
    source_options: SourceOptions = _DEFAULT_OPTIONS,
    sinks: Sequence[Sink] = (),
) -> DetectionStream:
    """Run a model over a video on threads of its own; iterate over what comes out.

        for frame, detections in open_pipeline("rtsp://camera/stream"):
            print(frame.pts_seconds, detections.names())

    The pipeline ends when the source does, and in order when the loop is left by ``break`` or by an
    exception: at the latest when the stream is collected or the program exits. ``with`` makes that
    moment certain.

    Args:
        source: as ``rcnn-live run SOURCE``: a file, a URL, the number of a webcam, ``demo`` …
        model: a name in the zoo, or an exported file.
        weights: a local file for a model of the zoo.
        runtime: what computes, or ``auto``.
        device: where, or ``auto``.
        precision: of the arithmetic, or ``auto``.
        threads: to compute on; 0 for all cores.
        canvas_side: px of the model's shorter side, None for its own.
        min_score: objects the model is less sure of are left out.
        classes: names to keep, None for all.
        track: give objects ``track_ids`` that last.
        zones: to count in; they make it track.
        lines: to count over; the same.
        privacy: what to hide in every ``frame.image``.
        policy: wait for slow steps or drop frames; by default files wait and live sources drop.
        max_age_ms: frames that would be older are dropped.
        max_frames: end after so many frames are read.
        reconnect: whether a live source that fails is opened again.
        source_options: deadlines, transport and the like.
        sinks: further outputs, such as ``VideoFile(Path("out.mp4"))``.

    Raises:
        RcnnLiveError: if that cannot be, in a sentence. What goes wrong later, the source that
            cannot be opened included, is raised by the iteration.
    """
    opened = create_source(
        str(source),
        options=replace(
            source_options, tap=joined([source_options.tap, *(sink.tap for sink in sinks)])
        ),
        reconnect=ReconnectOptions() if reconnect else None,
    )
    scene = SceneSettings(track=track, zones=tuple(zones), lines=tuple(lines), privacy=privacy)
    loaded = open_runtime(
        model,
        weights,
        runtime=runtime,
        device=device,
        precision=precision,
        threads=threads,
        min_score=scene.model_score(min_score),
        canvas_side=canvas_side,
        notice=logger.info,
    )
    try:
        if classes is not None:
            check_classes(model, classes, loaded.class_names)
        hand_over = HandOver()
        stages = build_stages(
            loaded,
            [*sinks, hand_over],
            classes=classes,
            scene=scene,
            min_score=min_score,
        )
        pipeline = ThreadedPipeline(
            opened, stages, policy=policy, max_frames=max_frames, max_age_ms=max_age_ms
        )
    except BaseException:
        loaded.close()
        raise
    return DetectionStream(_Run(pipeline, loaded, hand_over))


class DetectionStream(Iterator[Result]):
    """What ``open_pipeline`` gives: an iterator of frames and their detections.

    It belongs to one thread. ``frame.image`` is (H,W,3) uint8 RGB, and other outputs may still read
    it: draw on a copy. Boxes are px in it.
    """

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._finalizer = weakref.finalize(self, _Run.abandon, run)
        run.start()

    @property
    def info(self) -> SourceInfo | None:
        """What the source is, None until it is open."""
        return self._run.pipeline.info

    @property
    def status(self) -> SourceStatus:
        """How the source fares."""
        return self._run.pipeline.status

    @property
    def counts(self) -> Counts:
        """Who is in the zones and has crossed the lines, as of the newest frame."""
        return self._run.hand_over.counts

    @property
    def skipped(self) -> int:
        """Frames of a live source that were ready before the loop came back for the next one.

        Those that were dropped before they were finished are in ``dropped``.
        """
        return self._run.hand_over.skipped

    @property
    def dropped(self) -> int:
        """Frames of a live source that were given up because the model was busy."""
        return sum(self._run.pipeline.ledger.counts().dropped.values())

    def __next__(self) -> Result:
        """The next frame, for a live source the newest.

        Raises:
            RcnnLiveError: whatever ended the pipeline early, once.
        """
        result = self._run.hand_over.take()
        if result is None:
            self.close()
            raise StopIteration
        return result

    def close(self) -> None:
        """End in order: recordings are finished, all threads have ended. Legal any number of times.

        Raises:
            RcnnLiveError: the first thing that went wrong, if it was not raised before.
        """
        if self._finalizer.detach() is not None:
            self._run.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        elif self._finalizer.detach() is not None:
            self._run.abandon()


class _Run:
    """A pipeline and the thread that looks after it; knows nothing of the stream that uses it."""

    def __init__(self, pipeline: Pipeline, runtime: Runtime, hand_over: HandOver) -> None:
        self.pipeline, self.hand_over = pipeline, hand_over
        self._runtime = runtime
        self._keeper = Worker("open_pipeline", self._look_after)

    def start(self) -> None:
        self.pipeline.start()
        self._keeper.start()

    def _look_after(self) -> None:
        while not self.pipeline.wait(0.5):
            continue
        self._runtime.close()  # a source that never opened has started no stage that would
        self.hand_over.end()

    def finish(self) -> None:
        """Stop, wait, and raise the first error."""
        self._stop()
        self._keeper.join(STOP_SECONDS + _GRACE_SECONDS)
        self.pipeline.finish()

    def abandon(self) -> None:
        """Stop without anybody to tell; an error becomes a warning in the log.

        The collector may call this on any thread: those of a pipeline, which are daemons, cannot
        wait for themselves.
        """
        if threading.current_thread().daemon:
            self._stop()
            return
        try:
            self.finish()
        except RcnnLiveError as error:
            logger.warning("%s", error)

    def _stop(self) -> None:
        self.pipeline.stop()
        self.hand_over.leave()
