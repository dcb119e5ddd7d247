"""Options of what is recorded, and how. It imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from models.options import FILE
from stream.sinks.qualities import AUTO, ENCODERS, MEDIUM, QUALITIES
from stream.sinks.segments import RecordingOptions

_Command = TypeVar("_Command", bound=Callable[..., Any])


def recording_options(command: _Command) -> _Command:
    """``--record``, what depends on it, ``--record-raw`` and ``--publish``."""
    options = (
        click.option("--record", type=FILE, help="Annotated video: .mp4, .mov or .mkv."),
        click.option(
            "--publish",
            multiple=True,
            metavar="TARGET",
            help="Annotated video for others to watch; repeatable. rtsp://HOST/PATH or "
            "rtmp://HOST/APP/KEY: sent to that server; FILE.m3u8: an HLS playlist.",
        ),
        click.option(
            "--record-raw", type=FILE, help="The source's own packets, with its sound; not encoded."
        ),
        click.option(
            "--segment",
            metavar="LENGTH",
            help="Begin a new file every 30s, 10m, 1h or 500MB, with its time in its name.",
        ),
        click.option(
            "--keep", metavar="LIMIT", help="Remove old segments and clips: 7d, 50GB or 7d,50GB."
        ),
        click.option(
            "--min-free", metavar="SIZE", help="Stop recording while the disk has less left: 2GB."
        ),
        click.option(
            "--encoder",
            type=click.Choice(ENCODERS),
            default=AUTO,
            show_default=True,
            help="auto is H.264 by the fastest that works here.",
        ),
        click.option(
            "--quality",
            type=click.Choice(QUALITIES),
            default=MEDIUM,
            show_default=True,
            help="Of the recording.",
        ),
        click.option(
            "--sidecar", is_flag=True, help="What was found, beside each file: FILE.mp4.jsonl."
        ),
        click.option("--sound/--no-sound", default=True, help="The source's sound in --record."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def recording_of(flags: dict[str, Any]) -> RecordingOptions:
    """Take all but the files out of a command's flags.

    Raises:
        UsageError: if one of them makes no sense, or there is no recording that they are for.
    """
    taken = {
        name: flags.pop(name)
        for name in ("segment", "keep", "min_free", "encoder", "quality", "sidecar", "sound")
    }
    return RecordingOptions.parse(
        is_recorded=flags["record"] is not None, has_clips=bool(flags["record_on"]), **taken
    )
