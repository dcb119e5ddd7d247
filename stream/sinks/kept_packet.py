"""A packet that waits in memory, and what one clip takes of those."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

_OVERHEAD_BYTES = 400  # of each packet, beside its content


@dataclass(frozen=True, slots=True)
class KeptPacket:
    """One packet.

    Attributes:
        number: in the order of coming, without gaps.
        run: number of a stretch of one connection whose clock was not set meanwhile.
        connection: as in the ``source_time`` of its frame.
        stream_index: of its stream in the source.
        is_video: whether it is the picture's.
        is_keyframe: whether decoding can begin here.
        pts: in units of ``time_base``.
        dts: the same; None for the first ones of a Matroska file.
        duration: the same.
        time_base: seconds per unit.
        arrived_at: monotonic seconds.
        data: bit for bit.
    """

    number: int
    run: int
    connection: int
    stream_index: int
    is_video: bool
    is_keyframe: bool
    pts: int
    dts: int | None
    duration: int
    time_base: Fraction
    arrived_at: float
    data: bytes

    @property
    def shown_seconds(self) -> Fraction:
        """When it is shown, in the source's time."""
        return self.pts * self.time_base

    @property
    def decoded_seconds(self) -> Fraction:
        """When it is decoded, in the source's time; no later than it is shown."""
        return (self.pts if self.dts is None else self.dts) * self.time_base

    @property
    def size(self) -> int:
        """Bytes in memory, about."""
        return len(self.data) + _OVERHEAD_BYTES


class Cut:
    """What one clip takes out of the ring. Its attributes are the ring's to guard.

    Attributes:
        run: it lies in.
        next_number: of the packet to take next.
        until: seconds in the source's time of the last picture.
        is_final: ``until`` does not grow any more.
        missed: packets that the ring had no room for until they were taken.
    """

    def __init__(self, run: int, first_number: int, until: Fraction) -> None:
        self.run, self.next_number, self.until = run, first_number, until
        self.is_final = False
        self.missed = 0
