"""Where each frame spent its time, one JSON line a frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from stream.frame import Frame
from stream.sinks.base import Sink
from stream.sinks.json_lines import JsonLines

if TYPE_CHECKING:
    from stream.stages import Job


class TraceLog(Sink):
    """Writes one line a frame: index, pts_seconds, captured_ms, age_ms, stages_ms, waits_ms.

    ``captured_ms`` is when the packet arrived, on a clock of no particular zero,
    ``stages_ms`` is work, ``waits_ms`` the time before each stage in a queue, ``age_ms`` the time
    from the packet's arrival to the end of the last sink before this one: put the trace last.
    Where a GPU computes there is ``gpu_ms``, too, by its own clock: a part of preprocess and model.
    A frame that was given up has a line of its own, ``{"index", "pts_seconds", "captured_ms",
    "dropped_before", "reason"}``, so that ``replay:`` can play the whole run again.

    Args:
        target: a path, or ``-`` for standard output.
    """

    name = "trace"

    def __init__(self, target: str) -> None:
        self._lines = JsonLines(target, "--trace")

    def write(self, job: Job) -> None:
        self._lines.write(
            {
                **_place(job.frame),
                "age_ms": round(job.trace.age_ms(), 3),
                "stages_ms": _rounded(job.trace.stage_ms()),
                "waits_ms": _rounded(job.trace.wait_ms()),
                **({} if job.trace.gpu_ms is None else {"gpu_ms": _rounded(job.trace.gpu_ms)}),
            }
        )

    def frame_dropped(self, frame: Frame, stage: str, reason: str) -> None:
        self._lines.note({**_place(frame), "dropped_before": stage, "reason": reason})

    def close(self) -> None:
        self._lines.close()


def _place(frame: Frame) -> dict[str, float]:
    return {
        "index": frame.index,
        "pts_seconds": round(frame.pts_seconds, 6),
        "captured_ms": round(frame.captured_at * 1e3, 3),
    }


def _rounded(times: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in times.items()}
