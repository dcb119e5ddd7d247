"""One connection of a source, opened, read and closed on a thread of its own."""

from __future__ import annotations

import threading

from stream.frame import Frame
from stream.sources.base import FrameSource, SourceInfo
from stream.worker import Worker


class ReaderThread:
    """Reads a source ahead by one frame, so that nobody else waits inside of a decoder.

    The thread holds ``changed`` only to hand something over: whoever waits there can leave at any
    time, and a reader that is stuck in a call keeps nobody but itself.

    Args:
        source: fresh; this thread opens, reads and closes it.
        name: of the thread.
        changed: notified at every change. Hold it to look at the attributes.

    Attributes:
        info: what the source is, None until it is open.
        error: what ended the reading, None for an orderly end.
        has_ended: the source is closed and the thread done.
        corrupt_packets: as the source counts them.
    """

    def __init__(self, source: FrameSource, name: str, changed: threading.Condition) -> None:
        self.info: SourceInfo | None = None
        self.error: BaseException | None = None
        self.has_ended = False
        self.corrupt_packets = 0
        self._source, self._changed = source, changed
        self._frame: Frame | None = None
        self._is_given_up = False
        self._worker = Worker(name, self._run)

    def start(self) -> None:
        """Begin to open the source; once."""
        self._worker.start()

    def take(self) -> Frame | None:
        """The frame that was read ahead, None if there is none yet. Hold ``changed``."""
        frame, self._frame = self._frame, None
        if frame is not None:
            self._changed.notify_all()
        return frame

    def give_up(self) -> None:
        """Let no more frames come; the source is closed as soon as its call returns."""
        self._source.interrupt()
        with self._changed:
            self._is_given_up = True
            self._frame = None
            self._changed.notify_all()

    def join(self, timeout_seconds: float) -> bool:
        """Wait for the end; whether it came."""
        return self._worker.join(timeout_seconds)

    def _run(self) -> None:
        try:
            try:
                self._read_all()
            finally:
                self._source.close()
        except BaseException as error:  # noqa: BLE001 - raised again where the frames are taken
            self.error = error
        with self._changed:
            self.corrupt_packets = self._source.corrupt_packets
            self.has_ended = True
            self._changed.notify_all()

    def _read_all(self) -> None:
        info = self._source.open()
        with self._changed:
            self.info = info
            self._changed.notify_all()
        while (frame := self._source.read()) is not None:
            with self._changed:
                self.corrupt_packets = self._source.corrupt_packets
                self._changed.wait_for(lambda: self._frame is None or self._is_given_up)
                if self._is_given_up:
                    return
                self._frame = frame
                self._changed.notify_all()
