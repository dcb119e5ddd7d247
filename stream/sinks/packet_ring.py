"""The packets of the last seconds, as they came: bounded in seconds and in bytes.

    reader ─ add ─▶ ring ─ take ─▶ the thread that writes a clip

There is no other queue: what a clip is yet to take stays in the ring until the ring is full, and
is lost, counted, only then. What is not needed goes by whole groups of pictures, so that the
oldest picture of every run is a keyframe.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from fractions import Fraction

from av.packet import Packet
from av.stream import Stream

from stream.sinks.kept_packet import Cut, KeptPacket

LAG_SECONDS = 10.0  # so far behind its packet a live frame may be judged
JUMP_SECONDS = 10  # a live source's clock that goes on by more was set
SKEW_SECONDS = 1  # so far apart picture and sound of one moment may come


class PacketRing:
    """See the module. ``add`` is called by the reader, ``take`` by the writer, the rest by a sink.

    Args:
        seconds: before the newest judged moment, to be kept.
        limit_bytes: never to be held more.

    Attributes:
        overflow_count: how often packets had to go that should have been kept.
    """

    def __init__(self, seconds: float, limit_bytes: int) -> None:
        self._seconds, self._limit_bytes = Fraction(seconds), limit_bytes
        self._packets: deque[KeptPacket] = deque()
        self._keyframes: deque[KeptPacket] = deque()  # of those
        self._bytes = 0
        self._numbers, self._runs = itertools.count(), itertools.count()
        self._run = -1
        self._awaits_keyframe = True  # nothing can be made of the pictures before
        self._last_dts: Fraction | None = None  # of the video
        self._needed: tuple[int, Fraction] | None = None  # run and seconds
        self._cuts: list[Cut] = []
        self._ended_at: float | None = None  # monotonic, of the connection
        self._is_closed = False
        self._changed = threading.Condition()
        self.overflow_count = 0

    @property
    def held_bytes(self) -> int:
        """In memory now, about."""
        return self._bytes

    @property
    def held_count(self) -> int:
        """Packets in memory now."""
        return len(self._packets)

    @property
    def held_seconds(self) -> float:
        """From the oldest to the newest packet, by their arrival."""
        with self._changed:
            if not self._packets:
                return 0.0
            return self._packets[-1].arrived_at - self._packets[0].arrived_at

    # ── the reader's thread ──

    def begin(self) -> None:
        """Another connection; packets that are added belong to it."""
        with self._changed:
            self._begin_run()
            self._ended_at = None
            self._changed.notify_all()

    def _begin_run(self) -> None:
        self._run, self._last_dts, self._awaits_keyframe = next(self._runs), None, True

    def add(
        self, packet: Packet[Stream], *, connection: int, is_video: bool, is_live: bool
    ) -> None:
        """Keep a copy. A file waits for a clip whose disk is slow; a live source loses packets."""
        arrived_at, data = time.monotonic(), bytes(packet)
        assert packet.pts is not None
        dts = packet.pts if packet.dts is None else packet.dts
        with self._changed:
            if is_video and is_live:
                self._note_clock(dts * packet.time_base)
            self._awaits_keyframe &= not (is_video and packet.is_keyframe)
            if is_video and self._awaits_keyframe:
                return
            kept = KeptPacket(
                next(self._numbers),
                self._run,
                connection,
                packet.stream_index,
                is_video,
                is_video and packet.is_keyframe,
                packet.pts,
                packet.dts,
                packet.duration or 0,
                packet.time_base,
                arrived_at,
                data,
            )
            self._packets.append(kept)
            self._bytes += kept.size
            if kept.is_keyframe:
                self._keyframes.append(kept)
            self._changed.notify_all()
            self._drop_what_is_past(arrived_at if is_live else None)
            self._drop_what_is_too_much(waits=not is_live)

    def end(self) -> None:
        """Nothing more comes from this connection."""
        with self._changed:
            self._ended_at = time.monotonic()
            self._changed.notify_all()

    def _note_clock(self, dts: Fraction) -> None:
        last = self._last_dts
        if last is not None and not last < dts <= last + JUMP_SECONDS:
            self._begin_run()
        self._last_dts = dts

    def _drop_what_is_past(self, now: float | None) -> None:
        """Whole groups, of which nothing is needed.

        Args:
            now: monotonic seconds, for a live source; a file waits until its frames are judged.
        """
        held_from = min((cut.next_number for cut in self._cuts), default=None)
        while (end := self._end_of_first_group()) is not None:
            is_old = now is not None and end.arrived_at < now - self._seconds - LAG_SECONDS
            if not (is_old or self._is_past(end)):
                return
            if held_from is not None and end.number > held_from:
                return
            self._drop_until(end.number)

    def _is_past(self, packet: KeptPacket) -> bool:
        if self._needed is None:
            return False
        run, seconds = self._needed
        return packet.run < run or (packet.run == run and packet.shown_seconds <= seconds)

    def _end_of_first_group(self) -> KeptPacket | None:
        return self._keyframes[1] if len(self._keyframes) > 1 else None

    def _drop_what_is_too_much(self, *, waits: bool) -> None:
        while self._bytes > self._limit_bytes:
            if waits:
                self._changed.wait_for(lambda: self._is_closed or not self._is_held_up())
                if self._bytes <= self._limit_bytes:
                    return
            self.overflow_count += 1
            self._awaits_keyframe |= self._end_of_first_group() is None
            self._drop_until(self._end_of_room())

    def _end_of_room(self) -> int:
        """Number of the first packet that stays when room is made."""
        end = self._end_of_first_group()
        return self._packets[-1].number + 1 if end is None else end.number

    def _is_held_up(self) -> bool:
        """Whether what would go is yet to be taken, by a writer that does not wait for more."""
        if not self._cuts:
            return False
        current = self._cuts[0]
        if self._next_of(current) is None and not self._is_over(current):
            return False
        return any(cut.next_number < self._end_of_room() for cut in self._cuts)

    def _drop_until(self, number: int) -> None:
        while self._packets and self._packets[0].number < number:
            self._bytes -= self._packets.popleft().size
        while self._keyframes and self._keyframes[0].number < number:
            self._keyframes.popleft()

    # ── the sink's thread ──

    def need_from(self, run: int, seconds: Fraction) -> None:
        """What is older may be forgotten."""
        with self._changed:
            self._needed = run, seconds

    def find(self, connection: int, seconds: Fraction) -> KeptPacket | None:
        """The packet of a frame, or the nearest before it; None if there is none any more."""
        with self._changed:
            found = (
                one
                for one in reversed(self._packets)
                if one.connection == connection and one.is_video and one.shown_seconds <= seconds
            )
            return next(found, None)

    def cut(self, at: KeptPacket, begin: Fraction, until: Fraction) -> tuple[Cut, KeptPacket]:
        """Hold what a clip takes.

        Args:
            at: a packet of the clip.
            begin: seconds in the source's time.
            until: the same.

        Returns:
            the cut, and the packet it begins with: the keyframe before ``begin``, or else the
            first there is; without any, ``at`` itself.
        """
        with self._changed:
            mine = [one for one in self._keyframes if one.run == at.run and one.number <= at.number]
            early = [one for one in mine if one.shown_seconds <= begin]
            first = (early or mine[:1] or [at])[-1]
            cut = Cut(at.run, first.number, until)
            cut.next_number = next(
                (
                    one.number
                    for one in self._packets
                    if one.run == at.run and one.shown_seconds >= first.shown_seconds
                ),
                first.number,
            )
            self._cuts.append(cut)
            return cut, first

    def extend(self, cut: Cut, until: Fraction) -> bool:
        """Let a clip go on; False if it is over."""
        with self._changed:
            if cut.is_final:
                return False
            cut.until = max(cut.until, until)
            self._changed.notify_all()
            return True

    def finish(self, cut: Cut, until: Fraction | None = None) -> None:
        """The clip ends when its ``until``, or this one, is reached."""
        with self._changed:
            cut.is_final = True
            if until is not None:
                cut.until = min(cut.until, until)
            self._changed.notify_all()

    def close(self) -> None:
        """No more frames will be judged, and no more packets come."""
        with self._changed:
            self._is_closed = True
            for cut in self._cuts:
                cut.is_final = True
            self._changed.notify_all()

    # ── the writer's thread ──

    def take(self, cut: Cut, timeout_seconds: float) -> KeptPacket | None:
        """The next packet of a clip; waits for one.

        Returns:
            None at the end of the clip.

        Raises:
            TimeoutError: if none came in time.
        """
        with self._changed:
            until = time.monotonic() + timeout_seconds
            while True:
                found = self._next_of(cut)
                if found is not None:
                    cut.next_number = found.number + 1
                    self._changed.notify_all()  # a file may wait for room
                    return found
                if self._is_over(cut):
                    cut.is_final = True
                    return None
                if not self._changed.wait(until - time.monotonic()):
                    raise TimeoutError

    def release(self, cut: Cut) -> None:
        """Hold nothing for it any more; if it is not over, it was given up."""
        with self._changed:
            if cut in self._cuts:
                self._cuts.remove(cut)
            self._changed.notify_all()

    def _next_of(self, cut: Cut) -> KeptPacket | None:
        """What the clip may take now; passes over what comes after a clip that does not grow."""
        while (packet := self._at(cut)) is not None and packet.run == cut.run:
            if packet.decoded_seconds <= cut.until:
                return packet
            if not cut.is_final or packet.decoded_seconds > cut.until + SKEW_SECONDS:
                return None
            cut.next_number += 1
        return None

    def _at(self, cut: Cut) -> KeptPacket | None:
        if not self._packets:
            return None
        oldest = self._packets[0].number
        if cut.next_number < oldest:
            cut.missed += oldest - cut.next_number
            cut.next_number = oldest
        place = cut.next_number - oldest
        return self._packets[place] if place < len(self._packets) else None

    def _is_over(self, cut: Cut) -> bool:
        """Whether there is nothing to take, nor will be."""
        packet = self._at(cut)
        if packet is None:
            has_ended = self._is_closed or self._run != cut.run
            return has_ended or (self._ended_at is not None and cut.is_final) or self._is_overdue()
        return packet.run != cut.run or cut.is_final or self._is_overdue()

    def _is_overdue(self) -> bool:
        """Whether the frames of a connection that is gone should have been judged by now."""
        ended_at = self._ended_at
        return ended_at is not None and time.monotonic() - ended_at > LAG_SECONDS
