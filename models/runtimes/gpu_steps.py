"""How long the steps of a batch took, by the GPU's own clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, Self


class Event(Protocol):
    """A place in a GPU's queue; ``torch.cuda.Event(enable_timing=True)`` is one."""

    def record(self) -> None:
        """Put it behind all that the current stream was given until now."""

    def synchronize(self) -> None:
        """Wait until the GPU has come to it."""

    def elapsed_time(self, later: Self, /) -> float:
        """Milliseconds until the GPU came to a later one."""


class GpuSteps:
    """The steps of one batch. No clock of the CPU is read: it sees only when work is handed over.

    Args:
        new_event: makes one.
    """

    def __init__(self, new_event: Callable[[], Event]) -> None:
        self._new_event = new_event
        self._steps: list[tuple[str, Event, Event]] = []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """What the current stream is given in this block is step ``name``."""
        begun, ended = self._new_event(), self._new_event()
        begun.record()
        yield
        ended.record()
        self._steps.append((name, begun, ended))

    def wait(self) -> None:
        """Until the GPU has done all of them."""
        for _, _, ended in self._steps:
            ended.synchronize()

    def milliseconds(self) -> dict[str, float]:
        """Of each step, all those of one name together; they must be done."""
        found: dict[str, float] = {}
        for name, begun, ended in self._steps:
            found[name] = found.get(name, 0.0) + begun.elapsed_time(ended)
        return found

    def add(self, earlier: GpuSteps) -> None:
        """Count steps that were taken before, for the same batch."""
        self._steps[:0] = earlier._steps
