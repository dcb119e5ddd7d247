"""What the C library does with freed memory: kept for the next frame, or given back.

It imports no torch: threads that start before should find it decided.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

_MMAP_THRESHOLD, _TRIM_THRESHOLD, _ARENA_MAX = -3, -1, -8  # numbers of glibc's mallopt
_KEEP = {
    _MMAP_THRESHOLD: 1 << 30,  # no fresh pages from the kernel for each large tensor
    _TRIM_THRESHOLD: (1 << 31) - 1,  # nor give them back after each
    _ARENA_MAX: 1,  # threads share one heap; a thread's own is too small for tensors
}
_GIVE_BACK: Mapping[int, int] = {
    _MMAP_THRESHOLD: 1 << 18,  # a picture has pages of its own, which go back when it does
    _TRIM_THRESHOLD: 1 << 20,
    _ARENA_MAX: 2,  # a heap for each thread that ever decoded is torn into pieces for ever
}
_decided: Mapping[int, int] | None = None


def keep_freed_memory() -> None:
    """Let the C library keep freed memory for the next frame, where it is glibc.

    Otherwise every forward pass has the kernel clear hundreds of MB of fresh pages. The process
    stays as large as it ever was, which with one canvas is as large as it needs to be.
    """
    _set_heap(_KEEP)


def give_back_freed_memory() -> None:
    """Let the C library return freed memory to the system, where it is glibc.

    For what runs for months: decoders, encoders and files come and go on many threads, and what
    each leaves behind in the heap adds up. ``keep_freed_memory`` undoes it.
    """
    _set_heap(_GIVE_BACK)


@contextmanager
def heap_as_before() -> Iterator[None]:
    """What the block decides ends with it: to make an export, PyTorch runs for a minute."""
    before = _decided
    try:
        yield
    finally:
        if before is _GIVE_BACK is not _decided:
            give_back_freed_memory()
            _library().malloc_trim(0)


def _set_heap(values: Mapping[int, int]) -> None:
    global _decided  # as the C library's own is the process's
    library = _library()
    if library is not None:
        _decided = values
        for parameter, value in values.items():
            library.mallopt(parameter, value)


def _library() -> Any:
    """The C library, if it is glibc: musl has no such parameters."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") else None
