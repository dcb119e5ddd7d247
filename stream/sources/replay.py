"""A file at the pace at which the frames of an earlier run arrived.

``replay:TRACE.jsonl:FILE`` takes the arrival times from what ``rcnn-live run CAMERA --trace
TRACE.jsonl`` wrote and the pictures, in order, from FILE, for example a copy of the stream. What
a live run dropped, and why, can so be looked at again without the camera. It is a live source and
ends with the trace or the file, whichever is shorter.
"""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from itertools import accumulate
from pathlib import Path

from stream.errors import UsageError
from stream.frame import Frame
from stream.sources.base import FrameSource, SourceInfo


class Replay(FrameSource):
    """Reads ``source`` at the pace of ``trace``.

    Raises:
        UsageError: if the trace cannot be read or holds no arrivals.
    """

    def __init__(self, trace: Path, source: FrameSource) -> None:
        self._arrivals = _arrivals(trace)
        self._source = source
        self._interrupted = threading.Event()
        self._number = 0
        self._began_at: float | None = None  # monotonic, of the first arrival

    @property
    def corrupt_packets(self) -> int:
        return self._source.corrupt_packets

    def open(self) -> SourceInfo:
        info = self._source.open()
        self._number, self._began_at = 0, None
        counts = (info.frame_count or len(self._arrivals), len(self._arrivals))
        return dataclasses.replace(info, is_live=True, frame_count=min(counts))

    def read(self) -> Frame | None:
        frame = self._source.read()  # decoded before it is due, as a camera's decoder has no say
        if frame is None or self._number == len(self._arrivals):
            return None
        if self._began_at is None:
            self._began_at = time.monotonic()
        due_at = self._began_at + self._arrivals[self._number]
        self._number += 1
        self._interrupted.wait(max(0.0, due_at - time.monotonic()))
        if self._interrupted.is_set():
            return None
        return dataclasses.replace(frame, captured_at=due_at)

    def close(self) -> None:
        self._source.close()

    def interrupt(self) -> None:
        self._interrupted.set()
        self._source.interrupt()


def _arrivals(trace: Path) -> list[float]:
    """Seconds from the first arrival to each, in the order of the frames."""
    try:
        rows = [json.loads(line) for line in trace.read_text(encoding="utf-8").splitlines()]
        captured = sorted((int(row["index"]), float(row["captured_ms"])) for row in rows)
    except OSError as error:
        raise UsageError(f"The trace {trace} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError):
        raise UsageError(
            f"{trace} is no trace with arrival times: write one with rcnn-live run --trace."
        ) from None
    if not captured:
        raise UsageError(f"The trace {trace} holds no frames.")
    times = [captured_ms / 1e3 for _, captured_ms in captured]
    return [latest - times[0] for latest in accumulate(times, max)]
