"""The way of a batch in PyTorch: copied in, computed, copied out. On a GPU these overlap."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.runtimes.gpu import uploaded
from models.runtimes.gpu_steps import GpuSteps

Graph = Callable[[Tensor], tuple[Tensor, ...]]
_WARM_UPS = 3  # calls before a capture: compilers, cuDNN's search and allocators have settled


class Lane:
    """One step after the other, in the caller's time: the CPU, and GPUs other than NVIDIA's.

    Args:
        device: PyTorch's name of it.

    Attributes:
        in_flight: batches under way at once.
        is_cuda: whether it is an NVIDIA GPU: there, one graph for everything, batches of few sizes
            and pictures that are resized on the device are the better way.
    """

    in_flight = 1
    is_cuda = False

    def __init__(self, device: str) -> None:
        self.device = device

    def new_steps(self) -> GpuSteps | None:
        """To time a batch with; None where the caller's clock is right."""
        return None

    def copying_in(self, steps: GpuSteps | None) -> AbstractContextManager[None]:
        """For ``upload`` and what is done with it before the graph."""
        return nullcontext()

    def computing(self, steps: GpuSteps | None) -> AbstractContextManager[None]:
        """For the graph, on what was copied in before."""
        return nullcontext()

    def copying_out(self, steps: GpuSteps | None) -> AbstractContextManager[None]:
        """For ``download``, of what the graph gave."""
        return nullcontext()

    def upload(self, arrays: Sequence[npt.NDArray[np.uint8]]) -> list[Tensor]:
        """Arrays on the device; on the CPU, where they lie."""
        return [torch.from_numpy(np.ascontiguousarray(a)).to(self.device) for a in arrays]

    def run(self, graph: Graph, pixels: Tensor) -> tuple[Tensor, ...]:
        """What the graph gives; of a GPU, valid until it is called again."""
        return graph(pixels)

    def download(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """On the host, whole once ``GpuSteps.wait`` has returned, and nobody else's."""
        return [tensor.cpu() for tensor in tensors]

    def close(self) -> None:
        """Forget what was captured."""


class CudaLane(Lane):
    """Copies on a stream of their own, and one CUDA graph for each number of pictures.

    Memory that a copy reads from or writes to on the host is pinned, and PyTorch's allocator does
    not hand it out again before the GPU is done with it: so no buffer here is ever shared.
    """

    in_flight = 2  # while one is computed, the next is copied in and the last one read out
    is_cuda = True

    def __init__(self, device: str) -> None:
        super().__init__(device)
        cuda: Any = torch.cuda  # its streams and events have no types
        self._copies, self._work = cuda.Stream(device), cuda.Stream(device)
        self._captured: dict[int, _Captured] = {}

    def new_steps(self) -> GpuSteps:
        cuda: Any = torch.cuda
        return GpuSteps(lambda: cuda.Event(enable_timing=True))

    @contextmanager
    def copying_in(self, steps: GpuSteps | None) -> Iterator[None]:
        with torch.cuda.stream(self._copies), _timed(steps, "copy_in"):
            yield

    @contextmanager
    def computing(self, steps: GpuSteps | None) -> Iterator[None]:
        self._work.wait_stream(self._copies)
        with torch.cuda.stream(self._work), _timed(steps, "compute"):
            yield

    @contextmanager
    def copying_out(self, steps: GpuSteps | None) -> Iterator[None]:
        with torch.cuda.stream(self._work), _timed(steps, "copy_out"):
            yield

    def upload(self, arrays: Sequence[npt.NDArray[np.uint8]]) -> list[Tensor]:
        return uploaded(arrays, self.device)

    def run(self, graph: Graph, pixels: Tensor) -> tuple[Tensor, ...]:
        pixels.record_stream(self._work)  # it was made on the other stream
        count = len(pixels)
        if count not in self._captured:
            self._captured[count] = _Captured(graph, pixels, self._work)
        return self._captured[count].replay(pixels)

    def download(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        return [
            torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(
                tensor, non_blocking=True
            )
            for tensor in tensors
        ]

    def close(self) -> None:
        if self._captured:
            self._work.synchronize()
            self._captured.clear()
            torch.cuda.empty_cache()  # or no other process could have it


class _Captured:
    """A CUDA graph: all kernels of a forward pass, handed to the GPU as one.

    Args:
        graph: of fixed shapes, which never waits for the GPU.
        pixels: what it takes.
        stream: the current one.
    """

    def __init__(self, graph: Graph, pixels: Tensor, stream: torch.cuda.Stream) -> None:
        self._pixels, self._graph = pixels.clone(), torch.cuda.CUDAGraph()
        with exact_products(benchmark=True):
            for _ in range(_WARM_UPS):
                graph(self._pixels)
            # other threads copy frames meanwhile, which must not end the capture
            with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
                self._found = graph(self._pixels)

    def replay(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """What the graph gives, in the same memory every time."""
        self._pixels.copy_(pixels)
        self._graph.replay()
        return self._found


def lane_on(device: str) -> Lane:
    """The way to compute on a device that is here."""
    return CudaLane(device) if device.startswith("cuda") else Lane(device)


def _timed(steps: GpuSteps | None, name: str) -> AbstractContextManager[None]:
    return nullcontext() if steps is None else steps.step(name)


@contextmanager
def exact_products(*, benchmark: bool) -> Iterator[None]:
    """For the length of the block, on NVIDIA's GPUs: fp32 is no TF32, and fp16 adds up in fp32.

    These are PyTorch's, for the process; a CUDA graph keeps what it was captured with.

    Args:
        benchmark: whether cuDNN measures which way is the fastest, for every new shape.
    """
    matmul: Any = torch.backends.cuda.matmul
    names = ("allow_tf32", "allow_fp16_reduced_precision_reduction")
    before = {name: getattr(matmul, name) for name in names}
    for name in names:
        setattr(matmul, name, False)
    try:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=benchmark, deterministic=False, allow_tf32=False
        ):
            yield
    finally:
        for name, value in before.items():
            setattr(matmul, name, value)
