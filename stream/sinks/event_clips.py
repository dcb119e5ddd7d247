"""Clips of events, cut out of the source's own packets: seconds before, seconds after, its sound.

    reader ─ take ─▶ ring of the last seconds ─ clip thread ─▶ file
    frames ─ write ─▶ trigger ─ begins, extends, ends ─────┘

What is written is what came, bit for bit; only whether it is written depends on the model.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from av.packet import Packet
from av.stream import Stream

from models.paths import check_writable
from stream.observer import ClipChange, Observer
from stream.sinks.base import Sink
from stream.sinks.clip import Clip
from stream.sinks.clip_trigger import ClipOptions, Confirmation, Sighting, Trigger
from stream.sinks.clip_writer import ClipStatistics, ClipWriter
from stream.sinks.kept_packet import KeptPacket
from stream.sinks.packet_ring import PacketRing
from stream.sinks.remux import KeptStreams
from stream.sources.base import SourceInfo
from stream.sources.tap import PacketTaker, PacketTap

if TYPE_CHECKING:
    from stream.stages import Job

logger = logging.getLogger(__name__)

OPTION = "--record-on"
_MOST_CONNECTIONS = 4  # of which frames may still be on their way


class EventClips(Sink, PacketTap):
    """Writes a clip when something is seen in ``CONFIRM_FRAMES`` of ``WINDOW_FRAMES`` frames.

    A clip begins with the keyframe before ``pre_seconds`` before the first of those sightings, and
    ends ``post_seconds`` after the last sighting; a single one is enough to let it go on. It ends
    early when the connection does. Trouble with the disk costs the rest of a clip and never ends
    the run; the next clip tries again, and ``close`` tells of it.

    Args:
        name: of the camera, free of credentials; clips are called after it.
        options: which clips, and where.
        option: what asked for them, for messages.

    Raises:
        UsageError: if there can be no file in the folder.
    """

    name = "record-on"
    takes_encoded = True

    def __init__(self, name: str, options: ClipOptions, *, option: str = OPTION) -> None:
        folder = options.folder
        check_writable(folder / f"{name}.mp4" if folder.is_dir() else folder, option)
        self.tap, self.option = self, option
        self._options = options
        self._pre, self._post = Fraction(options.pre_seconds), Fraction(options.post_seconds)
        self._ring = PacketRing(options.pre_seconds, options.memory_bytes)
        self._writer = ClipWriter(name, options, self._ring, self._tell)
        self._listeners: Sequence[Observer] = ()
        self._streams: dict[int, KeptStreams] = {}
        self._trigger, self._confirmation = Trigger(options), Confirmation()
        self._clip: Clip | None = None
        self._overflows_told = 0

    def watch(self, listeners: Sequence[Observer]) -> None:
        """Tell these of every clip from now on."""
        self._listeners = listeners

    def _tell(self, change: ClipChange) -> None:
        for listener in self._listeners:
            listener.clip_changed(change)

    @property
    def held_bytes(self) -> int:
        """In memory now, about, of the source's packets; from any thread."""
        return self._ring.held_bytes

    def statistics(self) -> ClipStatistics:
        """A snapshot; from any thread."""
        return self._writer.statistics()

    # ── the reader's thread ──

    def begin(self, streams: Sequence[Stream], *, is_live: bool, connection: int) -> PacketTaker:
        self._streams[connection] = KeptStreams(streams)
        for old in list(self._streams)[:-_MOST_CONNECTIONS]:
            del self._streams[old]
        self._ring.begin()
        return _Connection(self._ring, connection, streams[0].index, is_live=is_live)

    # ── the sink's thread ──

    def open(self, info: SourceInfo) -> None:
        self._writer.start(info)

    def write(self, job: Job) -> None:
        time = job.frame.source_time
        at = None if time is None else self._ring.find(time.connection, time.seconds)
        if time is None or at is None:
            return  # its packet was lost, or had no time
        sighting = self._trigger.look(job, at.run, time.seconds)
        self._confirmation.note(at.run, time.seconds, sighting)
        if self._clip is not None:
            self._go_on(self._clip, job, at, sighting)
        if self._clip is None and (seen := self._confirmation.confirmed()):
            until = seen[-1].seconds + self._post
            self._begin(job, at, seen[0].seconds - self._pre, until, seen)
        self._ring.need_from(at.run, self._confirmation.earliest_seconds - self._pre)

    def _go_on(self, clip: Clip, job: Job, at: KeptPacket, sighting: Sighting | None) -> None:
        """Extend the clip, let it end, or let another one follow on it at once."""
        assert job.frame.source_time is not None
        seconds, cut = job.frame.source_time.seconds, clip.cut
        is_over = cut.run != at.run or seconds > cut.until
        if not is_over and sighting is not None:
            is_over = not self._ring.extend(cut, sighting.seconds + self._post)
        if is_over:
            self._ring.finish(cut)
            self._clip = None
            self._confirmation.forget()
            self._confirmation.note(at.run, seconds, sighting)
            return
        seen = [] if sighting is None else [sighting]
        if seconds - clip.first.shown_seconds >= self._options.longest_seconds:
            until, self._clip = cut.until, None
            self._ring.finish(cut, seconds)
            self._begin(job, at, seconds, until, seen)
            return
        for one in seen:
            clip.see(one)

    def _begin(
        self, job: Job, at: KeptPacket, begin: Fraction, until: Fraction, seen: Sequence[Sighting]
    ) -> None:
        kept, frame = self._streams.get(at.connection), job.frame
        if kept is None or frame.source_time is None:
            return
        cut, first = self._ring.cut(at, begin, until)
        self._tell_if_short(float(first.shown_seconds - begin))
        wall_time = frame.arrival_wall_time if frame.wall_time is None else frame.wall_time
        clip = self._clip = Clip(cut, first, kept, wall_time - float(frame.source_time.seconds))
        for sighting in seen:
            clip.see(sighting)
        self._writer.put(clip)

    def _tell_if_short(self, missing_seconds: float) -> None:
        """If the clip begins later than asked, and not because there was nothing before."""
        count = self._ring.overflow_count
        if missing_seconds > 0 and count > self._overflows_told:
            self._overflows_told = count
            logger.warning(
                "A clip begins %.1f s later than asked: %d MB hold no more of this source.",
                missing_seconds,
                self._options.memory_bytes / 1e6,
            )

    def close(self) -> None:
        self._ring.close()
        self._writer.close()


class _Connection(PacketTaker):
    """Packets that a file can hold, into the ring."""

    def __init__(
        self, ring: PacketRing, connection: int, video_index: int, *, is_live: bool
    ) -> None:
        self._ring, self._connection = ring, connection
        self._video_index, self._is_live = video_index, is_live

    def take(self, packet: Packet[Stream]) -> None:
        has_times = packet.pts is not None and (packet.dts is not None or not self._is_live)
        if packet.size and has_times:  # the first of an RTSP stream have no time yet
            self._ring.add(
                packet,
                connection=self._connection,
                is_video=packet.stream_index == self._video_index,
                is_live=self._is_live,
            )

    def end(self) -> None:
        self._ring.end()
