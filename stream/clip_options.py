"""Options of clips of events. It imports no torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from models.options import FILE
from stream.errors import UsageError
from stream.redact import redact

if TYPE_CHECKING:
    from stream.sinks.clip_trigger import ClipOptions
    from stream.sinks.segments import RecordingOptions

_Command = TypeVar("_Command", bound=Callable[..., Any])
_NAMES = ("pre", "post", "max_clip", "clip_folder", "clip_memory")


def clip_options(command: _Command) -> _Command:
    """``--record-on`` and what depends on it."""
    options = (
        click.option(
            "--record-on",
            multiple=True,
            metavar="WHAT",
            help="Clips of the source's own packets while person,dog or whoever is in sight, or "
            "somebody in zone:NAME. Repeatable.",
        ),
        click.option(
            "--pre",
            type=click.FloatRange(0, 600),
            metavar="SECONDS",
            help="Of a clip before the first sighting  [default: 5].",
        ),
        click.option(
            "--post",
            type=click.FloatRange(0, 3600),
            metavar="SECONDS",
            help="Of a clip after the last one  [default: 10].",
        ),
        click.option(
            "--max-clip", metavar="LENGTH", help="A longer clip goes on in another  [default: 5m]."
        ),
        click.option("--clip-folder", type=FILE, help="Of the clips  [default: clips]."),
        click.option(
            "--clip-memory",
            metavar="SIZE",
            help="For the seconds before, at most  [default: 64MB].",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def clips_of(flags: dict[str, Any], recording: RecordingOptions) -> ClipOptions | None:
    """Take these options out of a command's flags; None without clips.

    Args:
        flags: of the command.
        recording: whose limits hold for clips, too.

    Raises:
        UsageError: if one of them makes no sense.
    """
    wanted: Sequence[str] = flags.pop("record_on")
    taken = {name: flags.pop(name) for name in _NAMES}
    if not wanted:
        for name, value in taken.items():
            if value is not None:
                option = f"--{name.replace('_', '-')}"
                raise UsageError(f"{option} is for clips: give --record-on, too, such as person.")
        return None
    from stream.sinks.clip_trigger import ZONE_PREFIX

    names = [name.strip() for text in wanted for name in text.split(",")]
    zones = [name.removeprefix(ZONE_PREFIX) for name in names if name.startswith(ZONE_PREFIX)]
    classes = [name for name in names if not name.startswith(ZONE_PREFIX)]
    if not all(zones) or not all(classes):
        raise UsageError(
            f"--record-on {','.join(wanted)!r}: give names of classes (person,dog) and of zones "
            "(zone:NAME)."
        )
    return clips(
        classes,
        zones,
        recording=recording,
        pre=taken["pre"],
        post=taken["post"],
        longest=taken["max_clip"],
        memory=taken["clip_memory"],
        folder=taken["clip_folder"],
        names=("--max-clip", "--clip-memory"),
    )


def clips(
    classes: Sequence[str],
    zones: Sequence[str],
    *,
    recording: RecordingOptions,
    pre: float | None,
    post: float | None,
    longest: str | None,
    memory: str | None,
    folder: Path | None,
    names: tuple[str, str],
) -> ClipOptions:
    """From what a command line or a file says; None is the usual.

    Args:
        classes: names.
        zones: names.
        recording: whose limits hold for clips, too.
        pre: seconds.
        post: seconds.
        longest: such as ``5m``.
        memory: such as ``64MB``.
        folder: of the clips.
        names: of the options for ``longest`` and ``memory``, for messages.

    Raises:
        UsageError: if one of them makes no sense.
    """
    from stream.sinks.clip_trigger import ClipOptions
    from stream.sinks.segments import BYTES, SECONDS, Limit

    length = (
        None
        if longest is None
        else Limit.parse(longest, names[0], "a length, such as 5m", (SECONDS,))
    )
    size = (
        None if memory is None else Limit.parse(memory, names[1], "a size, such as 64MB", (BYTES,))
    )
    said: dict[str, Any] = {
        "pre_seconds": pre,
        "post_seconds": post,
        "longest_seconds": None if length is None else length.seconds,
        "memory_bytes": None if size is None else size.bytes,
        "folder": folder,
    }
    return ClipOptions(
        classes=tuple(classes),
        zones=tuple(zones),
        keep=recording.keep,
        min_free_bytes=recording.min_free_bytes,
        **{name: value for name, value in said.items() if value is not None},
    )


def clip_name(source: str) -> str:
    """What clips of a source are called: its host, or the name of its file without suffix."""
    text = redact(source)
    host = re.search(r"://(?:[^/]*@)?(\[[^\]]+\]|[^/:?#]+)", text)
    name = host[1] if host else Path(text).stem
    return re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-.")[:40] or "clip"
