"""The annotated picture for others to watch: RTSP, RTMP and SRT servers, HLS playlists."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stream.errors import UsageError
from stream.publish.clock import PublishClock
from stream.publish.publication import Picture, Publication, PublishStatistics
from stream.publish.target import parse_publish_target
from stream.sinks.base import Sink
from stream.sinks.video_file import DEFAULT_RATE
from stream.sources.base import SourceInfo

if TYPE_CHECKING:
    from stream.stages import Job

logger = logging.getLogger(__name__)

CLOSE_SECONDS = 3.0  # for all goodbyes together, within a pipeline's 5 s


class Publish(Sink):
    """Gives every picture to each publication; waits for none of them.

    A file is published at its own pace, as a camera would show it.

    Args:
        targets: URLs and playlists, see ``stream/publish/target.py``.

    Raises:
        UsageError: if one of them makes no sense or is given twice.
    """

    name = "publish"
    wants_picture = True

    def __init__(self, targets: Sequence[str]) -> None:
        parsed = [parse_publish_target(target) for target in targets]
        for number, target in enumerate(parsed):
            if target.url in [other.url for other in parsed[:number]]:
                raise UsageError(f"--publish {target.name} is given twice: leave out one of them.")
        self._publications = [Publication(target) for target in parsed]
        self._is_open = False

    def open(self, info: SourceInfo) -> None:
        self._clock = PublishClock(is_live=info.is_live)
        self._is_open = True
        for publication in self._publications:
            publication.start(info.frame_rate or DEFAULT_RATE)

    def write(self, job: Job) -> None:
        assert job.picture is not None
        wait_seconds, seconds = self._clock.place(job.frame.pts_seconds, time.monotonic())
        time.sleep(wait_seconds)
        for publication in self._publications:
            publication.put(Picture(job.picture, seconds))

    def close(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        until = time.monotonic() + CLOSE_SECONDS
        with contextlib.ExitStack() as endings:  # all of them, even if one fails
            for publication in self._publications:
                publication.end()
                endings.callback(_join, publication, until)

    def statistics(self) -> list[tuple[str, PublishStatistics]]:
        """Of every publication, with its name without credentials; from any thread."""
        return [(one.name, one.statistics()) for one in self._publications]


def _join(publication: Publication, until: float) -> None:
    if not publication.join(max(0.0, until - time.monotonic())):
        logger.warning("%s did not end in time and was left behind.", publication.name)
