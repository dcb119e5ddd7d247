"""Files an evaluation leaves behind: checked before it starts, written wholly or not at all."""

from __future__ import annotations

import tempfile
from pathlib import Path

from models.errors import RcnnLiveError, UsageError


def check_writable(path: Path, option: str) -> None:
    """Find out now that a file cannot be written later.

    Args:
        path: of a file to come; an existing file is left as it is.
        option: the command line option it was given with, for the message.

    Raises:
        UsageError: if it is a folder, or its folder is missing or takes no files.
    """
    folder = path.parent
    if path.is_dir():
        raise UsageError(f"{option} {path} is a folder: give the name of a file.")
    if not folder.is_dir():
        raise UsageError(f"{option} {path}: the folder {folder} does not exist, create it first.")
    try:
        tempfile.TemporaryFile(dir=folder).close()  # the file itself is replaced, not opened
    except OSError as error:
        raise UsageError(f"{option} {path} cannot be written: {error.strerror}.") from error


def write_text(text: str, path: Path, option: str) -> None:
    """Write UTF-8, wholly or not at all.

    Raises:
        RcnnLiveError: if the file cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise RcnnLiveError(f"{option} {path} cannot be written: {error.strerror}.") from error
