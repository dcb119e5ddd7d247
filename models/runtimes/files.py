"""Opens a model that is a file: one of our exports, or a detector of another project."""

from __future__ import annotations

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from models.deploy.manifest import METADATA
from models.runtimes.base import Runtime
from models.runtimes.exported import Notice, open_exported
from models.runtimes.static import check_file


def open_file(
    path: Path,
    *,
    runtime: str = "auto",
    device: str | None = None,
    min_score: float = 0.5,
    precision: str = "auto",
    threads: int = 0,
    notice: Notice | None = None,
) -> Runtime:
    """The model in a file; the arguments are those of ``exported.open_exported``.

    Raises:
        UsageError: if there is no such file, or it cannot be run as asked.
        ModelError: if no runtime can open it.
    """
    check_file(path)
    if is_foreign(path):
        from models.foreign.runtime import open_foreign

        return open_foreign(
            path,
            runtime=runtime,
            device=device or "auto",
            min_score=min_score,
            precision=precision,
            threads=threads,
        )
    return open_exported(
        path,
        runtime=runtime,
        device=device,
        min_score=min_score,
        precision=precision,
        threads=threads,
        notice=notice,
    )


def is_foreign(path: Path) -> bool:
    """Whether a file is an ONNX model that ``rcnn-live export`` did not make."""
    if path.suffix.lower() != ".onnx":
        return False
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError):
        return False  # damaged, which who opens it says
    return all(note.key != METADATA for note in model.metadata_props) and bool(model.graph.node)
