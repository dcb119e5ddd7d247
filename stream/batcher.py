"""One model for several cameras: their frames meet here, and it takes the oldest first.

A camera has one frame here at a time, so that no camera, however fast, gets more turns than the
others: whoever had its turn waits behind all that came in the meantime.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from models.detections import Detections
from models.runtimes.base import Canvas, Runtime
from models.runtimes.static import StaticRuntime
from stream.turns import Turns
from stream.worker import Worker

LARGEST_BATCH_ON_GPU = 8
POLL_SECONDS = 0.05  # how often a waiting camera looks whether it is to stop


class Cancelled(Exception):
    """The camera is stopping and no longer waits for the model: an end, not an error."""


@dataclass(slots=True, eq=False)
class Request:
    """A canvas and, once ``done`` is set, what was found on it or why not.

    Attributes:
        gpu_ms: of its batch, see ``Runtime``.
    """

    canvas: Canvas
    came_at: float
    done: threading.Event = field(default_factory=threading.Event)
    found: Detections | None = None
    gpu_ms: Mapping[str, float] | None = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class BatcherStatistics:
    """A snapshot.

    Attributes:
        model: what runs.
        cameras: how many share it.
        waiting: frames of them.
        batches: frames in a batch to how many such batches there were.
    """

    model: str
    cameras: int
    waiting: int
    batches: dict[int, int]


class Batcher:
    """A thread that owns a runtime: it opens, runs and closes it.

    Args:
        open_runtime: called on that thread with a function that tells whether to give up; the
            runtime is warm when it returns.
        model: for reports.
        max_batch: frames at once; None for what the model was made for. One that takes any number
            gets one on a CPU, which more do not make faster, and ``LARGEST_BATCH_ON_GPU`` on a GPU.
        batch_wait_ms: how long a frame waits for those of cameras that have none here yet.
        turns: of all models that take every core; kept on a CPU only.

    Attributes:
        model: see above.
    """

    def __init__(
        self,
        open_runtime: Callable[[Callable[[], bool]], Runtime],
        model: str,
        *,
        max_batch: int | None = None,
        batch_wait_ms: float = 10.0,
        turns: Turns | None = None,
    ) -> None:
        self.model = model
        self._open_runtime = open_runtime
        self._max_batch, self._turns = max_batch, turns
        self._batch_wait_seconds = batch_wait_ms / 1e3
        self._changed = threading.Condition()
        self._waiting: deque[Request] = deque()
        self._batches: Counter[int] = Counter()
        self._cameras = 0
        self._is_closing = False
        self._opened = threading.Event()
        self._runtime: Runtime | None = None
        self._error: BaseException | None = None
        self._worker = Worker(f"batcher {model}", self._run)

    def start(self) -> None:
        """Begin to open the runtime; once."""
        self._worker.start()

    @property
    def has_failed(self) -> bool:
        """Whether the runtime could not be opened."""
        return self._error is not None

    def runtime(self, is_stopping: Callable[[], bool]) -> Runtime:
        """The runtime, as soon as it is open. Its ``preprocess`` and ``postprocess`` are anybody's.

        Raises:
            Cancelled: once ``is_stopping``, if it is not open yet.
            Exception: why it could not be opened.
        """
        while not self._opened.wait(POLL_SECONDS):
            if is_stopping():
                raise Cancelled
        if self._error is not None:
            raise self._error
        assert self._runtime is not None
        return self._runtime

    def infer(self, canvas: Canvas) -> tuple[Detections, Mapping[str, float] | None]:
        """What the runtime's ``infer`` gives, and its ``gpu_ms`` for the batch that it was in.

        To be called by one thread of each camera.

        Raises:
            Cancelled: if the batcher was closed.
            Exception: what the runtime raised over this very frame.
        """
        request = Request(canvas, time.monotonic())
        with self._changed:
            if self._is_closing:
                raise Cancelled
            self._waiting.append(request)
            self._changed.notify_all()
        request.done.wait()
        if request.error is not None:
            raise request.error
        assert request.found is not None
        return request.found, request.gpu_ms

    def join_camera(self) -> None:
        """One more camera will send frames."""
        with self._changed:
            self._cameras += 1

    def leave_camera(self) -> int:
        """One camera fewer; returns how many are left."""
        with self._changed:
            self._cameras -= 1
            self._changed.notify_all()
            return self._cameras

    def statistics(self) -> BatcherStatistics:
        """A snapshot."""
        with self._changed:
            return BatcherStatistics(
                self.model, self._cameras, len(self._waiting), dict(self._batches)
            )

    def close(self) -> None:
        """Refuse what still waits and end. Returns at once; legal any number of times."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()

    def join(self, timeout_seconds: float) -> bool:
        """Wait for the thread to end; True if it has."""
        return self._worker.join(timeout_seconds)

    @property
    def thread_name(self) -> str:
        """For messages."""
        return self._worker.name

    # ── the batcher's own thread ──

    def _run(self) -> None:
        try:
            self._runtime = self._open_runtime(lambda: self._is_closing)
        except BaseException as error:  # noqa: BLE001 - raised again in every camera's thread
            self._error = error
            return
        finally:
            self._opened.set()
        try:
            while batch := self._next_batch(self._limit(self._runtime)):
                with self._turn(self._runtime, batch[0]):
                    self._infer(self._runtime, batch)
        finally:
            self.close()
            self._refuse()
            self._runtime.close()

    def _turn(self, runtime: Runtime, oldest: Request) -> AbstractContextManager[None]:
        if self._turns is None or runtime.device != "cpu":
            return nullcontext()
        return self._turns.turn(oldest.came_at)

    def _limit(self, runtime: Runtime) -> int:
        """How many frames at once: what the model was made for, if it was not said."""
        if self._max_batch is not None:
            return self._max_batch
        if not isinstance(runtime, StaticRuntime):
            return 1  # made when it was first needed, for one frame
        if runtime.manifest.batch is not None:
            return runtime.manifest.batch
        return 1 if runtime.device == "cpu" else LARGEST_BATCH_ON_GPU

    def _next_batch(self, limit: int) -> list[Request]:
        """The oldest waiting requests; none once it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closing or self._waiting)
            if self._waiting:
                due_in = self._waiting[0].came_at + self._batch_wait_seconds - time.monotonic()
                self._changed.wait_for(lambda: self._is_complete(limit), max(0.0, due_in))
            if self._is_closing:
                return []
            batch = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
            self._batches[len(batch)] += 1
            return batch

    def _is_complete(self, limit: int) -> bool:
        """Whether waiting longer would bring no more frames into the batch."""
        return self._is_closing or len(self._waiting) >= min(limit, max(1, self._cameras))

    def _refuse(self) -> None:
        with self._changed:
            refused = list(self._waiting)
            self._waiting.clear()
        for request in refused:
            request.error = Cancelled()
            request.done.set()

    def _infer(self, runtime: Runtime, batch: list[Request]) -> None:
        try:
            found = runtime.infer_many([request.canvas for request in batch])
        except Exception as error:  # noqa: BLE001 - raised again by those whom it concerns
            if len(batch) > 1:  # it may be one camera's frame: the others are not to suffer
                for request in batch:
                    self._infer(runtime, [request])
                return
            batch[0].error = error
        else:
            for request, one in zip(batch, found, strict=True):
                request.found, request.gpu_ms = one, runtime.gpu_ms
        for request in batch:
            request.done.set()
