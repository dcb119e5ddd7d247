"""How a live source fares: what its listeners are told."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class SourceState(enum.Enum):
    """Where a live source stands."""

    CONNECTING = "connecting"  # it has not shown a picture yet
    LIVE = "live"  # pictures come
    STALLED = "stalled"  # it is connected, and silent for longer than its frame rate explains
    RECONNECTING = "reconnecting"  # it was live and is gone
    FAILED = "failed"  # it is given up


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """One moment in the life of a live source; a new one is made at every change.

    Attributes:
        state: where it stands.
        at: monotonic seconds of this change.
        since: monotonic seconds at which ``state`` began, earlier than ``at`` for a repeated
            attempt.
        attempt: number of the attempt to connect since the last picture, from 1; 0 while live or
            stalled.
        reason: one sentence without credentials on why it is not live; empty if it is, or if
            nothing has gone wrong yet.
        next_attempt_in_seconds: from ``at`` until this attempt begins, 0 for at once.
        reconnects: how often it came back so far.
        left_behind: readers given up because they kept no deadline; each holds its connection
            until its call returns.
    """

    state: SourceState
    at: float = 0.0
    since: float = 0.0
    attempt: int = 0
    reason: str = ""
    next_attempt_in_seconds: float = 0.0
    reconnects: int = 0
    left_behind: int = 0

    @property
    def is_live(self) -> bool:
        """Whether pictures come."""
        return self.state is SourceState.LIVE

    def sentence(self) -> str:
        """What to show beside or instead of a picture: ``no signal: reconnecting, attempt 3``."""
        if self.is_live:
            return "live"
        attempt = f", attempt {self.attempt}" if self.attempt else ""
        return f"no signal: {self.state.value}{attempt}"
