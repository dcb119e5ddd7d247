"""A recording that is switched on and off while the camera runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

from stream.errors import SinkError, UsageError
from stream.frame import Frame
from stream.sinks.base import Sink
from stream.sinks.recording import Recording, RecordingStatistics
from stream.sinks.segments import RecordingOptions
from stream.sinks.switched_tap import SwitchedTap
from stream.sources.base import SourceInfo

if TYPE_CHECKING:
    from stream.stages import Job

PATIENCE_SECONDS = 1.0  # for the next packet: at the end of a file there is none


class SwitchedRecording(Sink):
    """Makes a recording of its own each time it is switched on.

    It outlives a pipeline: what was on goes on in another file when the camera is started again.
    Whoever switches it off waits until the file is finished; the pipeline does not. Sound that was
    read before it was switched on is not in it: the first moments may be silent.

    Args:
        next_path: of the recording to come, as ``Recording`` takes it; asked once for each.
        options: of all recordings.
        is_on: whether it begins with the first frame.
        is_threaded: as ``Recording``.
    """

    name = "record"

    def __init__(
        self,
        next_path: Callable[[], Path],
        options: RecordingOptions,
        *,
        is_on: bool = False,
        is_threaded: bool = True,
    ) -> None:
        self._next_path, self._options, self._is_threaded = next_path, options, is_threaded
        self._is_on = self.wants_picture = is_on
        self.tap = self._packets = SwitchedTap()
        self._switching = threading.Lock()  # held for as long as a file is begun or finished
        self._writing = threading.Lock()  # held for moments
        self._info: SourceInfo | None = None  # None while no pipeline runs
        self._prepared: Recording | None = None
        self._current: Recording | None = None
        self._ending: Recording | None = None
        self._finished: RecordingStatistics | None = None  # of those before, summed up
        self._waited_from: float | None = None  # pts in seconds

    @property
    def may_want_picture(self) -> bool:
        return True

    @property
    def is_on(self) -> bool:
        """Whether frames are recorded, or will be as soon as there are any."""
        return self._is_on

    @property
    def path(self) -> Path | None:
        """Of the file that is being written; from any thread."""
        current = self._current
        return None if current is None else current.path

    def prepare(self) -> None:
        """Check that the recording can be made, if it is on. Before the pipeline is started.

        Raises:
            UsageError: if it cannot.
        """
        with self._switching:
            if self._is_on and self._prepared is None:
                self._prepared = self._made()
                self._packets.target = self._prepared.tap

    def switch(self, on: bool) -> None:
        """Begin or finish a recording; from any thread. Nothing happens if it is so already.

        Raises:
            SinkError: if it cannot be begun, or was not finished as it should.
        """
        with self._switching:
            if on == self._is_on:
                return
            if on:
                try:
                    self._begin()
                except UsageError as error:
                    raise SinkError(str(error).removeprefix("--record ")) from error
                self._is_on = self.wants_picture = True
            else:
                self._is_on = self.wants_picture = False
                self._prepared = None
                self._finish()

    def open(self, info: SourceInfo) -> None:
        with self._switching:
            self._info = info
            if self._is_on:
                self._begin()

    def write(self, job: Job) -> None:
        with self._writing:
            # a frame that was not drawn came before the switch
            if self._current is None or job.picture is None or self._waits_for_sound(job.frame):
                return
            self._current.write(job)

    def _waits_for_sound(self, frame: Frame) -> bool:
        """Whether the file should begin a little later, or it would have no sound at all."""
        source_time = frame.source_time
        if source_time is None or self._packets.is_told(source_time.connection):
            return False
        if self._waited_from is None:
            self._waited_from = frame.pts_seconds
        return frame.pts_seconds < self._waited_from + PATIENCE_SECONDS

    def close(self) -> None:
        with self._switching:
            self._info = None
            self._finish()

    def statistics(self) -> RecordingStatistics | None:
        """Of all recordings together, None before the first; from any thread."""
        with self._writing:
            return self._summed()

    def current_statistics(self) -> RecordingStatistics | None:
        """Of the recording that is being made; from any thread."""
        current = self._current
        return None if current is None else current.statistics()

    def _made(self) -> Recording:
        path = self._next_path()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = f"The folder {path.parent} cannot be made: {error.strerror}."
            raise UsageError(reason) from error
        return Recording(path, self._options, is_threaded=self._is_threaded)

    def _begin(self) -> None:
        """On whichever thread: the pipeline's first frame for it comes after this."""
        recording, self._prepared = self._prepared or self._made(), None
        if self._info is None:
            self._prepared, self._packets.target = recording, recording.tap
            return
        recording.open(self._info)
        self._packets.target = recording.tap
        with self._writing:
            self._current, self._waited_from = recording, None

    def _finish(self) -> None:
        with self._writing:
            recording, self._current = self._current, None
            self._ending = recording
        self._packets.target = None
        if recording is None:
            return
        try:
            recording.close()
        finally:
            with self._writing:
                self._finished, self._ending = self._summed(), None

    def _summed(self) -> RecordingStatistics | None:
        parts = [self._finished] if self._finished is not None else []
        running = (self._ending, self._current)
        parts += [recording.statistics() for recording in running if recording is not None]
        return reduce(_sum, parts) if parts else None


def _sum(before: RecordingStatistics, after: RecordingStatistics) -> RecordingStatistics:
    """What is counted of both together; all else as it was after."""
    earlier, later = asdict(before), asdict(after)
    counts = {name: earlier[name] + value for name, value in later.items() if type(value) is int}
    return replace(after, **counts)
