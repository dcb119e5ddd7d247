"""Clips on their way to the disk: a thread of its own, and trouble with the disk is its own."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from stream.bounded_queue import BoundedQueue, Policy, QueueClosed
from stream.errors import SinkError, ThreadLeftBehind
from stream.events.schema import EventForm
from stream.frame import iso_utc
from stream.observer import ClipChange
from stream.sinks.clip import DESCRIPTION_SUFFIX, THUMBNAIL_SUFFIX, Clip, beside
from stream.sinks.clip_trigger import ClipOptions
from stream.sinks.disk_room import CHECK_SECONDS, DiskRoom
from stream.sinks.kept_packet import KeptPacket
from stream.sinks.packet_ring import PacketRing
from stream.sinks.remux import CLIP_SUFFIXES, Numbered, PacketFile, dated, packet_of, suffix_for
from stream.sinks.segments import SegmentFiles
from stream.sources.base import SourceInfo
from stream.worker import Worker

logger = logging.getLogger(__name__)

MOST_WAITING = 8  # clips; more only come together when the disk is stuck
TIDY_SECONDS = 60.0  # between two looks at old clips while there is no new one
CLOSE_SECONDS = 30.0  # for what still waits; a pipeline that is stopped waits 5 s


@dataclass(frozen=True, slots=True)
class ClipStatistics:
    """How the clips fared.

    Attributes:
        written: whole ones.
        lost: that could not be written, or not to their end.
        missed_packets: that are not in the clips, because the disk was too slow.
        trouble: why one could not be written, the last time; empty if all could.
        is_going: whether the latest one could.
    """

    written: int
    lost: int
    missed_packets: int
    trouble: str
    is_going: bool


class ClipWriter:
    """Writes one clip after the other; ``put`` never waits.

    Args:
        name: of the camera; clips are called after it.
        options: where to, and what to keep.
        ring: to take from.
        tell: told of every clip that was begun or has ended, on the writer's thread.
    """

    def __init__(
        self, name: str, options: ClipOptions, ring: PacketRing, tell: Callable[[ClipChange], None]
    ) -> None:
        self._options, self._ring, self._tell = options, ring, tell
        self._form = EventForm()
        self._files = SegmentFiles(
            options.folder / f"{name}.mp4",
            suffixes=CLIP_SUFFIXES,
            beside=(DESCRIPTION_SUFFIX, THUMBNAIL_SUFFIX),
        )
        self._room = DiskRoom(options.folder, options.min_free_bytes)
        self._queue = BoundedQueue[Clip](MOST_WAITING, Policy.DROP_OLDEST, self._drop)
        self._worker = Worker(f"record-on {name}", self._write_all)
        self._written = self._lost = self._missed = 0
        self._trouble = ""
        self._failure: SinkError | None = None  # of the disk, not yet overcome

    def start(self, info: SourceInfo) -> None:
        """Begin; once."""
        self._form.open(info)
        self._worker.start()

    def put(self, clip: Clip) -> None:
        """Write this one next; nothing is done once it is closed."""
        try:
            self._queue.put(clip)
        except QueueClosed:
            self._drop(clip, "closed")

    def close(self) -> None:
        """Finish what there is; the ring is closed by then.

        Raises:
            ThreadLeftBehind: if that takes too long.
            SinkError: if the latest clip could not be written.
        """
        self._queue.close()
        if not self._worker.join(CLOSE_SECONDS):
            raise ThreadLeftBehind(f"{self._worker.name} did not end in time.")
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def statistics(self) -> ClipStatistics:
        """A snapshot; from any thread."""
        is_going = self._failure is None
        return ClipStatistics(self._written, self._lost, self._missed, self._trouble, is_going)

    def _drop(self, clip: Clip, _reason: str) -> None:
        self._ring.release(clip.cut)
        self._lost += 1
        logger.warning("A clip is lost: the disk is too slow for more than %d.", MOST_WAITING)

    # ── the writer's thread ──

    def _write_all(self) -> None:
        while True:
            try:
                self._write(self._queue.get(TIDY_SECONDS))
            except TimeoutError:
                self._tidy(None)
            except QueueClosed:
                return

    def _write(self, clip: Clip) -> None:
        try:
            self._options.folder.mkdir(parents=True, exist_ok=True)
            self._room.check(is_new=self._failure is not None)
            self._write_file(clip)
            self._written += 1
            if self._failure is not None:
                self._failure = None
                logger.warning("Clips are written again in %s.", self._options.folder)
        except Exception as error:  # noqa: BLE001 - the ring's readers must not wait for a thread gone
            self._lost += 1
            self._fail(clip, error)
        finally:
            self._ring.release(clip.cut)
        self._missed += clip.cut.missed
        if clip.cut.missed:
            logger.warning(
                "%d packets are not in the clip %s: the disk is too slow.",
                clip.cut.missed,
                clip.path,
            )

    def _fail(self, clip: Clip, error: Exception) -> None:
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        rest = "" if clip.path is None else "; what was written until then stays playable"
        self._failure = SinkError(
            f"The clip {clip.path or 'of ' + iso_utc(clip.begin_wall_time)} could not be written: "
            f"{reason}{rest}."
        )
        self._trouble = str(self._failure)
        logger.warning("%s The run goes on without it.", self._failure)

    def _write_file(self, clip: Clip) -> None:
        file: PacketFile | None = None
        copied = _Copied(clip)
        try:
            for _, index, packet in dated(copied.packets(self._packets(clip))):
                if file is None:
                    file = self._begin(clip)
                file.write(index, packet, copied.origin_seconds, is_live=False)
        finally:
            if file is not None:
                file.close()
        if file is not None:
            self._finish(clip, copied.end_seconds)

    def _begin(self, clip: Clip) -> PacketFile:
        suffix = suffix_for(clip.kept.streams)
        path = self._files.begun_at(clip.begin_wall_time, suffix)
        file = PacketFile(path, clip.kept.streams, clip.kept.indices)
        clip.path = path
        self._tidy(path)
        self._describe(clip, ClipChange("started", clip.begin_wall_time, clip.facts()))
        return file

    def _finish(self, clip: Clip, end: Fraction) -> None:
        assert clip.path is not None
        thumbnail = clip.thumbnail()
        if thumbnail is not None:
            _replace(beside(clip.path, THUMBNAIL_SUFFIX), thumbnail)
        self._describe(clip, ClipChange("ended", clip.wall_time_of(end), clip.facts(end)))

    def _describe(self, clip: Clip, change: ClipChange) -> None:
        assert clip.path is not None
        text = json.dumps(self._form.of_clip(change), indent=2, ensure_ascii=False)
        _replace(beside(clip.path, DESCRIPTION_SUFFIX), f"{text}\n".encode())
        self._tell(change)

    def _packets(self, clip: Clip) -> Iterator[KeptPacket]:
        """What the clip takes, with a look at the disk every second."""
        check_at = time.monotonic() + CHECK_SECONDS
        while True:
            with contextlib.suppress(TimeoutError):
                packet = self._ring.take(clip.cut, CHECK_SECONDS)
                if packet is None:
                    return
                yield packet
            if time.monotonic() >= check_at:
                self._room.check()
                self._tidy(clip.path)
                check_at = time.monotonic() + CHECK_SECONDS

    def _tidy(self, current: Path | None) -> None:
        """Remove what need not be kept."""
        if self._options.keep is None or not self._options.folder.is_dir():
            return
        try:
            self._files.remove_old(self._options.keep, current)
        except OSError as error:
            logger.warning("The clips in %s: %s.", self._options.folder, error.strerror)


class _Copied:
    """The packets of one clip that a file can begin with and go on with.

    Attributes:
        origin_seconds: of the file's beginning, in the source's time.
        end_seconds: where the last picture's time is over, the same.
    """

    def __init__(self, clip: Clip) -> None:
        self.origin_seconds = clip.first.decoded_seconds
        self.end_seconds = clip.first.shown_seconds
        self._knows_origin = clip.first.is_keyframe

    def packets(self, kept: Iterator[KeptPacket]) -> Iterator[Numbered]:
        """From the first keyframe on, and after a loss from the next one."""
        last_number, awaits_keyframe = None, True
        for one in kept:
            awaits_keyframe |= last_number is not None and one.number != last_number + 1
            last_number = one.number
            if one.is_keyframe:
                awaits_keyframe = False
                if not self._knows_origin:
                    self.origin_seconds, self._knows_origin = one.decoded_seconds, True
            if one.is_video:
                if awaits_keyframe:
                    continue
                end = (one.pts + one.duration) * one.time_base
                self.end_seconds = max(self.end_seconds, end)
            elif not self._knows_origin or one.shown_seconds < self.origin_seconds:
                continue  # sound of before the first picture
            yield (
                one.number,
                one.stream_index,
                packet_of(
                    one.data,
                    pts=one.pts,
                    dts=one.dts,
                    duration=one.duration,
                    time_base=one.time_base,
                    is_keyframe=one.is_keyframe,
                ),
            )


def _replace(path: Path, content: bytes) -> None:
    """Write a file wholly or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
