"""When a picture is to be shown, and when its packet came."""

from __future__ import annotations

import struct
from collections import OrderedDict
from fractions import Fraction

from av.packet import Packet
from av.video.stream import VideoStream

_USUAL_FRAME_RATE = Fraction(25)


def wall_time_in(packet: Packet[VideoStream]) -> float | None:
    """UTC seconds since 1970 at which the source says it took this picture.

    RTP sources say it in their sender reports, of which the first comes after some seconds.
    """
    if not packet.has_sidedata("prft"):
        return None
    microseconds: int = struct.unpack_from("=q", bytes(packet.get_sidedata("prft")))[0]
    return microseconds / 1e6


class PtsRepair:
    """Makes presentation times strictly increasing, changing only those that are not.

    Args:
        time_base: seconds per unit of pts.
        frame_rate: frames per second, or None when unknown.
    """

    def __init__(self, time_base: Fraction, frame_rate: Fraction | None) -> None:
        self._usual_duration = round(1 / ((frame_rate or _USUAL_FRAME_RATE) * time_base))
        self._previous: int | None = None
        self._step = 1

    def next(self, pts: int | None, duration: int | None) -> int:
        """The pts to use for the next frame.

        Args:
            pts: as decoded, in units of the time base, or None.
            duration: of this frame in the same units; None or 0 when unknown.

        Returns:
            ``pts`` if it is later than the frame before, else the end of the frame before.
        """
        if self._previous is None:
            pts = 0 if pts is None else pts
        elif pts is None or pts <= self._previous:
            pts = self._previous + self._step
        self._previous = pts
        self._step = max(1, duration or self._usual_duration)
        return pts


class ArrivalTimes:
    """Remembers when the packet of each picture came, while a decoder reorders and delays them."""

    _LIMIT = 256  # packets; more than any decoder holds back

    def __init__(self) -> None:
        self._arrived_at: OrderedDict[int, float] = OrderedDict()
        self._latest = 0.0

    def note(self, pts: int | None, arrived_at: float) -> None:
        """A packet with this pts came at ``arrived_at`` monotonic seconds."""
        self._latest = arrived_at
        if pts is not None:
            self._arrived_at[pts] = arrived_at
            if len(self._arrived_at) > self._LIMIT:
                self._arrived_at.popitem(last=False)

    def take(self, pts: int | None) -> float:
        """When the packet of the picture with this pts came; if unknown, the latest arrival."""
        return self._latest if pts is None else self._arrived_at.pop(pts, self._latest)


class LiveTimeline:
    """Puts the frames of one connection after another on one line of time.

    Within a connection the source's own times are kept. The gap between two connections is as
    long as the monotonic clock says, and so is a step of the source's clock that the monotonic
    clock does not confirm: a camera that sets its clock leaves no hours of nothing in a recording.

    Args:
        time_base: seconds per unit of the times given out.
    """

    _JUMP_SECONDS = Fraction(10)  # a playlist's segment comes at once and is shorter than this

    def __init__(self, time_base: Fraction) -> None:
        self._time_base = time_base
        self._offset = Fraction(0)  # seconds from the source's times to ours
        self._source_time: Fraction | None = None  # of the frame before, as the source says
        self._pts = 0  # of the frame before, as given out
        self._captured_at = 0.0
        self._begins = False

    def begin_connection(self) -> None:
        """The next frame comes from a new connection."""
        self._begins = True

    def place(self, pts: int, time_base: Fraction, captured_at: float) -> tuple[int, float]:
        """Where a frame belongs.

        Args:
            pts: the source's, in units of ``time_base``.
            time_base: of this connection.
            captured_at: monotonic seconds.

        Returns:
            pts in units of the timeline, later than all before, and how many seconds the source
            was away before this frame: 0 but for the first one of a later connection.
        """
        source_time = pts * time_base
        gap_seconds = 0.0
        if self._source_time is None:
            placed = round(source_time / self._time_base)
        else:
            elapsed = max(Fraction(0), Fraction(captured_at - self._captured_at))
            step = source_time - self._source_time
            if self._begins:
                gap_seconds = float(elapsed)
            if self._begins or step <= 0 or step > elapsed + self._JUMP_SECONDS:
                self._offset = self._pts * self._time_base + elapsed - source_time
            placed = round((source_time + self._offset) / self._time_base)
            placed = max(placed, self._pts + 1)
        self._source_time, self._pts, self._captured_at = source_time, placed, captured_at
        self._begins = False
        return placed, gap_seconds
