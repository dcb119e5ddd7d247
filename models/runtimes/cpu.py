"""Two habits of Linux that halve the speed of PyTorch on a CPU, and what to do about them.

Measured with the embedded model at 854x480 on two cores, one frame through the model in a thread:
201 ms before, 113 ms after; either measure alone gains little.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

# glibc's mallopt: parameter number, value
_KEEP_FREED_MEMORY = (
    (-3, 1 << 30),  # M_MMAP_THRESHOLD: no fresh pages from the kernel for each large tensor
    (-1, (1 << 31) - 1),  # M_TRIM_THRESHOLD: nor give them back after each
    (-8, 1),  # M_ARENA_MAX: threads share one heap; a thread's own is too small for tensors
)


def keep_freed_memory() -> None:
    """Let the C library keep freed memory for the next frame, where it is glibc.

    Otherwise every forward pass has the kernel clear hundreds of MB of fresh pages. The process
    stays as large as it ever was, which with one canvas is as large as it needs to be.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        for parameter, value in _KEEP_FREED_MEMORY:
            mallopt(parameter, value)


def usable_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def one_thread() -> AbstractContextManager[None]:
    """Run PyTorch on the calling thread alone for the length of the block.

    libgomp keeps a team of workers for every thread that has ever computed something in parallel;
    once all teams together outnumber the cores, workers sleep after each operation instead of
    waiting for the next. So only the thread that runs the model may have a team: what others do,
    such as loading weights, belongs in this block.
    """
    return torch_threads(1)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Run PyTorch on so many threads for the length of the block.

    PyTorch keeps the number for the process and for each thread that calls it, so it is set where
    the model runs, every time.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
