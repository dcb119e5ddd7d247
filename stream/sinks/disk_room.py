"""Whether a disk has room for more."""

from __future__ import annotations

import shutil
from pathlib import Path

from stream.errors import SinkError

CHECK_SECONDS = 1.0  # between two looks
ROOM_BYTES = 32_000_000  # to begin anew after trouble, at least


class DiskRoom:
    """Looks at one folder's disk.

    Args:
        folder: that there is.
        min_free_bytes: to be left.
    """

    def __init__(self, folder: Path, min_free_bytes: int) -> None:
        self._folder, self._least = folder, min_free_bytes

    def check(self, *, is_new: bool = False) -> None:
        """Look.

        Args:
            is_new: whether something begins anew after trouble, which takes a little more.

        Raises:
            SinkError: if there is too little.
            OSError: if the disk is gone.
        """
        free = shutil.disk_usage(self._folder).free
        least = max(self._least + self._least // 20, ROOM_BYTES) if is_new else self._least
        if free < least:
            raise SinkError(f"{readable_size(free)} are free, and {readable_size(least)} shall be")


def readable_size(count: int) -> str:
    """Bytes in MB or GB."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
