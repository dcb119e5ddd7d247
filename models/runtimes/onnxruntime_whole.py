"""Whole graphs in ONNX Runtime on an NVIDIA GPU: fixed memory, a stream that nothing waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import torch

from models.deploy.manifest import PIXELS, Manifest
from models.runtimes.gpu import Gpu
from models.runtimes.overlap import Launch, Overlap, Part
from models.runtimes.static import LARGEST_BATCH

# of the graph's types that go in and out
_TYPES = {
    "tensor(uint8)": torch.uint8,
    "tensor(int64)": torch.int64,
    "tensor(float)": torch.float32,
}


class FixedMemory:
    """A graph's tensors for one number of pictures, at addresses that stay.

    A CUDA graph replays kernels with the addresses of the first run.

    Args:
        session: of a graph whose sizes are known but for the first one.
        count: pictures.
        gpu: where.
    """

    def __init__(self, session: ort.InferenceSession, count: int, gpu: Gpu) -> None:
        self._session, self._count, self._gpu = session, count, gpu
        self._binding = session.io_binding()
        self._options = ort.RunOptions()
        # the stream is ours, and what comes after waits for it there
        self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        self._places: dict[str, torch.Tensor] = {}
        for port in session.get_inputs():
            self._binding.bind_input(*self._place(port))
        for port in session.get_outputs():
            self._binding.bind_output(*self._place(port))

    def _place(self, port: ort.NodeArg) -> tuple[Any, ...]:
        """Take memory for one tensor; what binding it takes."""
        size, kind = _part(port)
        memory = self._gpu.memory((self._count, *size), kind)
        self._places[port.name] = memory
        element = torch.empty(0, dtype=kind).numpy().dtype.type
        where = memory.device.type, memory.device.index or 0
        return port.name, *where, element, list(memory.shape), memory.data_ptr()

    def launch(self, part: Part) -> None:
        """Put a batch into the stream in use: from its memory, through the graph, and back."""
        gpu, count = self._gpu, self._count
        gpu.copy(part.device[PIXELS][:count], self._places[PIXELS])
        gpu.put(lambda: self._session.run_with_iobinding(self._binding, self._options))
        for name, memory in self._places.items():
            if name != PIXELS:
                gpu.copy(memory, part.device[name][:count])


class WholeOnGpu:
    """A session of a whole graph. Copies of one batch go on while another is computed.

    Args:
        gpu: where.
        manifest: of the export.
        open_session: opens it, given the stream to compute in.

    Attributes:
        way: of batches and frames to the GPU and back.

    Raises:
        torch.OutOfMemoryError: if it does not fit into the GPU's memory.
    """

    def __init__(
        self, gpu: Gpu, manifest: Manifest, open_session: Callable[[Any], ort.InferenceSession]
    ) -> None:
        self._gpu = gpu
        computing = gpu.stream()
        self._session: Any = open_session(computing)
        ports = [*self._session.get_inputs(), *self._session.get_outputs()]
        count = manifest.batch
        self.way = Overlap(
            gpu,
            {port.name: _part(port) for port in ports},
            fewest=count or 1,
            most=count or LARGEST_BATCH,
            computing=computing,
        )
        self._memory: dict[int, FixedMemory] = {}  # by the number of pictures
        # what cannot be run here is known before the first frame, and kernels are recorded
        blank = np.full((*manifest.canvas, 3), 128, np.uint8)
        list(self.run([[blank] * (count or 1)]))

    def run(
        self, batches: Iterable[Sequence[Any]]
    ) -> Iterator[tuple[dict[str, npt.NDArray[Any]], dict[str, float]]]:
        """As ``Overlap.run``."""
        return self.way.run(batches, self._prepared)

    def _prepared(self, part: Part, size: int) -> Launch:
        if size not in self._memory:
            self._memory[size] = FixedMemory(self._session, size, self._gpu)
        memory = self._memory[size]  # of all parts: batches are computed one after the other
        return lambda: memory.launch(part)

    def close(self) -> None:
        """Release the memory."""
        self.way.close()
        self._memory.clear()
        self._session = None
        self._gpu.give_back()


def _part(port: ort.NodeArg) -> tuple[tuple[int, ...], torch.dtype]:
    """Size of one picture's part, and type."""
    return tuple(port.shape[1:]), _TYPES[port.type]
