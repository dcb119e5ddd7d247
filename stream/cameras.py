"""``rcnn-live cameras``: many cameras from one file, until they are stopped."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from models.paths import check_writable
from models.runtimes.heap import give_back_freed_memory
from stream.config import Config, Metrics
from stream.config_load import files_of, load_config
from stream.control.controls import Controls
from stream.control.options import recordings_folder
from stream.control.zone_store import ZoneStore
from stream.errors import UsageError
from stream.fleet import Fleet
from stream.fleet_view import FleetView
from stream.monitor.drops import DropReports
from stream.monitor.logs import notices
from stream.monitor.server import serving
from stream.monitor.snapshot import FAILED
from stream.signals import signals_into
from stream.summary import figures, in_total, sentence, write_summary
from stream.web.page import showing_page
from stream.web.settings import ServeSettings

POLL_SECONDS = 0.05
LOOK_SECONDS = 1.0  # between two looks at the files
RELOAD, STOP = "SIGHUP", ("SIGINT", "SIGTERM")


@dataclass(frozen=True, slots=True, kw_only=True)
class CamerasSettings:
    """How to run a fleet. ``rcnn-live cameras --help`` explains each setting.

    Attributes:
        file: the configuration.
        metrics: in place of the file's.
        serve: the live page, in place of the file's.
        recordings: where the live page records to, in place of the file's.
        tells_in_json: whether the log says it all, so that nothing else is to be written.
    """

    file: Path
    summary: Path | None = None
    metrics: Metrics | None = None
    serve: ServeSettings | None = None
    recordings: Path | None = None
    quiet: bool = False
    tells_in_json: bool = False


def run_cameras(settings: CamerasSettings) -> dict[str, Any]:
    """Run until a signal comes or every camera has ended.

    Returns:
        the summary, which has also been written where it was asked for.

    Raises:
        UsageError: if the file is wrong, or no camera can run as it says.
        ThreadLeftBehind: if something did not end in time.
    """
    give_back_freed_memory()
    zones = ZoneStore.beside(settings.file)
    config = zones.applied(load_config(settings.file))
    serve = settings.serve or config.serve
    controls = None if serve is None else Controls(_recordings(settings, config), zones)
    if settings.summary is not None:
        check_writable(settings.summary, "--summary")
    console = Console(stderr=True, quiet=settings.quiet or settings.tells_in_json)
    notice = notices(console, in_log=settings.tells_in_json)
    signals: list[str] = []
    watch = FileWatch(settings.file, config, zones)
    with signals_into(signals, reload=True):
        fleet = Fleet(config, notice, controls)
        metrics = settings.metrics or config.metrics
        try:
            with (
                serving(metrics, notice, cameras=fleet.snapshots, models=fleet.models),
                showing_page(serve, controls, notice),
            ):
                _drive(fleet, signals, watch, notice, console)
        finally:
            try:
                fleet.stop()
            finally:
                if controls is not None:
                    controls.close()
                summary = summarize_fleet(fleet)
                notice(sentence(summary["total"]))
                if settings.summary is not None:
                    write_summary(summary, settings.summary)
    _raise_if_none_ran(fleet)
    return summary


def _drive(
    fleet: Fleet,
    signals: list[str],
    watch: FileWatch,
    notice: Callable[[str], None],
    console: Console,
) -> None:
    drops = DropReports(fleet.snapshots)
    with FleetView(fleet.snapshots, console) as view:
        while not fleet.has_ended and not any(name in signals for name in STOP):
            is_asked = RELOAD in signals
            if is_asked:
                signals.remove(RELOAD)
            if watch.has_changed() or is_asked:
                _reload(fleet, watch, notice)
            fleet.pump()
            view.pump()
            drops.pump()
            time.sleep(POLL_SECONDS)


def _reload(fleet: Fleet, watch: FileWatch, notice: Callable[[str], None]) -> None:
    with watch.zones.editing:  # what is drawn meanwhile is drawn after that
        try:
            config = watch.load()
        except UsageError as error:
            notice(f"{error}\nThe cameras go on as they were.")
            return
        done = fleet.apply(config)
    notice(f"{watch.path}: {done}.")


def _recordings(settings: CamerasSettings, config: Config) -> Path:
    return recordings_folder(settings.recordings or config.recordings, settings.file.parent)


class FileWatch:
    """Tells when the configuration's files change, by their times: that works on any file system.

    Args:
        path: of the configuration.
        config: as it was read from there.
        zones: that were drawn in place of its own.
    """

    def __init__(self, path: Path, config: Config, zones: ZoneStore) -> None:
        self.path, self.zones, self._files = path, zones, files_of(path, config)
        self._looked_at, self._seen = time.monotonic(), self._signature()

    def has_changed(self) -> bool:
        """Whether it changed since it was last read; looks once a second."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_SECONDS:
            return False
        self._looked_at = now
        before, self._seen = self._seen, self._signature()
        return self._seen != before

    def load(self) -> Config:
        """Read it again.

        Raises:
            UsageError: if it is wrong.
        """
        self._seen = self._signature()
        config = self.zones.applied(load_config(self.path))
        self._files = files_of(self.path, config)
        self._seen = self._signature()
        return config

    def _signature(self) -> list[tuple[int, int, int] | None]:
        return [_signature(file) for file in self._files]


def _signature(file: Path) -> tuple[int, int, int] | None:
    with contextlib.suppress(OSError):
        found = file.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino
    return None


def summarize_fleet(fleet: Fleet) -> dict[str, Any]:
    """The figures of a fleet: ``cameras`` by name, ``models`` and ``total``."""
    statuses = {camera.name: camera.status for camera in fleet.snapshots()}
    cameras: dict[str, Any] = {}
    for name, accounts in fleet.accounts().items():
        status = statuses.get(name)
        cameras[name] = {
            "state": "removed" if status is None else status.state,
            "reason": "" if status is None else status.reason,
            "restarts": accounts.restarts,
            "reconnects": accounts.reconnects,
            "corrupt_packets": accounts.corrupt_packets,
            **figures(accounts.ledger, accounts.meter),
        }
    return {"cameras": cameras, "total": in_total(list(cameras.values()))}


def _raise_if_none_ran(fleet: Fleet) -> None:
    """A file of which nothing can run is wrong usage; one bad camera among others is not."""
    statuses = [camera.status for camera in fleet.snapshots()]
    if statuses and all(status.state == FAILED for status in statuses):
        raise UsageError(
            "No camera could be run. " + " ".join(status.reason for status in statuses)
        )


def check(file: Path) -> str:
    """Validate only.

    Returns:
        what there is, in a sentence.

    Raises:
        UsageError: if the file is wrong.
    """
    config = ZoneStore.beside(file).applied(load_config(file))
    return f"{file}: {len(config.cameras)} cameras: {', '.join(config.cameras)}."
