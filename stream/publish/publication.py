"""One place that is published to, on a thread of its own.

    put ─▶ queue that drops the oldest ─ publish thread ─▶ LiveEncoder ─▶ MuxerProcess ─▶ server

Whatever the server does, only this thread waits for it, and only until a deadline.
"""

from __future__ import annotations

import enum
import logging
import threading
import time
from dataclasses import dataclass
from fractions import Fraction

from stream.bounded_queue import BoundedQueue, Policy, QueueClosed
from stream.errors import SinkDenied, SinkError
from stream.frame import Image
from stream.publish.encoder import LiveEncoder
from stream.publish.process import MuxerProcess
from stream.publish.target import PublishTarget
from stream.redact import redact
from stream.sources.backoff import Backoff, ReconnectOptions
from stream.worker import Worker

logger = logging.getLogger(__name__)

QUEUE_CAPACITY = 2  # pictures; what waits longer is not live any more
KILLED_SECONDS = 1.0  # for the thread to see that its process is gone
OPTIONS = ReconnectOptions()  # when to try again


class PublishState(enum.Enum):
    """Where a publication stands."""

    WAITING = "waiting"  # there was no picture yet
    CONNECTING = "connecting"  # it has not been connected yet
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"  # it was connected


@dataclass(frozen=True, slots=True)
class PublishStatistics:
    """How a publication fares. At the end every picture of the run is one of sent and dropped.

    Attributes:
        state: of ``PublishState``, its value; at the end what it was last.
        reconnects: how often it was connected again.
        sent: frames that went into a connection.
        dropped: frames that came while there was none, or faster than they could be sent.
        trouble: why it was not connected, the last time, without credentials; empty if it always
            was.
    """

    state: str
    reconnects: int
    sent: int
    dropped: int
    trouble: str

    @property
    def is_connected(self) -> bool:
        """Whether somebody takes what is sent."""
        return self.state == PublishState.CONNECTED.value


@dataclass(frozen=True, slots=True)
class Picture:
    """What is to be published.

    Attributes:
        image: (H,W,3) uint8 RGB.
        seconds: when it is to be shown.
    """

    image: Image
    seconds: float

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) px."""
        return self.image.shape[1], self.image.shape[0]


class Publication:
    """See the module. ``put`` and ``end`` are called by one thread.

    Args:
        target: where to.
    """

    def __init__(self, target: PublishTarget) -> None:
        self.name = target.name
        self._target = target
        self._queue = BoundedQueue[Picture](QUEUE_CAPACITY, Policy.DROP_OLDEST, self._drop)
        self._worker = Worker(f"publish {target.name}", self._run)
        self._lock = threading.Lock()
        self._encoder: LiveEncoder | None = None
        self._process: MuxerProcess | None = None
        self._is_ending = self._is_given_up = False
        self._backoff = Backoff(OPTIONS)
        self._retry_at = self._connected_at = self._lost_at = 0.0  # monotonic
        self._state, self._trouble = PublishState.WAITING, ""
        self._connects = self._sent = self._dropped = 0
        self._surprise: Exception | None = None
        self._untold = 0  # frames given to a process that has not said that it is connected

    def start(self, frame_rate: Fraction) -> None:
        """Begin; it connects when the first picture comes."""
        self._frame_rate = frame_rate
        self._worker.start()

    def put(self, picture: Picture) -> None:
        """Publish a picture, or drop an older one; returns at once."""
        try:
            self._queue.put(picture)
        except QueueClosed:
            assert self._surprise is not None  # nothing else closes it before the end
            raise self._surprise from None

    def end(self) -> None:
        """Nothing more will come: say goodbye to the server."""
        self._is_ending = True
        self._queue.close()

    def join(self, seconds: float) -> bool:
        """Wait for the end, and give up what takes longer.

        Returns:
            whether the thread has ended.
        """
        has_ended = self._worker.join(seconds)
        if not has_ended:
            with self._lock:
                self._is_given_up = True
                if self._process is not None:
                    self._process.kill()
            has_ended = self._worker.join(KILLED_SECONDS)
        if self._surprise is not None:
            surprise, self._surprise = self._surprise, None
            raise surprise
        return has_ended

    def statistics(self) -> PublishStatistics:
        """A snapshot; from any thread."""
        with self._lock:
            reconnects = max(0, self._connects - 1)
            return PublishStatistics(
                self._state.value, reconnects, self._sent, self._dropped, self._trouble
            )

    def _drop(self, _picture: Picture, _reason: str) -> None:
        with self._lock:
            self._dropped += 1

    # ── the publish thread ──

    def _run(self) -> None:
        try:
            for picture in self._queue:
                try:
                    self._publish(picture)
                except SinkError as error:
                    self._drop(picture, "failed")
                    self._fail(error)
            try:
                self._disconnect()
            except SinkError as error:
                self._fail(error)
        except Exception as error:  # noqa: BLE001 - raised again in the pipeline's thread
            self._surprise = error
            self._queue.close(discard=True)
            self._forget()

    def _publish(self, picture: Picture) -> None:
        if self._encoder is not None and self._encoder.size != picture.size:
            self._disconnect()  # its parameters went to the server when it was connected
        if self._process is None:
            if time.monotonic() < self._retry_at:
                self._drop(picture, "disconnected")
                return
            self._connect(picture.size)
        assert self._encoder is not None
        assert self._process is not None
        if self._process.has_begun and not self._process.is_connected:
            self._process.check()
            if not self._process.is_connected:
                # sent later, all at once, it would be taken for the pace of the stream
                self._drop(picture, "connecting")
                return
            self._encoder.go_on_at(picture.seconds)
        for packet in self._encoder.encode(picture.image, picture.seconds):
            self._process.put(packet)
        self._untold += 1
        self._account(is_connected=self._process.is_connected)

    def _connect(self, size: tuple[int, int]) -> None:
        is_first = self._state is PublishState.WAITING
        self._target.make_way(is_first=is_first)
        if is_first:
            self._state = PublishState.CONNECTING
        encoder = LiveEncoder(size, self._frame_rate)
        with self._lock:
            if self._is_given_up:
                raise SinkError(f"{self.name} was given up.")
            self._encoder = encoder
            self._process = MuxerProcess(self._target, encoder.coded_size)

    def _account(self, *, is_connected: bool) -> None:
        """Count what was sent since the last look, if somebody takes it."""
        if not is_connected:
            return
        now = time.monotonic()
        with self._lock:
            self._sent, self._untold = self._sent + self._untold, 0
            is_new = self._connected_at == 0.0
            self._connects += is_new
            self._state = PublishState.CONNECTED
        if is_new:
            self._connected_at = now
            if self._lost_at:
                logger.warning("%s is back after %.1f s.", self.name, now - self._lost_at)
                self._lost_at = 0.0
            else:
                logger.info("%s is connected.", self.name)
        elif now - self._connected_at >= OPTIONS.proven_seconds:
            self._backoff.prove()

    def _disconnect(self) -> None:
        """End the connection in order.

        Raises:
            SinkError: if it could not be.
        """
        process = self._process
        if process is None:
            return
        process.finish()
        self._account(is_connected=process.is_connected)
        self._forget()

    def _forget(self) -> None:
        process = self._process
        with self._lock:
            self._encoder = self._process = None
            self._connected_at = 0.0
            self._dropped, self._untold = self._dropped + self._untold, 0
        if process is not None:
            process.discard()

    def _fail(self, error: SinkError) -> None:
        """Tell, and wait a while before the next attempt; pictures are dropped meanwhile."""
        now = time.monotonic()
        self._forget()
        delay = self._backoff.next_delay(is_denied=isinstance(error, SinkDenied))
        reason = redact(str(error))
        is_first = not self._lost_at
        with self._lock:
            self._trouble = reason
            self._state = PublishState.RECONNECTING if self._connects else PublishState.CONNECTING
        self._lost_at, self._retry_at = self._lost_at or now, now + delay
        level = logging.WARNING if is_first else logging.INFO
        logger.log(level, "%s", reason if self._is_ending else f"{reason} Trying again.")
