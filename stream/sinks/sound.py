"""The sound of a recording: it keeps the source's times, whatever becomes of the pictures.

    reader ─ take ─▶ bounded buffer ─ take_before ─▶ the thread that records the pictures

Pictures come later than their sound, by as long as the model takes, and some of a live source
never come. So sound waits until a picture tells that its moment has come, and where its
connection's times lie in the recording.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
from av.packet import Packet
from av.stream import Stream

from stream.frame import Frame
from stream.sinks.sound_form import Converter, SoundForm, lateness
from stream.sources.tap import PacketTaker, PacketTap

logger = logging.getLogger(__name__)

LIMIT_BYTES = 64_000_000  # that may wait: an hour of what most cameras send
_OVERHEAD_BYTES = 500  # of each packet, beside its content
_SAME_SECONDS = Fraction(1, 100)  # so much two pictures may differ on where the sound belongs


@dataclass(frozen=True, slots=True)
class PlacedSound:
    """A packet that has its place.

    Attributes:
        packet: with a pts in the source's time; it is the taker's now.
        shift: seconds from the source's time to that of the frames.
        form: what it is.
    """

    packet: Packet[Stream]
    shift: Fraction
    form: SoundForm

    @property
    def seconds(self) -> Fraction:
        """When it is heard, in the time of the frames."""
        assert self.packet.pts is not None
        return self.packet.pts * self.packet.time_base + self.shift


class SoundTap(PacketTap):
    """See the module.

    ``note`` and ``take_before`` are called by the thread that records, all else by those that read.

    Args:
        suffix: of the recording's files, which says what they can hold.
    """

    def __init__(self, suffix: str) -> None:
        self._suffix = suffix
        self._lock = threading.Lock()
        self._connections: dict[int, _Connection] = {}  # the oldest first
        self._held_bytes = self._dropped = self._dropped_told = 0
        self._told_of: set[str] = set()  # codecs

    # ── the reader's thread ──

    def begin(self, streams: Sequence[Stream], *, is_live: bool, connection: int) -> PacketTaker:
        form = self._form_of(streams[1]) if len(streams) > 1 else None
        late = Fraction(0) if is_live else lateness(*streams)
        index = streams[-1].index
        made = _Connection(self, index, form, late)
        with self._lock:
            self._connections[connection] = made
        return made

    def _form_of(self, stream: Stream) -> SoundForm | None:
        codec = stream.name or "unknown"
        try:
            form = SoundForm(stream, self._suffix)
        except (ValueError, av.FFmpegError):
            self._tell(codec, "The recording has no sound: %s files cannot hold %s.")
            return None
        if not form.is_copied:
            self._tell(codec, "The sound is encoded anew, as AAC: %s files cannot hold %s.")
        return form

    def _tell(self, codec: str, text: str) -> None:
        """Once, however often the source comes back."""
        if codec not in self._told_of:
            self._told_of.add(codec)
            logger.warning(text, self._suffix, codec)

    def keep(self, connection: _Connection, packet: Packet[Stream]) -> None:
        """Let a packet wait, and the oldest ones go when there are too many."""
        with self._lock:
            if connection.is_over:
                return
            connection.packets.append(packet)
            self._held_bytes += packet.size + _OVERHEAD_BYTES
            dropped_before = self._dropped
            while self._held_bytes > LIMIT_BYTES:
                self._pop(next(one for one in self._connections.values() if one.packets))
                self._dropped += 1
        if self._dropped != dropped_before and self._dropped >= 2 * max(self._dropped_told, 0.5):
            self._dropped_told = self._dropped
            logger.warning(
                "%d packets of sound are not in the recording: its pictures come too late.",
                self._dropped,
            )

    def _pop(self, connection: _Connection) -> Packet[Stream]:
        packet = connection.packets.popleft()
        self._held_bytes -= packet.size + _OVERHEAD_BYTES
        return packet

    # ── the record thread ──

    def note(self, frame: Frame) -> SoundForm | None:
        """Learn where the sound of this frame's connection belongs.

        Connections of before give nothing any more that is heard after this frame.

        Returns:
            what is heard with it; None for nothing.
        """
        source_time = frame.source_time
        with self._lock:
            current = self._connections.get(source_time.connection) if source_time else None
            if source_time is None or current is None:
                return None
            seconds = frame.pts * frame.time_base
            current.place(seconds - source_time.seconds)
            for number, connection in self._connections.items():
                if number < source_time.connection and connection.ends_at is None:
                    connection.ends_at = seconds
        return current.form

    def lateness(self, frame: Frame) -> Fraction:
        """Seconds from the first picture to the first sound of this frame's file, if it says so."""
        if frame.source_time is None:
            return Fraction(0)
        with self._lock:
            connection = self._connections.get(frame.source_time.connection)
        return Fraction(0) if connection is None else connection.late

    def take_before(self, seconds: Fraction | None) -> Iterator[PlacedSound]:
        """What is heard before this moment and was not taken yet, in order.

        Args:
            seconds: in the time of the frames; None for all there is.
        """
        while (placed := self._next_before(seconds)) is not None:
            yield placed

    def _next_before(self, seconds: Fraction | None) -> PlacedSound | None:
        with self._lock:
            for number, connection in list(self._connections.items()):
                while (placed := connection.first()) is not None:
                    if seconds is not None and placed.seconds >= seconds:
                        break
                    self._pop(connection)
                    if connection.ends_at is None or placed.seconds < connection.ends_at:
                        return placed
                if connection.ends_at is not None:  # and of what is left nothing will be heard
                    while connection.packets:
                        self._pop(connection)
                    connection.is_over = True
                    del self._connections[number]
        return None


class _Connection(PacketTaker):
    """The sound of one connection.

    Args:
        tap: whose it is.
        index: of the stream in the source.
        form: None if there is no sound.
        late: seconds after the picture that it begins.
    """

    def __init__(self, tap: SoundTap, index: int, form: SoundForm | None, late: Fraction) -> None:
        self.form, self.late = form, late
        self.packets: deque[Packet[Stream]] = deque()
        self.ends_at: Fraction | None = None  # in the time of the frames; None while it is open
        self.is_over = False
        self._tap, self._index = tap, index
        self._converter: Converter | None = None if form is None else form.converter()
        self._shift: Fraction | None = None
        self._last_shift: Fraction | None = None

    def take(self, packet: Packet[Stream]) -> None:
        if self._converter is None or packet.stream_index != self._index:
            return
        if packet.size == 0 or packet.pts is None:
            return  # the first of an RTSP stream have no time yet
        self._keep(packet)

    def end(self) -> None:
        self._keep(None)
        self._converter = None

    def _keep(self, packet: Packet[Stream] | None) -> None:
        if self._converter is None:
            return
        try:
            for made in self._converter.convert(packet):
                self._tap.keep(self, made)
        except av.FFmpegError as error:
            logger.debug("Sound is damaged: %s.", error)

    def place(self, shift: Fraction) -> None:
        """Where the picture that came now is, as seconds from the source's time.

        One picture alone may have got another time than it came with, for the source's was no use;
        when two say the same, the source's clock was set.
        """
        is_new = self._shift is None or (
            self._last_shift is not None
            and abs(shift - self._shift) > _SAME_SECONDS
            and abs(shift - self._last_shift) <= _SAME_SECONDS
        )
        if is_new:
            self._shift = shift
        self._last_shift = shift

    def first(self) -> PlacedSound | None:
        """What is heard first of what waits; None until its place is known."""
        if not self.packets or self._shift is None or self.form is None:
            return None
        return PlacedSound(self.packets[0], self._shift, self.form)
