"""Find out that an output cannot be written before anything is started."""

from __future__ import annotations

import tempfile
from pathlib import Path

from stream.errors import UsageError


def check_writable(path: Path, option: str) -> Path:
    """``path`` itself, if a file can be made there.

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
        if path.exists():
            path.open("ab").close()
        else:
            tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UsageError(f"{option} {path} cannot be written: {error.strerror}.") from error
    return path
