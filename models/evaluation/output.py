"""Files an evaluation leaves behind: written wholly or not at all."""

from __future__ import annotations

from pathlib import Path

from models.errors import RcnnLiveError


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
