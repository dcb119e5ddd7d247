"""A source around another one."""

from __future__ import annotations

from collections.abc import Callable

from stream.frame import Frame
from stream.sources.base import FrameSource, SourceInfo
from stream.sources.status import SourceStatus


class Wrapper(FrameSource):
    """Hands everything through; a subclass changes some of it.

    Args:
        source: what is read, not yet open.
    """

    def __init__(self, source: FrameSource) -> None:
        self._source = source

    @property
    def corrupt_packets(self) -> int:
        return self._source.corrupt_packets

    def watch(self, listener: Callable[[SourceStatus], None]) -> None:
        self._source.watch(listener)

    def open(self) -> SourceInfo:
        return self._source.open()

    def read(self) -> Frame | None:
        return self._source.read()

    def close(self) -> None:
        self._source.close()

    def interrupt(self) -> None:
        self._source.interrupt()
