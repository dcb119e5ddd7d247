"""What the user sees in the terminal while a pipeline runs, always on standard error."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stream.pipeline import Pipeline

REFRESH_SECONDS = 0.25
PLAIN_SECONDS = 5.0  # between two lines when standard error is no terminal


class LiveView(ABC):
    """A live table on a terminal, one plain line every few seconds elsewhere.

    Args:
        console: where to write.
        plain_seconds: between two plain lines.
    """

    def __init__(self, console: Console, plain_seconds: float = PLAIN_SECONDS) -> None:
        self._console, self._plain_seconds = console, plain_seconds
        self._live: Live | None = None
        self._began = self._shown_at = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def pump(self) -> None:
        """Refresh if it is time to. Call often."""
        now = time.monotonic()
        if now - self._shown_at < (self._plain_seconds if self._live is None else REFRESH_SECONDS):
            return
        self._shown_at = now
        if self._live is None:
            self._console.print(self._line(), highlight=False, soft_wrap=True)
        else:
            self._live.update(self._picture(), refresh=True)

    @abstractmethod
    def _line(self) -> str:
        """All of it in a line."""

    @abstractmethod
    def _picture(self) -> RenderableType:
        """All of it at large."""


class TerminalView(LiveView):
    """One pipeline.

    Args:
        pipeline: to watch.
        total_frames: how many frames are to come, None when unknown; asked at each refresh.
        console: where to write.
    """

    def __init__(
        self, pipeline: Pipeline, total_frames: Callable[[], int | None], console: Console
    ) -> None:
        super().__init__(console)
        self._pipeline, self._total_frames = pipeline, total_frames

    def _line(self) -> str:
        if self._pipeline.info is None:
            return self._signal() or "opening the source"
        counts, (rate_in, rate_out) = self._pipeline.ledger.counts(), self._pipeline.meter.rates()
        total = self._total_frames()
        of_total = "" if total is None else f" of {total}"
        dropped = sum(counts.dropped.values())
        return (
            f"{self._signal('; ')}{counts.emitted}{of_total} frames, "
            f"{rate_in:.1f} FPS in, {rate_out:.1f} out, "
            f"latency {self._pipeline.meter.recent_ms('total'):.0f} ms, {dropped} dropped"
        )

    def _signal(self, end: str = "") -> str:
        """What is wrong with a source that comes back; empty while it is live."""
        status = self._pipeline.status
        return "" if status.is_live or not status.reason else status.sentence() + end

    def _picture(self) -> RenderableType:
        info = self._pipeline.info
        if info is None:
            return Text(self._signal() or "opening the source …")
        title = Text(f"{info.name}  {info.width}x{info.height}", style="bold")
        return Group(title, self._progress(), self._stage_table(), *self._drops())

    def _progress(self) -> RenderableType:
        total, emitted = self._total_frames(), self._pipeline.ledger.counts().emitted
        if not total or not emitted:
            return Text(self._line())
        elapsed = time.monotonic() - self._began
        left = elapsed / emitted * max(0, total - emitted)
        row = Table.grid(padding=(0, 1))
        row.add_row(
            ProgressBar(total, min(emitted, total), width=24), f"{left:.0f} s left", self._line()
        )
        return row

    def _stage_table(self) -> Table:
        table = Table(box=None, padding=(0, 2))
        for heading in ("stage", "p50 ms", "p95 ms", "p99 ms", "queue"):
            table.add_column(heading, justify="left" if heading == "stage" else "right")
        queues = self._pipeline.queue_statistics()
        for stage, latency in self._pipeline.meter.latency().items():
            queue = queues.get(stage)
            table.add_row(
                stage,
                f"{latency.p50:.1f}",
                f"{latency.p95:.1f}",
                f"{latency.p99:.1f}",
                "" if queue is None else f"{queue.depth}/{queue.capacity}",
            )
        return table

    def _drops(self) -> list[Text]:
        dropped = self._pipeline.ledger.counts().dropped
        parts = [f"{count} before {stage} ({reason})" for (stage, reason), count in dropped.items()]
        return [Text("dropped: " + ", ".join(parts), style="yellow")] if parts else []
