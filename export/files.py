"""Files of an export: they appear whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.deploy.manifest import side_file as side_file  # where others look for it
from models.errors import ModelError, UsageError

REJECTED = ".rejected"


def make_folder(folder: Path, option: str) -> Path:
    """A folder that takes files, made if it is not there.

    Raises:
        UsageError: if there cannot be one.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except FileExistsError as error:
        raise UsageError(f"{option} {folder} is a file: give a folder.") from error
    except OSError as error:
        raise UsageError(f"{option} {folder} takes no files: {error.strerror}.") from error
    return folder


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """A new folder inside ``folder`` where files are made; removed with all that is left in it."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".export-") as made:
        yield Path(made)


def files_of(path: Path) -> list[Path]:
    """All files of an export, the one that is given by name last."""
    beside = [path.with_suffix(".bin")] if path.suffix == ".xml" else []
    return [*beside, side_file(path), path]


def publish(path: Path, folder: Path, suffix: str = "") -> Path:
    """Move an export into ``folder``, replacing an older one.

    Args:
        path: of the export, in a folder of the same file system.
        folder: where to.
        suffix: appended to every name.

    Returns:
        where it is now.

    Raises:
        ModelError: if that fails.
    """
    try:
        for file in files_of(path):
            file.replace(folder / (file.name + suffix))
    except OSError as error:
        raise ModelError(f"{folder / path.name} cannot be written: {error.strerror}.") from error
    return folder / (path.name + suffix)


def write(path: Path, content: bytes) -> None:
    """Write a file.

    Raises:
        ModelError: if the disk is full, say.
    """
    try:
        path.write_bytes(content)
    except OSError as error:
        raise ModelError(f"{path} cannot be written: {error.strerror}.") from error
