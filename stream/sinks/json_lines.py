"""Write one JSON object a line, to a file or to standard output."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, TextIO

from stream.errors import SinkError
from stream.sinks.paths import check_writable

STDOUT = "-"


class JsonLines:
    """A file of JSON lines that is made with its first line; every line is flushed whole.

    Args:
        target: a path, or ``-`` for standard output.
        option: the command line option it was given with, for messages.

    Raises:
        UsageError: if the file cannot be written.
    """

    def __init__(self, target: str, option: str) -> None:
        self._target, self._option = target, option
        self._file: TextIO | None = None
        if target != STDOUT:
            check_writable(Path(target), option)

    def write(self, row: dict[str, Any]) -> None:
        """Add one line.

        Raises:
            SinkError: if the disk is full or the reader of standard output is gone.
        """
        line = json.dumps(row, separators=(",", ":"), ensure_ascii=False) + "\n"
        try:
            if self._file is None:
                self._file = self._open()
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            raise self._failure(error) from error

    def _open(self) -> TextIO:
        if self._target == STDOUT:
            return sys.stdout
        return Path(self._target).open("w", encoding="utf-8")

    def close(self) -> None:
        """Close the file; standard output stays open."""
        file, self._file = self._file, None
        try:
            if file is not None and file is not sys.stdout:
                file.close()
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> SinkError:
        if isinstance(error, BrokenPipeError):
            # the interpreter flushes stdout once more at exit, which would fail again
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return SinkError(f"{self._option} -: the program that read standard output has ended.")
        return SinkError(f"{self._option} {self._target} cannot be written: {error.strerror}.")
