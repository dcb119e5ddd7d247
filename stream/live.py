"""What is wanted of a camera, which may change while it runs: stages look once a frame."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any

from stream.zones import Line, Zone

LOWEST_LIVE_SCORE = 0.1  # from which on a model reports where the score may be changed


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which objects to report and where to count them.

    Attributes:
        min_score: objects the model is less sure of are left out.
        classes: names to keep; None for all.
        zones: to count in, with names of their own.
        lines: to count over, with names of their own.
    """

    min_score: float = 0.0
    classes: tuple[str, ...] | None = None
    zones: tuple[Zone, ...] = ()
    lines: tuple[Line, ...] = ()


class Live:
    """Holds what is wanted now; any thread may change it.

    Args:
        wanted: to begin with.

    Attributes:
        wanted: only ever replaced as a whole.
    """

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self._lock = threading.Lock()

    def change(self, **fields: Any) -> None:
        """Replace some fields of ``Wanted`` from the next frame on."""
        with self._lock:
            self.wanted = replace(self.wanted, **fields)
