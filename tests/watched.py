"""A source that comes back, and what it tells meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable

from stream.frame import Frame
from stream.sources import ReconnectOptions, SourceOptions, SourceStatus, create_source

OPTIONS = SourceOptions(open_timeout_seconds=3.0, read_timeout_seconds=0.5)
QUICK = ReconnectOptions(first_delay_seconds=0.1, longest_delay_seconds=0.5, proven_seconds=0.2)
LIMIT_SECONDS = 20.0


class Watched:
    """A source that comes back, and all it told."""

    def __init__(self, uri: str, options: SourceOptions = OPTIONS) -> None:
        self.source = create_source(uri, options=options, reconnect=QUICK)
        self.told: list[SourceStatus] = []
        self.source.watch(self.told.append)

    def read_until(self, done: Callable[[Frame], bool]) -> list[Frame]:
        frames: list[Frame] = []
        deadline = time.monotonic() + LIMIT_SECONDS
        while not frames or not done(frames[-1]):
            frame = self.source.read()
            assert frame is not None
            assert time.monotonic() < deadline
            frames.append(frame)
        return frames

    def states(self) -> list[str]:
        return [status.state.value for status in self.told]
