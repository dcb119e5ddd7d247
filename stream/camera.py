"""One camera of several: its pipeline, and a new one when that has failed."""

from __future__ import annotations

import logging
import random
import threading
import time
from dataclasses import replace

from stream.batched_runtime import BatchedRuntime, PreprocessWhenReady
from stream.batcher import Cancelled
from stream.camera_files import file_of, unused_file_of
from stream.config import CameraSettings
from stream.control.camera import lowest_score
from stream.control.controls import Controls
from stream.control.fleet_camera import control_camera
from stream.control.types import Places
from stream.control.zone_store import with_places
from stream.errors import RcnnLiveError, SinkError, ThreadLeftBehind, UsageError
from stream.events.target import is_target
from stream.hud import hud_lines
from stream.model_pool import ModelPool, ModelSpec, check_classes
from stream.monitor.snapshot import (
    ENDED,
    FAILED,
    RESTARTING,
    STARTING,
    STOPPED,
    Accounts,
    CameraSnapshot,
    CameraStatus,
    status_of,
)
from stream.observer import Observer
from stream.pipeline import Pipeline
from stream.redact import redact
from stream.sinks.base import Sink
from stream.sinks.event_clips import EventClips
from stream.sinks.event_targets import can_rotate, event_sinks
from stream.sinks.json_lines import STDOUT
from stream.sinks.publish import Publish
from stream.sinks.recording import Recording
from stream.sinks.rotation import Rotation
from stream.sources import FrameSource, ReconnectOptions, SourceStatus, create_source
from stream.sources.named import Named
from stream.sources.tap import joined
from stream.stages import Stage, build_stages
from stream.threaded import ThreadedPipeline
from stream.worker import Worker

logger = logging.getLogger(__name__)

FIRST_WAIT_SECONDS = 1.0  # until a failed camera is started again; twice as long every time
LONGEST_WAIT_SECONDS = 60.0
HEALTHY_SECONDS = 60.0  # a camera that ran so long starts from the first wait again


class Camera:
    """Runs one camera on threads of its own until it is stopped or its source has ended.

    Args:
        name: of the camera.
        settings: of the camera.
        pool: of the models.
        accounts: to go on with.
        controls: to join, so that it can be watched and changed; None for neither.
    """

    def __init__(
        self,
        name: str,
        settings: CameraSettings,
        pool: ModelPool,
        accounts: Accounts,
        controls: Controls | None = None,
    ) -> None:
        self.name, self.settings, self.accounts = name, settings, accounts
        self.left_behind: list[str] = []  # threads that would not end
        self._emitted_before = accounts.ledger.counts().emitted  # with other settings
        self._pool = pool
        self._stopping = threading.Event()
        self._status = CameraStatus(STARTING)
        self._pipeline: Pipeline | None = None
        self._worker = Worker(f"camera {name}", self._run)
        self._controls, self._control = controls, None
        if controls is not None:
            self._control = control_camera(
                controls,
                name,
                settings,
                hud_lines=self._hud_lines,
                snapshot=self.snapshot,
                meter=accounts.meter,
                save=self._save_places,
            )

    def start(self) -> None:
        """Begin; returns at once. Once."""
        self._worker.start()

    def stop(self) -> None:
        """Ask for an early, orderly end. Legal in every state and from every thread."""
        self._stopping.set()
        pipeline = self._pipeline
        if pipeline is not None:
            pipeline.stop()

    def join(self, timeout_seconds: float) -> bool:
        """Wait for the end; True if it has come."""
        return self._worker.join(timeout_seconds)

    @property
    def thread_name(self) -> str:
        """For messages."""
        return self._worker.name

    def status(self) -> CameraStatus:
        """Where it stands now."""
        pipeline = self._pipeline
        if pipeline is None:
            return self._status
        return status_of(pipeline)

    def snapshot(self) -> CameraSnapshot:
        """All figures."""
        return CameraSnapshot.of(self.name, self.status(), self.accounts, self._pipeline)

    # ── the camera's own thread ──

    def _run(self) -> None:
        wait_seconds = FIRST_WAIT_SECONDS
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                self._run_once()
                self._set(STOPPED if self._stopping.is_set() else ENDED)
                return
            except Cancelled:
                break
            except Exception as error:  # noqa: BLE001 - one camera's failure is its own
                if not self._may_restart(error):
                    return
            if time.monotonic() - began > HEALTHY_SECONDS:
                wait_seconds = FIRST_WAIT_SECONDS
            self._stopping.wait(wait_seconds * random.uniform(0.8, 1.2))
            wait_seconds = min(2 * wait_seconds, LONGEST_WAIT_SECONDS)
            self.accounts.restarts += not self._stopping.is_set()
        self._set(STOPPED)

    def _may_restart(self, error: Exception) -> bool:
        """Tell of a failure; False if trying again is no use."""
        reason = redact(_sentence(error))
        if isinstance(error, ThreadLeftBehind):
            self.left_behind.append(reason)
        if self._stopping.is_set():
            self._set(STOPPED, reason)
        elif isinstance(error, UsageError) and not self._has_emitted():
            self._set(FAILED, reason)
        else:
            self._set(RESTARTING, reason)
        return self._status.state == RESTARTING

    def _has_emitted(self) -> bool:
        """Whether these settings have shown that they can run."""
        return self.accounts.ledger.counts().emitted > self._emitted_before

    def _set(self, state: str, reason: str = "") -> None:
        if state == self._status.state and reason == self._status.reason:
            return
        self._status = CameraStatus(state, reason)
        level = logging.WARNING if reason else logging.INFO
        what = f"{state}: {reason}" if reason else state
        logger.log(level, "%s: %s", self.name, what, extra={"camera": self.name, "state": state})

    def _run_once(self) -> None:
        self._set(STARTING)
        settings, control = self.settings, self._control
        spec = ModelSpec.of(settings)
        if control is not None:
            spec = replace(spec, score=lowest_score(spec.score))
        runtime = BatchedRuntime(self._pool, spec, self._stopping.is_set)
        try:
            clips = settings.record_on
            named = [*(settings.classes or ()), *(clips.classes if clips else ())]
            named += settings.scene().counted_classes()
            check_classes(settings.model, named, runtime.class_names)
            if control is not None:
                control.meet(runtime.class_names)
            sinks = self._sinks()
            pipeline = self._pipeline = ThreadedPipeline(
                self._source(sinks),
                self._stages(runtime, sinks),
                meter=self.accounts.meter,
                ledger=self.accounts.ledger,
                max_age_ms=settings.max_age_ms,
                observers=[*sinks, _SourceLog(self.name, self.accounts)],
            )
            pipeline.start()
            while not pipeline.wait(0.1):
                if self._stopping.is_set():
                    pipeline.stop()
            pipeline.finish()
        finally:
            if (ended := self._pipeline) is not None:
                self._pipeline = None
                self.accounts.corrupt_packets += ended.corrupt_packets
            runtime.close()

    def _source(self, sinks: list[Sink]) -> FrameSource:
        settings = self.settings
        source = create_source(
            settings.source,
            options=replace(settings.source_options(), tap=joined(sink.tap for sink in sinks)),
            reconnect=ReconnectOptions(
                first_delay_seconds=settings.reconnect.first_seconds,
                longest_delay_seconds=settings.reconnect.longest_seconds,
                waits_for_first=True,
            ),
        )
        return Named(source, self.name)

    def _sinks(self) -> list[Sink]:
        settings = self.settings
        sinks: list[Sink] = []
        try:
            if self._control is not None:
                self._control.recording.prepare()
                sinks.append(self._control.recording)
            elif settings.record is not None:
                options = settings.recording()
                named = unused_file_of if options.segment is None else file_of
                sinks.append(Recording(named(settings.record, self.name), options))
            if settings.publish:
                sinks.append(Publish([self._publish_target(one) for one in settings.publish]))
            rotation = settings.rotate_events
            sinks += event_sinks(
                [self._target(target) for target in settings.events],
                self.name,
                masks=settings.event_masks,
                rotation=None if rotation is None else Rotation.parse(rotation, "rotate_events"),
            )
            if self._control is not None:
                sinks += self._control.sinks()
            return [*self._clips(sinks), *sinks]
        except UsageError as error:
            # the settings are right: a disk that is not there yet may come
            raise SinkError(str(error)) from error

    def _clips(self, listeners: list[Sink]) -> list[Sink]:
        """First, so that a clip's end is told to those that are still open."""
        settings = self.settings.record_on
        if settings is None:
            return []
        folder = file_of(settings.folder, self.name)
        options = settings.options(self.settings.recording(), folder)
        clips = EventClips(self.name, options, option="record_on")
        clips.watch(listeners)
        return [clips]

    def _publish_target(self, template: str) -> str:
        """Where to publish this camera."""
        if "://" in template:
            return template.replace("{name}", self.name)
        return str(file_of(template, self.name))

    def _target(self, template: str) -> str:
        """Where events go for this camera; files that rotate put older ones aside themselves."""
        if template == STDOUT or is_target(template):
            return template.replace("{name}", self.name)
        rotates = self.settings.rotate_events is not None and can_rotate(template)
        return str((file_of if rotates else unused_file_of)(template, self.name))

    def _stages(self, runtime: BatchedRuntime, sinks: list[Sink]) -> list[Stage]:
        hud_lines = self._hud_lines if self.settings.hud else None
        scene, control = self.settings.scene(), self._control
        if control is not None:
            scene = replace(scene, track=True)
        stages = build_stages(
            runtime,
            sinks,
            classes=self.settings.classes,
            hud_lines=hud_lines,
            scene=scene,
            min_score=self.settings.score,
            live=None if control is None else control.live,
        )
        return [PreprocessWhenReady(runtime), *stages[1:]]

    def _save_places(self, places: Places) -> None:
        """What is drawn belongs to the settings, or the next look at the file would undo it."""
        assert self._controls is not None
        with self._controls.zones.editing:
            self._controls.zones.save(self.name, places)
            self.settings = with_places(self.settings, places)

    def _hud_lines(self) -> list[str]:
        accounts = self.accounts
        return hud_lines(
            accounts.meter, accounts.ledger, reconnects=accounts.reconnects, name=self.name
        )


class _SourceLog(Observer):
    """Logs every change of a source, and counts how often it came back."""

    def __init__(self, name: str, accounts: Accounts) -> None:
        self._name, self._accounts, self._reconnects = name, accounts, 0

    def source_changed(self, status: SourceStatus) -> None:
        self._accounts.reconnects += status.reconnects - self._reconnects
        self._reconnects = status.reconnects
        extra = {"camera": self._name, "state": status.state.value, "reason": status.reason}
        logger.info("%s: %s", self._name, status.sentence(), extra=extra)


def _sentence(error: Exception) -> str:
    if isinstance(error, RcnnLiveError):
        return str(error)
    return f"unexpected {type(error).__name__}: {error}"
