"""Files of a camera, as cameras.yaml names them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from stream.errors import SinkError


def file_of(template: str, name: str) -> Path:
    """The file that a template means; its folder is made.

    Raises:
        SinkError: if the folder cannot be made.
    """
    started = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    path = Path(template.replace("{name}", name).replace("{started}", started))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SinkError(f"The folder {path.parent} cannot be made: {error.strerror}.") from error
    return path


def unused_file_of(template: str, name: str) -> Path:
    """As ``file_of``, with a number if there is one already."""
    path = numbered = file_of(template, name)
    number = 1
    while numbered.exists():
        number += 1
        numbered = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return numbered
