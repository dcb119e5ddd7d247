"""What was found as a table for a spreadsheet, one row an object."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.paths import check_writable
from stream.errors import SinkError
from stream.events.schema import EventForm
from stream.sinks.base import Sink
from stream.sources.base import SourceInfo

if TYPE_CHECKING:
    from stream.stages import Job

COLUMNS = (
    "source", "index", "pts_seconds", "time", "label", "score", "x1", "y1", "x2", "y2",
    "track_id", "zones",
)  # fmt: skip
_FORMULA_SIGNS = "=+-@\t\r"


class CsvObjects(Sink):
    """Writes ``COLUMNS``; those that a run has no values for stay empty, zones are split by ``;``.

    Args:
        path: overwritten when the first frame comes.

    Raises:
        UsageError: if the file cannot be written.
    """

    name = "csv"

    def __init__(self, path: Path) -> None:
        self._path = check_writable(path, "--events")
        self._form = EventForm()
        self._file: io.FileIO | None = None

    def open(self, info: SourceInfo) -> None:
        self._form.open(info)

    def write(self, job: Job) -> None:
        event = self._form.of_frame(job)
        try:
            if self._file is None:
                self._file = io.FileIO(self._path, "w")
                self._put([dict(zip(COLUMNS, COLUMNS, strict=True))])
            self._put([self._row(event, found) for found in event["detections"]])
        except OSError as error:
            raise self._failure(error) from error

    def _row(self, event: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
        return {
            **event,
            **found,
            **dict(zip(("x1", "y1", "x2", "y2"), found["box"], strict=True)),
            "source": _plain(event["source"]),
            "label": _plain(found["label"]),
            "zones": _plain(";".join(found.get("zones", ()))),
        }

    def _put(self, rows: list[dict[str, Any]]) -> None:
        """Whole rows in one write, so that they are there or not if the program is killed."""
        assert self._file is not None
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writerows(rows)
        data = text.getvalue().encode()
        while data:
            data = data[self._file.write(data) :]

    def close(self) -> None:
        file, self._file = self._file, None
        try:
            if file is not None:
                file.close()
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> SinkError:
        return SinkError(f"--events {self._path} cannot be written: {error.strerror}.")


def _plain(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(tuple(_FORMULA_SIGNS)) else text
