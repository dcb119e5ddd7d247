"""All cameras in one table, in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from stream.monitor.snapshot import LIVE, READY, CameraSnapshot
from stream.terminal import LiveView

PLAIN_SECONDS = 30.0  # between two lines when standard error is no terminal
_RIGHT = ("FPS in", "FPS out", "age p50 ms", "p95 ms")


class FleetView(LiveView):
    """A row a camera on a terminal; elsewhere a line now and then.

    Args:
        cameras: asked at each refresh.
        console: where to write.
    """

    def __init__(self, cameras: Callable[[], Sequence[CameraSnapshot]], console: Console) -> None:
        super().__init__(console, PLAIN_SECONDS)
        self._cameras = cameras

    def _line(self) -> str:
        cameras = self._cameras()
        live = sum(camera.status.state == LIVE for camera in cameras)
        rate = sum(camera.rates[1] for camera in cameras)
        dropped = sum(sum(camera.counts.dropped.values()) for camera in cameras)
        line = f"{live} of {len(cameras)} cameras live, {rate:.1f} FPS out, {dropped} dropped"
        away = [
            f"{camera.name} {camera.status.state}"
            for camera in cameras
            if camera.status.state not in READY
        ]
        return "; ".join([line, *away])

    def _picture(self) -> RenderableType:
        table = Table(box=None, padding=(0, 2))
        for heading in ("camera", "state", *_RIGHT, "dropped"):
            table.add_column(heading, justify="right" if heading in _RIGHT else "left")
        for camera in self._cameras():
            table.add_row(*self._row(camera))
        return table

    def _row(self, camera: CameraSnapshot) -> list[RenderableType]:
        status, ages = camera.status, camera.ages
        state = Text(status.state, style="green" if status.state in READY else "yellow")
        if status.reason:
            state.append(f" {status.reason}", style="dim")
        dropped = camera.counts.dropped_by_reason().items()
        return [
            Text(camera.name),
            state,
            *(Text(f"{rate:.1f}") for rate in camera.rates),
            Text(f"{ages.p50_ms:.0f}"),
            Text(f"{ages.p95_ms:.0f}"),
            Text(", ".join(f"{count} {reason}" for reason, count in dropped)),
        ]
