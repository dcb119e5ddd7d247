"""A GPU that does nothing until somebody waits for it, and then as little as possible.

So memory that is written or read too early, or a stream that does not wait for another, gives wrong
numbers.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

NVIDIA = "NVIDIA H100"


class SimulatedGpu:
    """As ``models.runtimes.gpu.Gpu``, computing as late as it may.

    Args:
        eager: numbers of streams that do, on the contrary, run as soon as nothing holds them.
    """

    def __init__(self, *, eager: tuple[int, ...] = ()) -> None:
        self.number = 0
        self.device, self.name, self.capability = "cuda:0", NVIDIA, "9.0"
        self.eager, self.capture_fails = eager, False
        self.streams: dict[int, _Stream] = {}
        self.clock = itertools.count()
        self.current: _Stream | None = None
        self.alive: list[weakref.ref[torch.Tensor]] = []
        self.pinned_places: set[int] = set()

    @contextmanager
    def selected(self) -> Iterator[None]:
        yield

    def free_bytes(self) -> int:
        return 8_000_000_000

    def memory(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        made = torch.full(shape, 77, dtype=dtype)
        self.alive.append(weakref.ref(made))
        return made

    def pinned(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        made = self.memory(shape, dtype)
        self.pinned_places.add(made.data_ptr())
        return made

    def stream(self) -> _Stream:
        made = _Stream(self, len(self.streams))
        self.streams[made.cuda_stream] = made
        return made

    def event(self) -> _Event:
        return _Event(self)

    @contextmanager
    def using(self, stream: _Stream) -> Iterator[None]:
        before, self.current = self.current, stream
        yield
        self.current = before

    def copy(self, source: torch.Tensor, target: torch.Tensor) -> None:
        assert self.current is not None
        is_given = source.untyped_storage().data_ptr() in self.pinned_places
        given = source.clone() if is_given else None

        def run() -> None:
            assert given is None or torch.equal(source, given), "written before it was copied"
            target.copy_(source)

        self.current.put(run)

    def put(self, work: Callable[[], object]) -> None:
        assert self.current is not None
        self.current.put(work)

    def upload(self, arrays: Sequence[np.ndarray]) -> list[torch.Tensor]:
        """At once, and so is what PyTorch computes of it on the way to a canvas."""
        assert self.current is not None
        return [torch.from_numpy(array.copy()) for array in arrays]

    def captured(self, work: Callable[[], None], stream: _Stream) -> Callable[[], None]:
        if self.capture_fails:
            raise RuntimeError("operation not permitted when stream is capturing")
        assert not stream.waiting, "what is under way must end before a capture"
        stream.recorded = recorded = []
        work()
        stream.recorded = None

        def replay() -> None:
            assert self.current is stream
            for part in recorded:
                stream.put(part)

        return replay

    def give_back(self) -> None:
        pass


class _Stream:
    def __init__(self, gpu: SimulatedGpu, number: int) -> None:
        self.gpu, self.cuda_stream = gpu, number
        self.waiting: list[Callable[[], Any]] = []
        self.recorded: list[Callable[[], Any]] | None = None
        self.is_eager = number in gpu.eager

    def put(self, work: Callable[[], Any]) -> None:
        if self.recorded is not None:
            self.recorded.append(work)
            return
        self.waiting.append(work)
        while self.is_eager and self.waiting and not _is_held(self.waiting[0]):
            self.waiting.pop(0)()

    def wait_stream(self, other: _Stream) -> None:
        event = _Event(self.gpu)
        with self.gpu.using(other):
            event.record()
        self.waiting.append(_Wait(event))

    def synchronize(self) -> None:
        while self.waiting:
            self.waiting.pop(0)()


class _Event:
    def __init__(self, gpu: SimulatedGpu) -> None:
        self.gpu, self.stream, self.time = gpu, gpu.current, -1

    def record(self) -> None:
        assert self.gpu.current is not None
        self.stream = self.gpu.current
        self.stream.put(self.reached)

    def reached(self) -> None:
        self.time = next(self.gpu.clock)

    def synchronize(self) -> None:
        assert self.stream is not None
        while self.time < 0:
            self.stream.waiting.pop(0)()

    def elapsed_time(self, later: _Event) -> float:
        assert min(self.time, later.time) >= 0
        return float(later.time - self.time)


@dataclass
class _Wait:
    event: _Event

    def __call__(self) -> None:
        self.event.synchronize()


def _is_held(work: Callable[[], Any]) -> bool:
    return isinstance(work, _Wait) and work.event.time < 0
