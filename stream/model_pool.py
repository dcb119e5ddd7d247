"""The models of all cameras: one for each name and canvas, closed with its last camera."""

from __future__ import annotations

import difflib
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np

from export.deployed import open_runtime
from models.runtimes.base import Runtime
from models.runtimes.static import StaticRuntime
from stream.batcher import POLL_SECONDS, Batcher, BatcherStatistics, Cancelled
from stream.config import CameraOptions
from stream.errors import UsageError
from stream.turns import Turns

Notice = Callable[[str], None]
Size = tuple[int, int]
IsStopping = Callable[[], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """All that makes two cameras share a model, but for the canvas. See ``CameraOptions``."""

    model: str
    weights: Path | None
    runtime: str
    device: str
    precision: str
    threads: int
    score: float
    canvas: Size | None
    canvas_side: int | None

    @classmethod
    def of(cls, options: CameraOptions) -> ModelSpec:
        """What a camera asks for."""
        fields = {name: getattr(options, name) for name in cls.__slots__}
        return cls(**(fields | {"score": options.scene().model_score(options.score)}))

    def open(self, notice: Notice) -> Runtime:
        """The model, loaded; unless a canvas was asked for, its first frame decides on it.

        Raises:
            RcnnLiveError: if there is no such model or it cannot be run as asked.
        """
        if self.canvas is None:
            return self._open(self.canvas_side, notice)
        # A model makes its canvas of a shorter side, unless the longer one would get too long: then
        # it takes a second try with as much more
        side = float(min(self.canvas))
        for _ in range(2):
            runtime = self._open(math.ceil(side), notice)
            height, width = canvas = canvas_for(runtime, (self.canvas[1], self.canvas[0]))
            if canvas == self.canvas:
                return runtime
            runtime.close()
            side *= max(self.canvas[0] / height, self.canvas[1] / width)
        raise UsageError(
            f"{self.model} makes a canvas of {height}x{width} px of the one that was asked for: "
            "give that one, or 'canvas_side'."
        )

    def _open(self, canvas_side: int | None, notice: Notice) -> Runtime:
        return open_runtime(
            self.model,
            self.weights,
            runtime=self.runtime,
            device=self.device,
            precision=self.precision,
            threads=self.threads,
            min_score=self.score,
            canvas_side=canvas_side,
            notice=notice,
        )


class ModelPool:
    """Gives every camera the batcher of its model. Safe to use from any thread.

    Models are loaded and made ready one after the other: at once they would only take each other's
    memory and cores.

    Args:
        max_batch: of every batcher.
        batch_wait_ms: of every batcher.
        notice: told in a sentence what takes long, and which runtime was chosen.
    """

    def __init__(self, *, max_batch: int | None, batch_wait_ms: float, notice: Notice) -> None:
        self._max_batch, self._batch_wait_ms, self._notice = max_batch, batch_wait_ms, notice
        self._turns = Turns()
        self._loading = threading.Lock()
        self._class_names: dict[ModelSpec, tuple[str, ...]] = {}
        self._loaded: dict[ModelSpec, Runtime] = {}  # whose canvas is not decided yet
        self._canvases: dict[tuple[ModelSpec, Size], Size] = {}  # by frame size
        self._lock = threading.Lock()
        self._batchers: dict[tuple[ModelSpec, Size], Batcher] = {}
        self._ending: list[Batcher] = []

    def configure(self, max_batch: int | None, batch_wait_ms: float) -> None:
        """For batchers to come."""
        self._max_batch, self._batch_wait_ms = max_batch, batch_wait_ms

    def class_names(self, spec: ModelSpec, is_stopping: IsStopping) -> tuple[str, ...]:
        """Name of each label. The first call loads the model, which takes seconds.

        Raises:
            RcnnLiveError: if there is no such model or it cannot be run as asked.
            Cancelled: once ``is_stopping``, if other models are still being loaded.
        """
        with self._turn(is_stopping):
            if spec not in self._class_names:
                self._loaded[spec] = runtime = spec.open(self._notice)
                self._class_names[spec] = runtime.class_names
            return self._class_names[spec]

    def join(self, spec: ModelSpec, frame_size: Size, is_stopping: IsStopping) -> Batcher:
        """The batcher for a camera's frames of (width, height) px; ``leave`` it.

        Raises:
            RcnnLiveError: as ``class_names``.
            Cancelled: as ``class_names``.
        """
        with self._turn(is_stopping):
            key = spec, self._canvas(spec, frame_size)
            with self._lock:
                batcher = self._batchers.get(key)
                if batcher is None or batcher.has_failed:
                    runtime = self._loaded.pop(spec, None)
                    opening = partial(self._ready, runtime, spec, frame_size)
                    batcher = self._batchers[key] = self._batcher(opening, *key)
                batcher.join_camera()
                return batcher

    def leave(self, batcher: Batcher) -> None:
        """A camera has ended: the last one takes the model with it."""
        with self._lock:
            if batcher.leave_camera() == 0:
                batcher.close()
                self._batchers = {
                    key: kept for key, kept in self._batchers.items() if kept is not batcher
                }
                self._ending = [one for one in self._ending if not one.join(0)] + [batcher]

    def statistics(self) -> list[BatcherStatistics]:
        """Of each model in use."""
        with self._lock:
            return [batcher.statistics() for batcher in self._batchers.values()]

    def close(self, timeout_seconds: float) -> list[str]:
        """End everything; the names of threads that did not end in time."""
        until = time.monotonic() + timeout_seconds
        with self._lock:
            ending = [*self._ending, *self._batchers.values()]
            self._batchers, self._ending = {}, []
        for batcher in ending:
            batcher.close()
        left = [
            batcher.thread_name
            for batcher in ending
            if not batcher.join(max(0.0, until - time.monotonic()))
        ]
        if self._loading.acquire(timeout=max(0.1, until - time.monotonic())):
            for runtime in self._loaded.values():
                runtime.close()
            self._loaded.clear()
            self._loading.release()
        return left

    @contextmanager
    def _turn(self, is_stopping: IsStopping) -> Iterator[None]:
        """Only one thread at a time loads models, and none waits for that longer than it has to."""
        while not self._loading.acquire(timeout=POLL_SECONDS):
            if is_stopping():
                raise Cancelled
        try:
            yield
        finally:
            self._loading.release()

    def _canvas(self, spec: ModelSpec, frame_size: Size) -> Size:
        """(height, width) px of the canvas that the model gives such frames."""
        key = spec, _first_size(spec, frame_size)
        if key not in self._canvases:
            runtime = self._loaded.pop(spec, None) or spec.open(self._notice)
            self._canvases[key] = canvas_for(runtime, key[1])
            if (spec, self._canvases[key]) in self._batchers:
                runtime.close()  # it was loaded only to find that out
            else:
                self._loaded[spec] = runtime
        return self._canvases[key]

    def _batcher(
        self, opening: Callable[[IsStopping], Runtime], spec: ModelSpec, canvas: Size
    ) -> Batcher:
        name = self._unused_name(f"{Path(spec.model).name} {canvas[0]}x{canvas[1]}")
        batcher = Batcher(
            opening,
            name,
            max_batch=self._max_batch,
            batch_wait_ms=self._batch_wait_ms,
            turns=None if spec.threads else self._turns,  # who divides the cores has a plan
        )
        batcher.start()
        return batcher

    def _unused_name(self, name: str) -> str:
        """With a number, if a model of other settings has that name."""
        taken = {batcher.model for batcher in self._batchers.values()}
        names = (name if number == 1 else f"{name} #{number}" for number in count(1))
        return next(one for one in names if one not in taken)

    def _ready(
        self, runtime: Runtime | None, spec: ModelSpec, frame_size: Size, is_stopping: IsStopping
    ) -> Runtime:
        """On the batcher's thread: the runtime, warm."""
        with self._turn(is_stopping):
            runtime = runtime or spec.open(self._notice)
            runtime.warm_up(_first_size(spec, frame_size))
            return runtime


def check_classes(model: str, classes: Sequence[str], class_names: Sequence[str]) -> None:
    """Refuse classes that a model does not know.

    Raises:
        UsageError: with what may have been meant.
    """
    for name in classes:
        if name not in class_names:
            close = difflib.get_close_matches(name, class_names) or class_names[1:9]
            raise UsageError(f"{model} has no class {name!r}: did you mean {' or '.join(close)}?")


def _first_size(spec: ModelSpec, frame_size: Size) -> Size:
    """(width, height) px of the frame that decides the canvas."""
    return frame_size if spec.canvas is None else (spec.canvas[1], spec.canvas[0])


def canvas_for(runtime: Runtime, frame_size: Size) -> Size:
    """(height, width) px; the runtime keeps it from now on."""
    if isinstance(runtime, StaticRuntime):
        return runtime.manifest.canvas
    grey = np.full((*frame_size[::-1], 3), 128, np.uint8)
    width, height = runtime.preprocess(grey).letterbox.resized_size
    return height, width
