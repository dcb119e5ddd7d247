"""Batches on their way through an NVIDIA GPU: one copied in, one computed, one copied back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from models.deploy.manifest import PIXELS
from models.letterbox import Image
from models.runtimes.gpu import Gpu
from models.runtimes.gpu_canvas import OnDevice
from models.runtimes.gpu_steps import GpuSteps
from models.runtimes.lanes import Lane

Launch = Callable[[], None]
Layout = Mapping[str, tuple[tuple[int, ...], torch.dtype]]
_UNDER_WAY = 2


class Entry(Lane):
    """The way of frames to the GPU, for ``gpu_canvas.laid_out``, in a stream of the runtime.

    Args:
        gpu: where.
        stream: for the copies, and for what is computed on the way to the canvas.
    """

    is_cuda = True

    def __init__(self, gpu: Gpu, stream: Any) -> None:
        super().__init__(gpu.device)
        self._gpu, self._stream = gpu, stream

    def new_steps(self) -> GpuSteps:
        return GpuSteps(self._gpu.event)

    @contextmanager
    def copying_in(self, steps: GpuSteps | None) -> Iterator[None]:
        assert steps is not None
        with self._gpu.selected(), self._gpu.using(self._stream), steps.step("copy_in"):
            yield

    def upload(self, arrays: Sequence[npt.NDArray[Any]]) -> list[Tensor]:
        return self._gpu.upload(arrays)


class Part:
    """Memory of one batch on its way; it is free again once its results were read.

    Args:
        gpu: where.
        layout: see ``Overlap``.
        most: pictures at a time.

    Attributes:
        host, device: the same tensors on both sides, by name.
        steps: of the batch that has the memory.
        launch: puts the computation into its stream, by number of pictures.
    """

    def __init__(self, gpu: Gpu, layout: Layout, most: int) -> None:
        self.host = {name: gpu.pinned((most, *size), kind) for name, (size, kind) in layout.items()}
        self.device = {
            name: gpu.memory((most, *size), kind) for name, (size, kind) in layout.items()
        }
        self.steps = GpuSteps(gpu.event)  # none so far
        self.launch: dict[int, Launch] = {}


class Overlap:
    """Three streams, and memory for two batches under way.

    Args:
        gpu: where.
        layout: size of one picture's part and type of each tensor that goes in or comes out.
        fewest: pictures that can be computed at a time: a smaller batch has anything behind it.
        most: pictures at a time.
        computing: the stream that ``Part.launch`` is called in.

    Attributes:
        entry: brings frames to the GPU; what it is given is complete before a batch with it is.
        computing: see above.
        parts: memory of the batches.

    Raises:
        torch.OutOfMemoryError: if it does not fit into the GPU's memory.
    """

    def __init__(self, gpu: Gpu, layout: Layout, *, fewest: int, most: int, computing: Any) -> None:
        self._gpu, self._fewest, self.computing = gpu, fewest, computing
        self._copying, self._returning = gpu.stream(), gpu.stream()
        self._outputs = [name for name in layout if name != PIXELS]
        self.parts = [Part(gpu, layout, most) for _ in range(_UNDER_WAY)]
        self.entry = Entry(gpu, self._copying)

    def run(
        self,
        batches: Iterable[Sequence[Image | OnDevice]],
        prepared: Callable[[Part, int], Launch],
    ) -> Iterator[tuple[dict[str, npt.NDArray[Any]], dict[str, float]]]:
        """Each batch's outputs by name, valid until the next but one is asked for.

        Args:
            batches: pictures of the canvas's size, (H,W,3) uint8, on the host or on the GPU.
            prepared: how to compute so many pictures in that memory; asked once for each number.

        Yields:
            the outputs, and the milliseconds of the GPU's steps.
        """
        running: deque[tuple[Part, int]] = deque()
        for part, rows in zip(cycle(self.parts), batches, strict=False):
            if len(running) == len(self.parts):
                yield self._finished(*running.popleft())
            self._start(part, rows, prepared)
            running.append((part, len(rows)))
        while running:
            yield self._finished(*running.popleft())

    def _start(
        self,
        part: Part,
        rows: Sequence[Image | OnDevice],
        prepared: Callable[[Part, int], Launch],
    ) -> None:
        """Put one batch into the streams; nothing is waited for but the memory's last one."""
        size = max(len(rows), self._fewest)
        gpu, steps = self._gpu, GpuSteps(self._gpu.event)
        with gpu.selected():
            part.steps.wait()  # its memory is the last batch's until then
            if size not in part.launch:
                part.launch[size] = prepared(part, size)
            with gpu.using(self._copying), steps.step("copy_in"):
                for place, row in enumerate(rows):
                    gpu.copy(_pixels(part, place, row), part.device[PIXELS][place])
            self.computing.wait_stream(self._copying)
            with gpu.using(self.computing), steps.step("compute"):
                part.launch[size]()
            self._returning.wait_stream(self.computing)
            with gpu.using(self._returning), steps.step("copy_out"):
                for name in self._outputs:
                    gpu.copy(part.device[name][:size], part.host[name][:size])
        # each once: those that only fill up a batch are one and the same
        for row in dict.fromkeys(row for row in rows if isinstance(row, OnDevice)):
            if row.steps is not None:
                steps.add(row.steps)
        part.steps = steps

    def _finished(
        self, part: Part, count: int
    ) -> tuple[dict[str, npt.NDArray[Any]], dict[str, float]]:
        part.steps.wait()
        found = {name: part.host[name][:count].numpy() for name in self._outputs}
        return found, part.steps.milliseconds()

    def close(self) -> None:
        """Wait for what is under way, and forget its memory, graphs first."""
        for part in self.parts:
            part.steps.wait()
        self.parts.clear()


def _pixels(part: Part, place: int, row: Image | OnDevice) -> Tensor:
    """Where one picture is to be copied from."""
    if isinstance(row, OnDevice):
        return row.pixels
    part.host[PIXELS].numpy()[place] = row
    return part.host[PIXELS][place]
