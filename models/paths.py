"""Where files of the program's own go, and whether those of the user can be written at all."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from models.errors import UsageError

CACHE_VARIABLE = "RCNN_LIVE_CACHE"


def cache_folder() -> Path:
    """``RCNN_LIVE_CACHE``, or rcnn-live in the user's cache folder."""
    if given := os.environ.get(CACHE_VARIABLE):
        return Path(given)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "rcnn-live"
    home = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "rcnn-live"


def state_folder() -> Path:
    """rcnn-live in the user's folder of what programs keep."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "rcnn-live"


def check_writable(path: Path, option: str, *, replaced: bool = False) -> Path:
    """``path`` itself, if a file can be made there.

    Args:
        path: of a file to come; an existing file is left as it is.
        option: the command line option it was given with, for the message.
        replaced: whether an existing file will be replaced, rather than opened.

    Raises:
        UsageError: if it is a folder, or its folder is missing or takes no files.
    """
    folder = path.parent
    if path.is_dir():
        raise UsageError(f"{option} {path} is a folder: give the name of a file.")
    if not folder.is_dir():
        raise UsageError(f"{option} {path}: the folder {folder} does not exist, create it first.")
    try:
        if path.exists() and not replaced:
            path.open("ab").close()
        else:
            tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UsageError(f"{option} {path} cannot be written: {error.strerror}.") from error
    return path
