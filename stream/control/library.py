"""The recordings there are, without ever taking a path from who asks."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import av

from stream.control.types import RecordingEntry, RecordingMoment
from stream.errors import SinkError
from stream.sinks.clip import DESCRIPTION_SUFFIX, THUMBNAIL_SUFFIX, beside
from stream.sinks.segments import RecordingOptions, SegmentFiles, sidecar_of
from stream.sinks.switched_recording import SwitchedRecording

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv")
OF_CLIPS = (DESCRIPTION_SUFFIX, THUMBNAIL_SUFFIX)
SETTLED_SECONDS = 3.0  # a file that was written to later may still be: by another process, too
SLACK_SECONDS = 1.0  # a moment so long before or after a recording is shown by it
_STAMP = r"\d{8}T\d{6}(?:\.\d{3})?Z"
_STAMPED = re.compile(rf"(?P<camera>.+)-(?P<stamp>{_STAMP})(?:-\d+)?")
_EXACT = "%Y%m%dT%H%M%S.%fZ"

_FileKey = tuple[Path, int, int]  # its time of change in ns and its bytes


@dataclass(frozen=True, slots=True)
class Place:
    """Where one camera's recordings are.

    Attributes:
        camera: whose.
        folder: of the files.
        stem: what their names look like, without suffix.
    """

    camera: str
    folder: Path
    stem: re.Pattern[str]

    @classmethod
    def of_template(cls, camera: str, template: str) -> Place | None:
        """Of what ``record`` says in cameras.yaml; None if no one folder is meant."""
        path = Path(template.replace("{name}", camera))
        if "{started}" in str(path.parent):
            return None
        stem = re.escape(path.stem).replace(re.escape("{started}"), _STAMP)
        return cls(camera, path.parent.absolute(), re.compile(rf"{stem}(?:-{_STAMP})?(?:-\d+)?"))


class RecordingLibrary:
    """Lists, finds and removes recordings. Safe to use from any thread.

    Only plain files that look like a recording are in it: all of one folder, and those that cameras
    make elsewhere. Symbolic links are not. An id is looked up in the listing, so that none can name
    another file.

    Args:
        folder: where recordings are made; it need not be there yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._lock = threading.Lock()
        self._places: dict[Place, None] = {}
        self._cameras: dict[str, SwitchedRecording] = {}
        self._durations: dict[_FileKey, float] = {}  # only ever replaced as a whole

    def add_camera(
        self, camera: str, recording: SwitchedRecording, places: Sequence[Place]
    ) -> None:
        """Ask this recording which file is being written, and look for more in these places."""
        with self._lock:
            self._cameras = {**self._cameras, camera: recording}
            self._places = self._places | dict.fromkeys(places)

    def remove_camera(self, camera: str) -> None:
        """It is gone; what it recorded stays."""
        with self._lock:
            self._cameras = {name: one for name, one in self._cameras.items() if name != camera}

    def next_path(self, camera: str, options: RecordingOptions) -> Path:
        """Of a recording of a camera that begins now: ``NAME-20260301T120000.000Z.mp4``."""
        path = self.folder / f"{camera}.mp4"
        return path if options.segment is not None else SegmentFiles(path).begun_at(time.time())

    def entries(self, camera: str | None = None) -> list[RecordingEntry]:
        """All recordings, or those of one camera, newest first."""
        growing = self._growing()
        known, seen = self._durations, {}
        entries = []
        for whose, path in self._files():
            with contextlib.suppress(OSError):  # removed meanwhile
                found = path.stat()
                is_growing = path in growing or time.time() - found.st_mtime < SETTLED_SECONDS
                key = path, found.st_mtime_ns, found.st_size
                seconds = None if is_growing else known.get(key)
                if seconds is None and not is_growing:
                    seconds = _duration(path)
                if seconds is not None:
                    seen[key] = seconds
                if camera is None or whose == camera:
                    entries.append(_entry(whose, path, found, seconds))
        self._durations = seen
        return sorted(entries, key=lambda entry: entry.started_at, reverse=True)

    def path_of(self, recording_id: str) -> Path:
        """The file of a recording.

        Raises:
            KeyError: if there is no such recording.
        """
        for _, path in self._files():
            if _id_of(path) == recording_id:
                return path
        raise KeyError(recording_id)

    def delete(self, recording_id: str) -> None:
        """Remove a recording, and the files beside it that tell what was found in it.

        Raises:
            KeyError: if there is no such recording.
            SinkError: if it is being written, or cannot be removed.
        """
        path = self.path_of(recording_id)
        try:
            is_fresh = time.time() - path.stat().st_mtime < SETTLED_SECONDS
            if is_fresh or path in self._growing():
                raise SinkError(f"{path.name} is being written: end the recording first.")
            for companion in (sidecar_of(path), *(beside(path, one) for one in OF_CLIPS)):
                companion.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        except OSError as error:
            raise SinkError(f"{path.name} cannot be removed: {error.strerror}.") from error

    def finder(self) -> Finder:
        """What finds moments in the recordings as they are now."""
        return Finder(self.entries())

    def _growing(self) -> set[Path]:
        paths = [recording.path for recording in self._cameras.values()]
        return {path.absolute() for path in paths if path is not None}

    def _files(self) -> Iterator[tuple[str, Path]]:
        """Every recording once, with its camera."""
        seen: set[Path] = set()
        for place in self._places:
            for path in _plain_files(place.folder):
                if path not in seen and place.stem.fullmatch(path.stem):
                    seen.add(path)
                    yield place.camera, path
        for path in _plain_files(self.folder):
            if path not in seen:
                found = _STAMPED.fullmatch(path.stem)
                yield found["camera"] if found else "", path


class Finder:
    """Finds moments in recordings.

    Args:
        entries: all there are.
    """

    def __init__(self, entries: Sequence[RecordingEntry]) -> None:
        self._of_camera: dict[str, list[RecordingEntry]] = {}
        for entry in entries:
            self._of_camera.setdefault(entry.camera, []).append(entry)

    def moment(self, camera: str, at: float) -> RecordingMoment | None:
        """Where a camera's recordings show a moment in UTC seconds; None if none does."""
        for entry in self._of_camera.get(camera, ()):
            after = at - entry.started_at
            if -SLACK_SECONDS <= after <= entry.seconds + SLACK_SECONDS:
                return RecordingMoment(entry.id, round(max(0.0, after), 3))
        return None

    def file(self, camera: str, name: str) -> str | None:
        """The id of the file of that name; None if it is gone."""
        entries = self._of_camera.get(camera, ())
        return next((entry.id for entry in entries if entry.file == name), None)


def _plain_files(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.lower().endswith(SUFFIXES) and entry.is_file(follow_symlinks=False):
                yield folder / entry.name


def _entry(camera: str, path: Path, found: os.stat_result, seconds: float | None) -> RecordingEntry:
    is_growing = seconds is None
    begun = _begun_at(path)
    if seconds is None:
        seconds = 0.0 if begun is None else max(0.0, time.time() - begun)
    return RecordingEntry(
        id=_id_of(path),
        camera=camera,
        file=path.name,
        started_at=found.st_mtime - seconds if begun is None else begun,
        seconds=round(seconds, 3),
        bytes=found.st_size,
        is_growing=is_growing,
    )


def _id_of(path: Path) -> str:
    return hashlib.blake2b(str(path).encode(), digest_size=12).hexdigest()


def _begun_at(path: Path) -> float | None:
    """UTC seconds from a name that has them to the millisecond: others tell when a run began."""
    stamped = _STAMPED.fullmatch(path.stem)
    with contextlib.suppress(ValueError):
        if stamped is not None:
            return datetime.strptime(stamped["stamp"], _EXACT).replace(tzinfo=UTC).timestamp()
    return None


def _duration(path: Path) -> float:
    """Seconds; 0 for what does not play."""
    try:
        with av.open(str(path)) as container:
            return (container.duration or 0) / av.time_base
    except (av.FFmpegError, OSError):
        return 0.0
