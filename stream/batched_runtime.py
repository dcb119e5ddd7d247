"""A camera's view of the model that it shares with others."""

from __future__ import annotations

import threading
from collections.abc import Callable

from models.detections import Detections
from models.letterbox import Image
from models.planes import YuvPlanes
from models.runtimes.base import Canvas, Runtime
from stream.batcher import Batcher
from stream.model_pool import ModelPool, ModelSpec, Size
from stream.sources.base import SourceInfo
from stream.stages import Preprocess


class BatchedRuntime(Runtime):
    """A camera's view of the model that it shares. The pipeline of the camera closes it.

    Args:
        pool: where the model comes from.
        spec: which one.
        is_stopping: whether the camera is to stop; nothing waits for a model that is not ready.

    Raises:
        RcnnLiveError: if there is no such model or it cannot be run as asked.
    """

    name, device, precision = "auto", "auto", "auto"

    def __init__(self, pool: ModelPool, spec: ModelSpec, is_stopping: Callable[[], bool]) -> None:
        self.model_name, self.class_names = spec.model, pool.class_names(spec, is_stopping)
        self._pool, self._spec, self._is_stopping = pool, spec, is_stopping
        self._joining = threading.Lock()  # preprocess and infer are called by different threads
        self._batcher: Batcher | None = None

    def warm_up(self, frame_size: Size) -> None:
        """Join the other cameras and wait until the model is ready.

        Raises:
            Cancelled: if the camera is to stop before.
        """
        runtime = self._joined(frame_size).runtime(self._is_stopping)
        self.model_name, self.name, self.device = runtime.model_name, runtime.name, runtime.device
        self.precision, self.threads = runtime.precision, runtime.threads

    def preprocess(self, image: Image) -> Canvas:
        return self.preprocess_decoded(image, None)

    def preprocess_decoded(self, image: Image, planes: YuvPlanes | None) -> Canvas:
        batcher = self._joined((image.shape[1], image.shape[0]))
        return batcher.runtime(self._is_stopping).preprocess_decoded(image, planes)

    def infer(self, canvas: Canvas) -> Detections:
        assert self._batcher is not None, "preprocess comes first"
        found, self.gpu_ms = self._batcher.infer(canvas)
        return found

    def postprocess(self, found: Detections, canvas: Canvas) -> Detections:
        assert self._batcher is not None, "preprocess comes first"
        return self._batcher.runtime(self._is_stopping).postprocess(found, canvas)

    def close(self) -> None:
        """Leave the model to the other cameras."""
        with self._joining:
            if self._batcher is not None and self._is_open:
                self._pool.leave(self._batcher)
            self._is_open = False

    def _joined(self, frame_size: Size) -> Batcher:
        with self._joining:
            self._check_open()
            if self._batcher is None:
                self._batcher = self._pool.join(self._spec, frame_size, self._is_stopping)
            return self._batcher


class PreprocessWhenReady(Preprocess):
    """Takes no frame before the model is there, so that a stop finds none in its hands."""

    def __init__(self, runtime: BatchedRuntime) -> None:
        super().__init__(runtime)
        self._shared = runtime

    def open(self, info: SourceInfo) -> None:
        self._shared.warm_up((info.width, info.height))
