"""TensorRT engines: one whole graph for one GPU, as a CUDA graph, copies beside it."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorrt as trt
import torch

from models.deploy.manifest import (
    PIXELS,
    WHOLE_DETAILS,
    EngineFacts,
    Manifest,
    side_file,
)
from models.detections import Floats, Labels
from models.errors import ModelError, UsageError
from models.letterbox import Image
from models.planes import YuvPlanes
from models.runtimes.base import Canvas
from models.runtimes.gpu import Gpu, find_gpu
from models.runtimes.gpu_canvas import on_device
from models.runtimes.overlap import Launch, Overlap, Part
from models.runtimes.static import Padded, StaticRuntime, check_file, whole
from models.runtimes.tensorrt_package import VERSION, Log, load_plugins

_log = logging.getLogger(__name__)


class TensorRt(StaticRuntime):
    """An engine that ``rcnn-live export --to tensorrt`` built on this GPU.

    Frames are copied to the GPU as they were decoded and laid out there. ``infer_many`` overlaps:
    while one batch is computed, the next one is copied in and the one before is copied back.

    Args:
        path: the .engine; its manifest lies beside it.
        min_score: objects have a higher one.
        precision: that of the engine, or ``auto``, which is the same.
        threads: of no use here: the GPU computes.
        device: ``auto``, ``cuda``, or one by its number.

    Raises:
        UsageError: if there is no such file or no such GPU, or it is asked for another precision.
        ModelError: if the engine is damaged, or was built for another GPU or TensorRT.
    """

    name = "tensorrt"

    def __init__(
        self,
        path: Path,
        *,
        min_score: float = 0.5,
        precision: str = "auto",
        threads: int = 0,
        device: str = "auto",
    ) -> None:
        check_file(path)
        manifest, facts = _described(path)
        super().__init__(manifest, min_score=min_score)
        if precision not in ("auto", manifest.precision):
            raise UsageError(
                f"This engine is {manifest.precision}: leave out --precision {precision}, or build "
                "another one with it."
            )
        self._gpu = find_gpu(device, "TensorRT")
        self.device = self._gpu.device
        self._fewest, _, self._most = facts.batch
        self._log = Log()
        content = _checked(path, manifest, facts, self._gpu)
        with self._gpu.selected():
            self._load(path, content)
        self._try_out()

    def _load(self, path: Path, content: bytes) -> None:
        load_plugins(self._log)
        self._runtime: Any = trt.Runtime(self._log)
        engine: trt.ICudaEngine = self._runtime.deserialize_cuda_engine(content)
        if engine is None:
            raise ModelError(f"TensorRT cannot load {path}: {self._log.reason()}.")
        self._engine: Any = engine
        wanted = (PIXELS, *self.manifest.outputs)
        sizes = {name: tuple(engine.get_tensor_shape(name))[1:] for name in wanted}
        if sizes[PIXELS] != (*self.manifest.canvas, 3):
            height, width = self.manifest.canvas
            raise ModelError(
                f"{path} takes pictures of {sizes[PIXELS]} and its manifest says {height}x{width} "
                f"px: {_again(self.manifest)}."
            )
        self.detail_shape = sizes.get(WHOLE_DETAILS, (0,))[1:]
        layout = {
            name: (size, _torch_type(engine.get_tensor_dtype(name))) for name, size in sizes.items()
        }
        gpu = self._gpu
        gpu = self._gpu
        try:
            self._way = Overlap(
                gpu, layout, fewest=self._fewest, most=self._most, computing=gpu.stream()
            )
            # of all contexts: there is one for each graph, and they run one after the other
            self._scratch = gpu.memory((engine.device_memory_size_v2,), torch.uint8)
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"{path} does not fit into the memory of {gpu.name}: end what else uses it, or "
                "build the engine for a smaller --batch."
            ) from error

    def _try_out(self) -> None:
        """One batch, so that what cannot be run here is known before the first frame."""
        self._detect(np.zeros((self._fewest, *self.manifest.canvas, 3), np.uint8))
        self.gpu_ms = None

    def preprocess(self, image: Image) -> Canvas:
        return self.preprocess_decoded(image, None)

    def preprocess_decoded(self, image: Image, planes: YuvPlanes | None) -> Canvas:
        """The picture is copied to the GPU as it came and laid out there."""
        return on_device(image, planes, self.manifest, self._way.entry)

    def _batch_size(self, waiting: int) -> int:
        return max(1, min(waiting, self._most))

    def _detect_all(self, batches: Iterable[Sequence[Any]]) -> Iterator[Padded]:
        for found, gpu_ms in self._way.run(batches, self._prepared):
            self.gpu_ms = gpu_ms
            yield whole(found)

    def _detect(self, pixels: Image) -> Padded:
        return next(self._detect_all([list(pixels)]))

    def _prepared(self, part: Part, size: int) -> Launch:
        """The engine for so many pictures in that memory, as a CUDA graph.

        A graph keeps addresses and the state of its context, so each has a context of its own.
        """
        context: trt.IExecutionContext = self._engine.create_execution_context(
            trt.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        if context is None:
            raise ModelError(f"TensorRT cannot run {self.model_name}: {self._log.reason()}.")
        context.set_device_memory(self._scratch.data_ptr(), self._scratch.nbytes)
        stream: int = self._way.computing.cuda_stream
        is_ready = context.set_input_shape(PIXELS, (size, *self.manifest.canvas, 3))
        for name, memory in part.device.items():
            is_ready &= context.set_tensor_address(name, memory.data_ptr())

        def compute() -> None:
            if not is_ready or not context.execute_async_v3(stream):
                raise ModelError(
                    f"TensorRT cannot run {self.model_name} on {size} pictures: "
                    f"{self._log.reason()}."
                )

        compute()  # what is left to be prepared for a new size must not be part of the graph
        self._way.computing.synchronize()
        try:
            return self._gpu.captured(compute, self._way.computing)
        except (RuntimeError, ModelError) as error:
            _log.warning("%s runs without a CUDA graph, which is slower: %s", self.name, error)
            return compute

    def _details(self, under: Any, kept: Sequence[int], labels: Labels) -> Floats:
        raise AssertionError("the engine gives them with the boxes")

    def _release(self) -> None:
        self._way.close()  # graphs and their contexts first
        self._scratch = torch.empty(0)
        self._engine = self._runtime = None
        self._gpu.give_back()


def _torch_type(dtype: trt.DataType) -> torch.dtype:
    return torch.from_numpy(np.empty(0, trt.nptype(dtype))).dtype


def _described(path: Path) -> tuple[Manifest, EngineFacts]:
    """What lies beside an engine."""
    beside = side_file(path)
    try:
        described = json.loads(beside.read_text(encoding="utf-8"))
        described.pop("proof", None)
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(
            f"{beside} is missing or damaged, which says what {path.name} was built for: bring it "
            "along, or build the engine again with 'rcnn-live export … --to tensorrt'."
        ) from error
    manifest = Manifest.from_json(json.dumps(described), str(beside))
    if manifest.engine is None:
        raise ModelError(
            f"{beside} describes no TensorRT engine but another export: {_again(manifest)}."
        )
    return manifest, manifest.engine


def _checked(path: Path, manifest: Manifest, facts: EngineFacts, gpu: Gpu) -> bytes:
    """The engine's content, if it may run here: TensorRT crashes on some that may not."""
    for what, built, here in (
        ("on the GPU", facts.gpu, gpu.name),
        ("for compute capability", facts.capability, gpu.capability),
        ("by TensorRT", facts.tensorrt, VERSION),
    ):
        if built != here:
            raise ModelError(
                f"{path} was built {what} {built}, and here it is {here}: {_again(manifest)}."
            )
    content = path.read_bytes()
    if len(content) != facts.size_bytes:
        raise ModelError(
            f"{path} has {len(content)} bytes where {facts.size_bytes} were built, so it is not "
            f"whole: {_again(manifest)}."
        )
    if hashlib.sha256(content).hexdigest() != facts.sha256:
        raise ModelError(
            f"{path} is not what was built, by its SHA-256: it is damaged, or its .json belongs to "
            f"another one; {_again(manifest)}."
        )
    return content


def _again(manifest: Manifest) -> str:
    """How to build an engine like it."""
    height, width = manifest.canvas
    batch = manifest.engine.batch if manifest.engine else (1, 1, 1)
    return (
        f"build it again with 'rcnn-live export {manifest.model} --to tensorrt --canvas "
        f"{height}x{width} --precision {manifest.precision} --batch {':'.join(map(str, batch))}'"
    )
