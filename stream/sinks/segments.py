"""What a recording is cut into, which of its files are kept, and how full its disk may get."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from stream.errors import UsageError
from stream.sinks.qualities import AUTO, MEDIUM

SECONDS, BYTES = "seconds", "bytes"
_BOTH = (SECONDS, BYTES)
_UNITS = {
    "s": (SECONDS, 1), "m": (SECONDS, 60), "min": (SECONDS, 60), "h": (SECONDS, 3600),
    "d": (SECONDS, 86_400), "kb": (BYTES, 10**3), "mb": (BYTES, 10**6), "gb": (BYTES, 10**9),
    "tb": (BYTES, 10**12),
}  # fmt: skip
_AMOUNT = re.compile(rf"(\d{{1,6}}(?:\.\d{{1,3}})?)({'|'.join(sorted(_UNITS, key=len)[::-1])})")
SIDECAR_SUFFIX = ".jsonl"  # after the recording's own name


@dataclass(frozen=True, slots=True)
class Limit:
    """Seconds, bytes, or both.

    Attributes:
        seconds: None for any time.
        bytes: None for any size.
    """

    seconds: float | None = None
    bytes: int | None = None

    @classmethod
    def parse(cls, text: str, option: str, example: str, kinds: tuple[str, ...]) -> Limit:
        """From ``10m``, ``500MB``, ``7d,50GB``.

        Args:
            text: an amount, or one of each kind with a comma.
            option: it was given with, for the message.
            example: of what is allowed, for the message.
            kinds: that are allowed, of ``SECONDS`` and ``BYTES``.

        Raises:
            UsageError: if it is something else.
        """
        found: dict[str, float] = {}
        for part in text.lower().replace(" ", "").split(","):
            match = _AMOUNT.fullmatch(part)
            kind, factor = _UNITS[match[2]] if match else ("", 0)
            if match is None or kind not in kinds or kind in found or not float(match[1]):
                raise UsageError(f"{option} {text!r}: give {example}.")
            found[kind] = float(match[1]) * factor
        size = found.get(BYTES)
        return cls(found.get(SECONDS), None if size is None else int(size))


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingOptions:
    """How a recording is written and kept.

    Attributes:
        segment: where a file ends and the next one begins; None for one file.
        keep: how old files may get and how large all of them together; None for all.
        min_free_bytes: that the disk has to have for the recording to go on.
        encoder: one of ``ENCODERS``.
        quality: one of ``QUALITIES``.
        sidecar: write what was found beside each file.
        sound: record the source's sound, where there is any.
    """

    segment: Limit | None = None
    keep: Limit | None = None
    min_free_bytes: int = 0
    encoder: str = AUTO
    quality: str = MEDIUM
    sidecar: bool = False
    sound: bool = True

    @classmethod
    def parse(
        cls,
        *,
        segment: str | None = None,
        keep: str | None = None,
        min_free: str | None = None,
        encoder: str = AUTO,
        quality: str = MEDIUM,
        sidecar: bool = False,
        sound: bool = True,
        is_recorded: bool = True,
        has_clips: bool = False,
        prefix: str = "--",
    ) -> RecordingOptions:
        """From what ``rcnn-live run`` takes.

        Args:
            segment: such as ``10m`` or ``500MB``.
            keep: such as ``7d,50GB``.
            min_free: such as ``2GB``.
            encoder: as the attribute.
            quality: as the attribute.
            sidecar: as the attribute.
            sound: as the attribute.
            is_recorded: whether there is a recording that they are for.
            has_clips: whether there are clips, for which ``keep`` and ``min_free`` are, too.
            prefix: of the options' names in messages; empty for those of a configuration.

        Raises:
            UsageError: if one makes no sense.
        """
        names = {f"{prefix}segment": segment, f"{prefix}sidecar": sidecar, f"{prefix}keep": keep}
        names[f"{prefix}min-free" if prefix else "min_free"] = min_free
        for place, (name, value) in enumerate(names.items()):
            if value and not (is_recorded or (has_clips and place >= 2)):
                raise UsageError(f"{name} is for a recording: give {prefix}record, too.")
        if keep is not None and segment is None and not has_clips:
            raise UsageError(
                f"{prefix}keep removes old segments: give {prefix}segment, too, such as 10m."
            )
        length, limit, least = (
            None if text is None else Limit.parse(text, name, allowed, kinds)
            for text, name, allowed, kinds in (
                (segment, f"{prefix}segment", "a length (30s, 10m, 1h) or a size (500MB)", _BOTH),
                (keep, f"{prefix}keep", "an age (7d), a size (50GB) or both (7d,50GB)", _BOTH),
                (min_free, list(names)[-1], "a size, such as 2GB", (BYTES,)),
            )
        )
        return cls(
            segment=length,
            keep=limit,
            min_free_bytes=0 if least is None else least.bytes or 0,
            encoder=encoder,
            quality=quality,
            sidecar=sidecar,
            sound=sound,
        )


class SegmentFiles:
    """The files of one recording: ``NAME-20260301T120000.000Z.SUFFIX``, by UTC of their beginning.

    Args:
        path: ``NAME.SUFFIX`` in their folder.
        suffixes: that they may have; by default that one.
        beside: what the names of files that belong to one of them go on with.
    """

    def __init__(
        self, path: Path, *, suffixes: Sequence[str] = (), beside: Sequence[str] = (SIDECAR_SUFFIX,)
    ) -> None:
        self._path, self._beside = path, tuple(beside)
        ends = "|".join(map(re.escape, suffixes or (path.suffix,)))
        self._name = re.compile(rf"{re.escape(path.stem)}-\d{{8}}T\d{{6}}\.\d{{3}}Z({ends})")

    def begun_at(self, wall_time: float, suffix: str | None = None) -> Path:
        """A name that is not taken, for a file that begins at this time, or just after it."""
        moment = datetime.fromtimestamp(wall_time, UTC)
        while (path := self._named(moment, suffix or self._path.suffix)).exists():
            moment += timedelta(milliseconds=1)
        return path

    def _named(self, moment: datetime, suffix: str) -> Path:
        stamp = moment.strftime("%Y%m%dT%H%M%S.%f")[:-3]
        return self._path.with_name(f"{self._path.stem}-{stamp}Z{suffix}")

    def there(self) -> list[Path]:
        """Of this run and earlier ones, oldest first; nothing else that is in the folder.

        Raises:
            OSError: if the folder cannot be read.
        """
        found = (path for path in self._path.parent.iterdir() if self._name.fullmatch(path.name))
        return sorted(path for path in found if path.is_file() and not path.is_symlink())

    def remove_old(self, keep: Limit, current: Path | None) -> list[Path]:
        """Remove those that ended too long ago, then the oldest until they are small enough.

        Args:
            keep: what may stay.
            current: is being written: its size counts, and it stays.

        Returns:
            what was removed; what is beside goes with it.

        Raises:
            OSError: if one cannot be removed.
        """
        paths = self.there()
        stats = {path: path.stat() for path in paths}
        beside = {path: [path.with_name(path.name + end) for end in self._beside] for path in paths}
        sizes = {path: stats[path].st_size + sum(map(_size, beside[path])) for path in paths}
        total, oldest = sum(sizes.values()), time.time() - (keep.seconds or 0)
        removed = []
        for path in paths:
            is_old = keep.seconds is not None and stats[path].st_mtime < oldest
            if path != current and (is_old or (keep.bytes is not None and total > keep.bytes)):
                for file in beside[path]:
                    file.unlink(missing_ok=True)
                path.unlink()
                total -= sizes[path]
                removed.append(path)
        return removed


def sidecar_of(path: Path) -> Path:
    """Where a recording's detections are."""
    return path.with_name(path.name + SIDECAR_SUFFIX)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
