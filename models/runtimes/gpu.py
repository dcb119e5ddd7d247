"""What a runtime asks of CUDA: memory on both sides, streams that run at once, events, graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.errors import UsageError


def find_gpu(device: str, asker: str) -> Gpu:
    """The GPU that was asked for.

    Args:
        device: ``auto``, ``cuda``, or one by its number, such as ``cuda:1``.
        asker: who needs it, for the message.

    Raises:
        UsageError: if it is no GPU, or not here.
    """
    kind, _, number = device.partition(":")
    if kind not in ("auto", "cuda") or (number and not number.isdecimal()):
        raise UsageError(
            f"{asker} computes on NVIDIA's GPUs alone: leave out --device {device}, or give cuda."
        )
    if not torch.cuda.is_available():
        raise UsageError(
            f"{asker} computes on NVIDIA's GPUs, and PyTorch finds none here: use another "
            "--runtime, or export --to another one."
        )
    if number and int(number) >= torch.cuda.device_count():
        raise UsageError(
            f"There is no {device} here: the last one is cuda:{torch.cuda.device_count() - 1}."
        )
    return Gpu(int(number or torch.cuda.current_device()))


def uploaded(arrays: Sequence[npt.NDArray[Any]], device: str) -> list[Tensor]:
    """Arrays of bytes on a GPU, in one copy that nothing waits for.

    PyTorch's allocator does not hand out the pinned memory again before the GPU is done with it.
    """
    ends = np.cumsum([0, *(array.size for array in arrays)]).tolist()
    packed = torch.empty(ends[-1], dtype=torch.uint8, pin_memory=True)
    places = [slice(*pair) for pair in pairwise(ends)]
    for place, array in zip(places, arrays, strict=True):
        packed.numpy()[place].reshape(array.shape)[:] = array
    there = packed.to(device, non_blocking=True)
    return [there[place].view(array.shape) for place, array in zip(places, arrays, strict=True)]


class Gpu:
    """One GPU, as PyTorch has it.

    Args:
        number: of the device.

    Attributes:
        number: of the device.
        device: such as ``cuda:0``.
        name: of the product.
        capability: its compute capability, such as ``9.0``.
    """

    def __init__(self, number: int) -> None:
        self.number, self.device = number, f"cuda:{number}"
        properties = torch.cuda.get_device_properties(number)
        self.name: str = properties.name
        self.capability = f"{properties.major}.{properties.minor}"

    def selected(self) -> AbstractContextManager[Any]:
        """For the length of the block, the one that this thread's CUDA calls mean."""
        return torch.cuda.device(self.device)

    def free_bytes(self) -> int:
        """Of its memory, by all programs."""
        return torch.cuda.mem_get_info(self.device)[0]

    def memory(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """On the GPU, with anything in it."""
        return torch.empty(shape, dtype=dtype, device=self.device)

    def pinned(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """In the host's memory, where the GPU copies from and to by itself."""
        return torch.zeros(shape, dtype=dtype, pin_memory=True)

    def stream(self) -> torch.cuda.Stream:
        """A queue of work; two of them run at the same time."""
        return torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]

    def event(self) -> torch.cuda.Event:
        """A mark in a stream, with its time."""
        return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]

    def using(self, stream: torch.cuda.Stream) -> AbstractContextManager[Any]:
        """For the length of the block, the stream that this thread's work goes into."""
        return torch.cuda.stream(stream)

    def copy(self, source: Tensor, target: Tensor) -> None:
        """Put into the stream in use; neither may be touched before it is through."""
        target.copy_(source, non_blocking=True)

    def put(self, work: Callable[[], object]) -> None:
        """Work that puts kernels into the stream in use."""
        work()

    def upload(self, arrays: Sequence[npt.NDArray[Any]]) -> list[Tensor]:
        """Arrays on the GPU, copied in the stream in use, in one copy."""
        return uploaded(arrays, self.device)

    def captured(self, work: Callable[[], None], stream: torch.cuda.Stream) -> Callable[[], None]:
        """Work that puts kernels into a stream, as one CUDA graph: a single call to launch.

        Args:
            work: what to record; it has run before.
            stream: the one it uses, which is then in use wherever the graph is launched.

        Raises:
            RuntimeError: if it cannot be recorded.
        """
        graph = torch.cuda.CUDAGraph()
        # of this thread alone: others may decode and encode on the GPU meanwhile
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            work()
        return graph.replay

    def give_back(self) -> None:
        """Return memory that nothing uses to the driver."""
        torch.cuda.empty_cache()
