"""The source's own packets in a file: its picture as it came, and its sound.

    reader ─ take ─▶ bounded queue ─ copy thread ─▶ file

Every connection of a live source has a file and a thread of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
from av.packet import Packet
from av.stream import Stream

from models.paths import check_writable
from stream.bounded_queue import BoundedQueue, Policy, QueueClosed
from stream.errors import SinkError, ThreadLeftBehind, UsageError
from stream.sinks.base import Sink
from stream.sinks.output_file import CONTAINER_OPTIONS
from stream.sinks.remux import Numbered, PacketFile, copy_of, dated
from stream.sources.tap import PacketTaker, PacketTap
from stream.worker import Worker

if TYPE_CHECKING:
    from stream.stages import Job

logger = logging.getLogger(__name__)

QUEUE_CAPACITY = 1000  # packets
CLOSE_SECONDS = 4.0


class RawCopy(Sink, PacketTap):
    """Copies without encoding anew; give it to the source as ``SourceOptions.tap``.

    A file's timestamps are kept. A live source's copy begins at zero with a keyframe; another
    connection goes on in NAME-2, NAME-3 and so on, passing over names that are taken. A live
    source's packets are dropped and counted when the disk is too slow, up to the next keyframe.
    Trouble with the file never ends the run; ``close`` tells of it.

    Args:
        path: ends in .mp4, .m4v, .mov or .mkv; overwritten when the source is open.

    Raises:
        UsageError: if the suffix is unknown or the file cannot be written.
    """

    name = "record-raw"
    option = "--record-raw"

    def __init__(self, path: Path) -> None:
        if path.suffix.lower() not in CONTAINER_OPTIONS:
            raise UsageError(
                f"--record-raw {path}: give a name that ends in {', '.join(CONTAINER_OPTIONS)}."
            )
        self._path = check_writable(path, "--record-raw")
        self.tap = self
        self._copies: list[_Copy] = []

    def begin(self, streams: Sequence[Stream], *, is_live: bool, connection: int) -> PacketTaker:
        path, number = self._path, 1
        while self._copies and (path == self._path or path.exists()):
            number += 1
            path = self._path.with_name(f"{self._path.stem}-{number}{self._path.suffix}")
        # those that have ended well are only names by now
        self._copies = [copy for copy in self._copies if not copy.is_done][-100:]
        copy = _Copy(path, streams, is_live=is_live)
        self._copies.append(copy)
        return copy

    def write(self, job: Job) -> None:
        """The packets come on another way."""

    def close(self) -> None:
        copies, self._copies = self._copies, []
        for copy in copies:
            copy.end()
        for copy in copies:
            copy.join()
        failures = [copy.failure for copy in copies if copy.failure is not None]
        if failures:
            raise failures[0]


class _Copy(PacketTaker):
    """One file."""

    def __init__(self, path: Path, streams: Sequence[Stream], *, is_live: bool) -> None:
        self._path, self._is_live = path, is_live
        self.failure: SinkError | None = None
        self._number = self._dropped = self._dropped_told = self._untimed = 0
        policy = Policy.DROP_OLDEST if is_live else Policy.BLOCK
        self._queue = BoundedQueue[Numbered](QUEUE_CAPACITY, policy, self._drop)
        self._worker = Worker(f"record-raw {path.name}", self._copy_all)
        self._video = streams[0].index
        try:
            self._file = PacketFile(path, streams)
        except (av.FFmpegError, OSError, ValueError) as error:
            self._fail(error)
        else:
            self._worker.start()

    @property
    def is_done(self) -> bool:
        """Whether it has ended, and well."""
        return self.failure is None and self._worker.join(0)

    def take(self, packet: Packet[Stream]) -> None:
        if packet.size == 0:
            return
        if packet.pts is None or (packet.dts is None and self._is_live):
            self._untimed += not self._is_live  # the first of an RTSP stream have no time yet
            return
        self._number += 1
        try:
            self._queue.put((self._number, packet.stream_index, copy_of(packet)))
        except QueueClosed:
            return

    def end(self) -> None:
        self._queue.close()

    def join(self) -> None:
        if not self._worker.join(CLOSE_SECONDS):
            raise ThreadLeftBehind(f"{self._worker.name} did not end in time.")

    def _drop(self, _numbered: Numbered, reason: str) -> None:
        if reason != "queue_full":
            return
        self._dropped += 1
        if self._dropped >= 2 * max(self._dropped_told, 0.5):  # the first, and every doubling
            self._dropped_told = self._dropped
            logger.warning(
                "%d packets are not in %s: the disk is too slow.", self._dropped, self._path
            )

    def _fail(self, error: Exception) -> None:
        reason = getattr(error, "strerror", None) or str(error)
        self.failure = SinkError(
            f"The copy {self._path} could not be written: {reason}; what was written until then "
            "stays playable."
        )
        logger.warning("%s The run goes on without it.", self.failure)
        self._queue.close(discard=True)

    # ── the copy thread ──

    def _copy_all(self) -> None:
        try:
            try:
                self._copy_packets()
            finally:
                self._file.close()
        except Exception as error:  # noqa: BLE001 - a file's reader must not wait for a thread gone
            if self.failure is None:
                self._fail(error)

    def _copy_packets(self) -> None:
        last_number, awaits_keyframe = 0, self._is_live
        origin_seconds = None if self._is_live else Fraction(0)
        for number, index, packet in self._queue if self._is_live else dated(self._queue):
            awaits_keyframe |= self._is_live and number != last_number + 1
            last_number = number
            if index == self._video:
                awaits_keyframe &= not packet.is_keyframe
            assert packet.dts is not None
            if origin_seconds is None and not awaits_keyframe:
                origin_seconds = packet.dts * packet.time_base
            is_waiting = awaits_keyframe and index == self._video
            if origin_seconds is not None and not is_waiting:
                self._file.write(index, packet, origin_seconds, is_live=self._is_live)
        if self._untimed:
            logger.warning("%d packets without a time are not in %s.", self._untimed, self._path)
