"""A live source that comes back after every failure, on one line of time."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable

from stream.errors import RcnnLiveError, SourceDenied, SourceError, SourceTimeout, ThreadLeftBehind
from stream.frame import Frame
from stream.redact import redact
from stream.sources.backoff import Backoff, Pace, ReconnectOptions
from stream.sources.base import FrameSource, SourceInfo
from stream.sources.options import SourceOptions
from stream.sources.reader_thread import ReaderThread
from stream.sources.status import SourceState, SourceStatus
from stream.sources.timing import LiveTimeline

logger = logging.getLogger(__name__)

CLOSE_SECONDS = 4.5  # a reader gets to end before it is left behind: within a pipeline's 5 s
TURN_SECONDS = 0.1  # for another thread to be scheduled

_DEFAULT_SOURCE, _DEFAULT_RECONNECT = SourceOptions(), ReconnectOptions()


class Reconnecting(FrameSource):
    """Wraps a live source: when it fails, it is made anew, until pictures come again.

    Nothing is invented meanwhile: ``read`` waits. Indices count on without gaps, pts go on as the
    monotonic clock says, and the first frame after a gap tells its length. A source that turns
    out not to be live, a file over http, is handed through as it is.

    Each connection lives on a thread of its own (``ReaderThread``): one that keeps no deadline is
    left behind there, counted in the status, and a new one starts. All of this object's own work
    is done, and every listener called, on the thread that calls ``open`` and ``read``.

    Args:
        create: makes the source, not yet open. Called at once, so that what cannot be at all is
            refused here, and again for every further attempt.
        name: of the source, free of credentials; for the thread and for messages.
        read_timeout_seconds: of silence at least, before the connection is given up; more for a
            source with few frames per second.
        open_timeout_seconds: of the source.
        options: when to try again.

    Raises:
        UsageError: from ``create``.
    """

    def __init__(
        self,
        create: Callable[[], FrameSource],
        *,
        name: str,
        read_timeout_seconds: float = _DEFAULT_SOURCE.read_timeout_seconds,
        open_timeout_seconds: float = _DEFAULT_SOURCE.open_timeout_seconds,
        options: ReconnectOptions = _DEFAULT_RECONNECT,
    ) -> None:
        self._create, self._fresh = create, create()
        self._name, self._options = name, options
        # opening, the first whole picture and the last word of a parser have each their deadline
        self._open_patience = 2 * open_timeout_seconds + read_timeout_seconds + 1
        self._end_patience = read_timeout_seconds + 2
        self._read_timeout_seconds = read_timeout_seconds
        self._changed = threading.Condition()
        self._interrupted = threading.Event()
        self._listeners: list[Callable[[SourceStatus], None]] = []
        self._left_behind: list[ReaderThread] = []
        self._reader: ReaderThread | None = None
        self._corrupt_packets = 0
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._info: SourceInfo | None = None
        self._status = SourceStatus(state=SourceState.CONNECTING)
        self._backoff, self._pace = Backoff(self._options), Pace(self._read_timeout_seconds)
        self._attempt = self._index = self._reconnects = 0
        self._captured_at = self._live_since = 0.0

    @property
    def status(self) -> SourceStatus:
        """The latest status; may be asked by any thread."""
        return self._status

    @property
    def corrupt_packets(self) -> int:
        reader = self._reader
        return self._corrupt_packets + (reader.corrupt_packets if reader else 0)

    def watch(self, listener: Callable[[SourceStatus], None]) -> None:
        self._listeners.append(listener)

    def open(self) -> SourceInfo:
        """See ``FrameSource.open``; with ``waits_for_first`` it returns once there is a picture."""
        self.close()
        self._begin_anew()
        self._corrupt_packets = 0
        self._attempt = 1
        self._tell(SourceState.CONNECTING)
        while not self._interrupted.is_set():
            try:
                info = self._info = self._connect()
                self._timeline = LiveTimeline(info.time_base)
                return info
            except RcnnLiveError as error:
                self._let_go()
                if self._interrupted.is_set():
                    break
                if not (self._options.waits_for_first and isinstance(error, SourceError)):
                    self._tell(SourceState.FAILED, str(error))
                    raise
                self._back_off(error, SourceState.CONNECTING)
            except BaseException:
                self._let_go()
                raise
        raise SourceError(f"{self._name} was interrupted.")

    def read(self) -> Frame | None:
        if self._info is None:
            raise SourceError(f"{self._name} is read but not open.")
        while not self._interrupted.is_set():
            try:
                if self._reader is None:
                    self._connect()
                    self._timeline.begin_connection()
                frame = self._next_frame()
            except RcnnLiveError as error:
                if not self._info.is_live:
                    raise
                self._let_go()
                if not self._interrupted.is_set():
                    self._back_off(error, SourceState.RECONNECTING)
                continue
            return None if frame is None else self._placed(frame)
        return None

    def close(self) -> None:
        """See ``FrameSource.close``.

        Raises:
            ThreadLeftBehind: if a reader keeps no deadline; it still holds its connection.
        """
        self._info = None
        if (reader := self._reader) is not None:
            reader.give_up()
            reader.join(CLOSE_SECONDS)
            self._part_from(reader)
        left, self._left_behind = self._stuck(), []
        if left:
            raise ThreadLeftBehind(f"{self._name} did not let go of its connection in time.")

    def interrupt(self) -> None:
        self._interrupted.set()
        if (reader := self._reader) is not None:
            reader.give_up()
        with self._changed:
            self._changed.notify_all()

    # ── one connection ──

    def _connect(self) -> SourceInfo:
        """Start a reader and wait until it is open.

        Raises:
            RcnnLiveError: if it cannot, or if it was interrupted.
        """
        fresh, self._fresh = self._fresh, None  # type: ignore[assignment]
        reader = self._reader = ReaderThread(
            fresh or self._create(), f"read {self._name}", self._changed
        )
        reader.start()
        with self._changed:
            self._changed.wait_for(
                lambda: reader.info or reader.has_ended or self._interrupted.is_set(),
                self._open_patience,
            )
            if reader.info is not None:
                self._pace.begin()
                return reader.info
            if reader.has_ended and reader.error is not None:
                raise reader.error
        raise SourceTimeout(f"{self._name} could not be opened for {self._open_patience:g} s.")

    def _next_frame(self) -> Frame | None:
        """The reader's next frame, or None at the end of a file or once interrupted.

        Raises:
            RcnnLiveError: if the connection is lost.
        """
        reader, limit = self._reader, self._pace.limit_seconds()
        assert reader is not None
        assert self._info is not None
        frame: Frame | None = None

        def has_news() -> bool:
            nonlocal frame
            frame = reader.take()
            return frame is not None or reader.has_ended or self._interrupted.is_set()

        with self._changed:
            in_time = self._changed.wait_for(has_news, limit)
            # If this whole process stood still, the reader has not had its turn yet.
            in_time = in_time or self._changed.wait_for(has_news, TURN_SECONDS)
        if frame is not None or self._interrupted.is_set():
            return frame
        if in_time:
            if reader.error is not None:
                raise reader.error
            if not self._info.is_live:
                return None
            raise SourceError(f"{self._name} ended.")
        reason = f"{self._name} was silent for {limit:.3g} s."
        self._tell(SourceState.STALLED, reason)
        raise SourceTimeout(reason)

    def _let_go(self) -> None:
        """Part from the reader, or leave it behind if it does not end; an interrupt parts later."""
        reader = self._reader
        if reader is None:
            return
        reader.give_up()
        with self._changed:
            self._changed.wait_for(
                lambda: reader.has_ended or self._interrupted.is_set(), self._end_patience
            )
        if reader.has_ended or not self._interrupted.is_set():
            self._part_from(reader)

    def _part_from(self, reader: ReaderThread) -> None:
        self._reader = None
        self._corrupt_packets += reader.corrupt_packets
        reader.error = None  # its traceback holds pictures and, in a circle, the reader itself
        if not (reader.has_ended and reader.join(1.0)):
            self._left_behind.append(reader)
            logger.warning("%s: a reader kept no deadline and was left behind.", self._name)

    def _stuck(self) -> list[ReaderThread]:
        """Those left behind that still run; the others, and what they hold, are forgotten."""
        self._left_behind = [reader for reader in self._left_behind if not reader.join(0)]
        return self._left_behind

    # ── the life of the source ──

    def _placed(self, frame: Frame) -> Frame:
        assert self._info is not None
        if not self._info.is_live:
            if not self._status.is_live:
                self._come_back(0.0)
            return frame
        pts, gap_seconds = self._timeline.place(frame.pts, frame.time_base, frame.captured_at)
        if not self._status.is_live:
            self._come_back(gap_seconds)
        elif time.monotonic() - self._live_since >= self._options.proven_seconds:
            self._backoff.prove()
        self._pace.note(frame.captured_at)
        placed = dataclasses.replace(
            frame,
            index=self._index,
            source_id=self._info.name,
            pts=pts,
            time_base=self._info.time_base,
            gap_seconds=gap_seconds or frame.gap_seconds,
        )
        self._index += 1
        return placed

    def _come_back(self, gap_seconds: float) -> None:
        self._live_since = time.monotonic()
        self._attempt = 0
        if self._index:
            self._reconnects += 1
            logger.warning("%s is back after %.1f s.", self._name, gap_seconds)
        self._tell(SourceState.LIVE)

    def _back_off(self, error: RcnnLiveError, state: SourceState) -> None:
        """Wait until it is time for the next attempt, or until interrupted.

        Raises:
            SourceError: if there have been attempts enough.
        """
        reason = redact(str(error))
        if self._options.attempts is not None and self._attempt >= self._options.attempts:
            self._tell(SourceState.FAILED, reason)
            raise error
        level = (
            logging.WARNING if self._attempt <= (state is SourceState.CONNECTING) else logging.INFO
        )
        logger.log(level, "%s Trying again.", reason)
        self._attempt += 1
        delay = self._backoff.next_delay(is_denied=isinstance(error, SourceDenied))
        self._tell(state, reason, delay)
        self._interrupted.wait(delay)

    def _tell(self, state: SourceState, reason: str = "", delay_seconds: float = 0.0) -> None:
        now = time.monotonic()
        self._status = SourceStatus(
            state=state,
            at=now,
            since=self._status.since if self._status.state is state else now,
            attempt=self._attempt,
            reason=redact(reason),
            next_attempt_in_seconds=delay_seconds,
            reconnects=self._reconnects,
            left_behind=len(self._stuck()),
        )
        for listener in self._listeners:
            listener(self._status)
