"""On how many of the CPU's cores PyTorch computes, and from which thread.

With ``heap.keep_freed_memory`` this halves its time on Linux: the embedded model at 854x480 on two
cores, one frame through the model in a thread, took 201 ms before and 113 ms after; either measure
alone gains little.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch


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
