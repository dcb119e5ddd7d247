"""The figures of ``rcnn-live run``, for the picture's corner, metrics and the live page."""

from __future__ import annotations

from dataclasses import replace

from stream.hud import hud_lines
from stream.monitor.snapshot import STARTING, Accounts, CameraSnapshot, CameraStatus, status_of
from stream.pipeline import Pipeline


class RunFigures:
    """What is counted and measured of the run; from any thread.

    Args:
        name: of the source, without credentials.

    Attributes:
        accounts: of its pipeline.
        pipeline: None until there is one.
    """

    def __init__(self, name: str) -> None:
        self._name, self.accounts = name, Accounts()
        self.pipeline: Pipeline | None = None

    def hud_lines(self) -> list[str]:
        """For the corner of the picture."""
        accounts, pipeline = self.accounts, self.pipeline
        reconnects = 0 if pipeline is None else pipeline.status.reconnects
        return hud_lines(accounts.meter, accounts.ledger, reconnects=reconnects)

    def snapshot(self) -> CameraSnapshot:
        """All of them."""
        pipeline = self.pipeline
        if pipeline is None:
            return CameraSnapshot.of(self._name, CameraStatus(STARTING), self.accounts, None)
        accounts = replace(self.accounts, reconnects=pipeline.status.reconnects)
        return CameraSnapshot.of(self._name, status_of(pipeline), accounts, pipeline)
