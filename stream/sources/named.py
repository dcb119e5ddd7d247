"""A source under a name of the user's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from stream.frame import Frame
from stream.sources.base import FrameSource, SourceInfo
from stream.sources.status import SourceStatus


class Named(FrameSource):
    """Hands everything through, but for the name that frames and events carry.

    Args:
        source: what is read.
        name: that it goes by.
    """

    def __init__(self, source: FrameSource, name: str) -> None:
        self._source, self._name = source, name

    @property
    def corrupt_packets(self) -> int:
        return self._source.corrupt_packets

    def watch(self, listener: Callable[[SourceStatus], None]) -> None:
        self._source.watch(listener)

    def open(self) -> SourceInfo:
        return dataclasses.replace(self._source.open(), name=self._name)

    def read(self) -> Frame | None:
        frame = self._source.read()
        return None if frame is None else dataclasses.replace(frame, source_id=self._name)

    def close(self) -> None:
        self._source.close()

    def interrupt(self) -> None:
        self._source.interrupt()
