"""When a published picture is to be shown."""

from __future__ import annotations

LATE_SECONDS = 0.5  # a file that falls behind by more goes on from where it is
LONGEST_WAIT_SECONDS = 1.0  # between two pictures of a file, so that a stop is not kept waiting


class PublishClock:
    """Turns the times of a source into those of a live stream.

    A live source's times are real ones. A file is published at its own pace, and where it cannot
    keep that, because the model is slow, as fast as it comes: times in a stream that lag behind
    the clock would make every player stutter.

    Args:
        is_live: whether the source is.
    """

    def __init__(self, *, is_live: bool) -> None:
        self._is_live = is_live
        self._offset_seconds: float | None = None  # from the source's times to the clock's

    def place(self, pts_seconds: float, now: float) -> tuple[float, float]:
        """Where a picture belongs.

        Args:
            pts_seconds: its time in the source.
            now: monotonic seconds.

        Returns:
            seconds to wait before it is published, and when it is to be shown, on a line of time
            of its own.
        """
        if self._is_live:
            return 0.0, pts_seconds
        if self._offset_seconds is None:
            self._offset_seconds = now - pts_seconds
        due_at = pts_seconds + self._offset_seconds
        if not now - LATE_SECONDS <= due_at <= now + LONGEST_WAIT_SECONDS:
            due_at = min(max(due_at, now), now + LONGEST_WAIT_SECONDS)
            self._offset_seconds = due_at - pts_seconds
        return max(0.0, due_at - now), due_at
