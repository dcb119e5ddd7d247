"""A source under a name of the user's."""

from __future__ import annotations

import dataclasses

from stream.frame import Frame
from stream.sources.base import FrameSource, SourceInfo
from stream.sources.wrapper import Wrapper


class Named(Wrapper):
    """Hands everything through, but for the name that frames and events carry.

    Args:
        source: what is read.
        name: that it goes by.
    """

    def __init__(self, source: FrameSource, name: str) -> None:
        super().__init__(source)
        self._name = name

    def open(self) -> SourceInfo:
        return dataclasses.replace(super().open(), name=self._name)

    def read(self) -> Frame | None:
        frame = super().read()
        return None if frame is None else dataclasses.replace(frame, source_id=self._name)
