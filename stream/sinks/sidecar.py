"""What was found in each frame of a recording, beside it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from stream.events.schema import EventForm, encode
from stream.sources.base import SourceInfo

if TYPE_CHECKING:
    from stream.stages import Job


class Sidecar:
    """One line of JSON a frame: the event of the frame, and ``recording_pts_seconds``.

    That is the frame's time in the file beside it, where ``pts_seconds`` is that in the source. A
    line is one write, so it is there wholly or not at all if the program is killed.
    """

    def __init__(self) -> None:
        self._form = EventForm()
        self._file: io.FileIO | None = None

    def open(self, info: SourceInfo) -> None:
        """Learn what the source is."""
        self._form.open(info)

    def begin(self, path: Path) -> None:
        """Write into this file from now on; overwrites it.

        Raises:
            OSError: if it cannot be made.
        """
        self.close()
        self._file = io.FileIO(path, "w")

    def write(self, job: Job, pts: int) -> None:
        """Add one frame.

        Args:
            job: of the frame.
            pts: in the recording, in units of the frame's ``time_base``.

        Raises:
            OSError: if the disk is full.
        """
        assert self._file is not None
        seconds = round(float(pts * job.frame.time_base), 6)
        line = encode({"recording_pts_seconds": seconds, **self._form.of_frame(job)})
        data = line.encode() + b"\n"
        while data:
            data = data[self._file.write(data) :]

    def close(self) -> None:
        """Close the file. Legal any number of times."""
        file, self._file = self._file, None
        if file is not None:
            file.close()
