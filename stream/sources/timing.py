"""When a picture is to be shown, and when its packet came."""

from __future__ import annotations

from collections import OrderedDict
from fractions import Fraction

_USUAL_FRAME_RATE = Fraction(25)


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
