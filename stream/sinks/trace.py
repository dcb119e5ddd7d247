"""Where each frame spent its time, one JSON line a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream.sinks.base import Sink
from stream.sinks.json_lines import JsonLines

if TYPE_CHECKING:
    from stream.stages import Job


class TraceLog(Sink):
    """Writes ``{"index", "pts_seconds", "age_ms", "stages_ms", "waits_ms"}`` a frame.

    ``stages_ms`` is work, ``waits_ms`` the time before each stage in a queue, ``age_ms`` the time
    from the packet's arrival to the end of the last sink before this one: put the trace last.

    Args:
        target: a path, or ``-`` for standard output.
    """

    name = "trace"

    def __init__(self, target: str) -> None:
        self._lines = JsonLines(target, "--trace")

    def write(self, job: Job) -> None:
        self._lines.write(
            {
                "index": job.frame.index,
                "pts_seconds": round(job.frame.pts_seconds, 6),
                "age_ms": round(job.trace.age_ms(), 3),
                "stages_ms": _rounded(job.trace.stage_ms()),
                "waits_ms": _rounded(job.trace.wait_ms()),
            }
        )

    def close(self) -> None:
        self._lines.close()


def _rounded(times: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in times.items()}
