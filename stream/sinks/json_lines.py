"""Write one JSON object a line, to a file or to standard output."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from pathlib import Path
from typing import Any, TextIO

from models.paths import check_writable
from stream.errors import SinkError
from stream.events.schema import encode
from stream.sinks.rotation import LineFile, Rotation

STDOUT = "-"
_MOST_NOTES = 1000


class JsonLines:
    """A file of JSON lines that is made with its first row; every line is written whole.

    ``write`` and ``close`` are called by one thread, ``note`` by any.

    Args:
        target: a path, or ``-`` for standard output.
        option: the command line option it was given with, for messages.
        rotation: when the file is put aside for a new one; None for never.

    Raises:
        UsageError: if the file cannot be written.
    """

    def __init__(self, target: str, option: str, rotation: Rotation | None = None) -> None:
        self._target, self._option, self._rotation = target, option, rotation
        self._file: LineFile | TextIO | None = None
        self._lock = threading.Lock()
        self._notes: deque[str] = deque(maxlen=_MOST_NOTES)  # until the file is made
        self._error: OSError | None = None  # what is wrong with the file, once something is
        if target != STDOUT:
            check_writable(Path(target), option)

    def write(self, row: dict[str, Any]) -> None:
        """Add one line.

        Raises:
            SinkError: if the disk is full or the reader of standard output is gone.
        """
        with self._lock:
            try:
                if self._error is not None:
                    raise self._error
                if self._file is None:
                    self._file = self._open()
                self._put([*self._notes, f"{encode(row)}\n"])
                self._notes.clear()
            except OSError as error:
                self._error = error
                raise self._failure(error) from error

    def note(self, row: dict[str, Any]) -> None:
        """Add one line that makes no file by itself: it waits for the first ``write``.

        An error is raised by the next ``write``.
        """
        with self._lock:
            if self._error is not None:
                return
            if self._file is None:
                self._notes.append(f"{encode(row)}\n")
                return
            try:
                self._put([f"{encode(row)}\n"])
            except OSError as error:
                self._error = error

    def _put(self, lines: list[str]) -> None:
        text = "".join(lines)
        if isinstance(self._file, LineFile):
            self._file.write(text.encode())
        else:
            assert self._file is not None
            self._file.write(text)
            self._file.flush()

    def _open(self) -> LineFile | TextIO:
        if self._target == STDOUT:
            return sys.stdout
        return LineFile(Path(self._target), self._rotation)

    def close(self) -> None:
        """Close the file; standard output stays open."""
        with self._lock:
            file, self._file = self._file, None
        try:
            if isinstance(file, LineFile):
                file.close()
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> SinkError:
        if isinstance(error, BrokenPipeError) and self._target == STDOUT:
            # the interpreter flushes stdout once more at exit, which would fail again
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return SinkError(f"{self._option} -: the program that read standard output has ended.")
        return SinkError(f"{self._option} {self._target} cannot be written: {error.strerror}.")
