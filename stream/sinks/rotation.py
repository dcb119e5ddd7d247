"""Files that are begun anew before they get too large or too old, between two lines only."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from stream.errors import UsageError

_UNITS = {
    "k": 1_000, "m": 1_000_000, "g": 1_000_000_000,
    "s": 1, "min": 60, "h": 3600, "d": 86_400,
}  # fmt: skip
_AGES = ("s", "min", "h", "d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """When a file is put aside, and how many of them are kept.

    Attributes:
        max_bytes: of one file; None for any size. A single longer line gets a file of its own.
        max_age_seconds: of one file, looked at with each line; None for any age.
        keep: of the files put aside, the newest; None for all.
    """

    max_bytes: int | None = None
    max_age_seconds: float | None = None
    keep: int | None = None

    @classmethod
    def parse(cls, text: str, option: str) -> Rotation:
        """From ``100M``, ``1h``, ``100M,1d``, ``100M,keep=10``.

        Raises:
            UsageError: if it is something else.
        """
        found: dict[str, int] = {}
        for part in text.lower().replace(" ", "").split(","):
            match = re.fullmatch(r"(?:(keep)=(\d{1,6})|(\d{1,9})(k|m|g|s|min|h|d))", part)
            if match is None or not int(match[2] or match[3]):
                raise UsageError(
                    f"{option} {text!r}: give a size (100M), an age (30min, 1h, 1d), or both with "
                    "a comma, and keep=N for how many old files to keep."
                )
            if match[1]:
                found["keep"] = int(match[2])
            else:
                kind = "max_age_seconds" if match[4] in _AGES else "max_bytes"
                found[kind] = int(match[3]) * _UNITS[match[4]]
        return cls(**found)


class LineFile:
    """A file of lines; with a rotation, what is there already is put aside, and what gets too much.

    Files put aside are ``NAME-20260301T120000.000Z.SUFFIX``, by the time they were put aside.
    A line is one write, so it is there wholly or not at all if the program is killed.

    Args:
        path: of the newest file; overwritten without a rotation.
        rotation: when it is put aside; None for never.
    """

    def __init__(self, path: Path, rotation: Rotation | None = None) -> None:
        self._path, self._rotation = path, rotation
        if rotation is not None and path.is_file() and path.stat().st_size:
            self._put_aside()
        self._begin()

    def _begin(self) -> None:
        self._file: BinaryIO = self._path.open("wb", buffering=0)
        self._size, self._began = 0, time.monotonic()

    def write(self, line: bytes) -> None:
        """Add one line or several, ends included, to one file.

        Raises:
            OSError: if the disk is full; part of the line may have been written.
        """
        if self._size and self._is_due(len(line)):
            self._file.close()
            self._put_aside()
            self._begin()
        written = 0
        while written < len(line):  # a full disk takes a part, and says so at the next
            written += self._file.write(line[written:])
        self._size += len(line)

    def _is_due(self, more_bytes: int) -> bool:
        if self._rotation is None:
            return False
        most, oldest = self._rotation.max_bytes, self._rotation.max_age_seconds
        is_large = most is not None and self._size + more_bytes > most
        return is_large or (oldest is not None and time.monotonic() - self._began >= oldest)

    def _put_aside(self) -> None:
        """Rename, and remove the oldest of those renamed before."""
        now = datetime.now(UTC)
        aside = self._named(now)
        while aside.exists():
            now = datetime.fromtimestamp(now.timestamp() + 0.001, UTC)
            aside = self._named(now)
        self._path.rename(aside)
        if self._rotation is not None and self._rotation.keep is not None:
            for old in self.put_aside()[: -self._rotation.keep]:
                old.unlink(missing_ok=True)

    def _named(self, moment: datetime) -> Path:
        stamp = moment.strftime("%Y%m%dT%H%M%S.%f")[:-3]
        return self._path.with_name(f"{self._path.stem}-{stamp}Z{self._path.suffix}")

    def put_aside(self) -> list[Path]:
        """The files put aside, by this run and others, oldest first."""
        stem, suffix = re.escape(self._path.stem), re.escape(self._path.suffix)
        name = re.compile(rf"{stem}-\d{{8}}T\d{{6}}\.\d{{3}}Z{suffix}")
        return sorted(file for file in self._path.parent.iterdir() if name.fullmatch(file.name))

    def close(self) -> None:
        """Close the file. Legal any number of times."""
        self._file.close()
