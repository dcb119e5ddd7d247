"""The option of what the live page may do. It imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from models.errors import UsageError
from models.options import FILE

_Command = TypeVar("_Command", bound=Callable[..., Any])

RECORDINGS = "recordings"  # a folder beside what is run


def control_options(command: _Command) -> _Command:
    """``--recordings``."""
    return click.option(
        "--recordings",
        type=FILE,
        metavar="DIR",
        help="Where the live page records to, and lists recordings from  [default: recordings].",
    )(command)


def recordings_folder(given: Path | None, folder: Path) -> Path:
    """Where recordings go.

    Args:
        given: by the user; None if nothing was.
        folder: that the default is in.

    Raises:
        UsageError: if it is no folder.
    """
    recordings = given or folder / RECORDINGS
    if recordings.exists() and not recordings.is_dir():
        raise UsageError(f"--recordings {recordings} is no folder: give another name.")
    return recordings
