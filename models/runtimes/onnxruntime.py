"""Static graphs in ONNX Runtime: on every processor, and on NVIDIA's GPUs by its providers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from google.protobuf.message import DecodeError
from onnxruntime.capi import onnxruntime_pybind11_state

from models.deploy.manifest import (
    DETAILS,
    DETECTOR_OUTPUTS,
    KEPT_LABELS,
    KEPT_UNDER,
    METADATA,
    PIXELS,
    UNDER,
    Manifest,
)
from models.detections import Floats, Labels
from models.errors import ModelError, UsageError
from models.letterbox import Image
from models.planes import YuvPlanes
from models.runtimes.base import Canvas
from models.runtimes.cpu import usable_cores
from models.runtimes.gpu import Gpu, find_gpu
from models.runtimes.gpu_canvas import on_device
from models.runtimes.onnxruntime_gpu import (
    PROVIDERS,
    check_device,
    check_placement,
    engines_folder,
    provider_options,
)
from models.runtimes.onnxruntime_session import open_session
from models.runtimes.onnxruntime_whole import WholeOnGpu
from models.runtimes.static import Padded, StaticRuntime, check_file, whole

ERRORS: tuple[type[Exception], ...] = (
    ValueError,  # of onnx
    *(  # of ONNX Runtime, without a base of their own
        kind
        for kind in vars(onnxruntime_pybind11_state).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    ),
)
_LOGERRORS_ONLY = 3


class OnnxRuntime(StaticRuntime):
    """An exported .onnx file, run by one of ONNX Runtime's providers.

    On a GPU, frames go to a whole export as they were decoded and are laid out there, copies of one
    batch overlap with another, and with a fixed number of pictures the kernels are replayed as a
    CUDA graph.

    Args:
        path: the file.
        min_score: objects have a higher one; masks of the others are not computed.
        precision: that of the export, or ``auto``, which is the same: ONNX Runtime computes as the
            file says. (On a CPU without fp16 it widens fp16 to fp32 by itself.)
        threads: how many to compute on; 0 for all cores.
        device: one of ``PROVIDERS``, or a GPU's by its number, such as ``cuda:1``.
        engines: folder where TensorRT keeps what it takes minutes to build; None for the user's
            cache.

    Attributes:
        cuda_graph: whether kernels are replayed.

    Raises:
        UsageError: if there is no such file, or this ONNX Runtime has no such device.
        ModelError: if the file is damaged or no export, the device's provider cannot be loaded, or
            leaves part of the graph to the CPU.
    """

    name = "onnxruntime"
    cuda_graph = False

    def __init__(
        self,
        path: Path,
        *,
        min_score: float = 0.5,
        precision: str = "auto",
        threads: int = 0,
        device: str = "cpu",
        engines: Path | None = None,
    ) -> None:
        kind, _, number = device.partition(":")
        check_device(kind)
        check_file(path)
        model = _read(path)
        manifest = Manifest.from_json(_manifest_text(model), str(path))
        super().__init__(manifest, min_score=min_score)
        if precision not in ("auto", manifest.precision):
            raise UsageError(
                f"This export is {manifest.precision}, and ONNX Runtime computes as the file says: "
                f"leave out --precision {precision}, or export it again with it."
            )
        self.threads = threads or usable_cores()
        self._gpu: Gpu | None = None
        self.device = "cpu"
        if kind != "cpu":
            self._gpu = find_gpu(f"cuda:{number}" if number else "cuda", "This ONNX Runtime")
            self.device = self._gpu.device
        if kind == "tensorrt":
            self.name = "onnxruntime-tensorrt"
        self._on_gpu: WholeOnGpu | None = None
        try:
            detector, details = _parts(model, manifest)
            kept = engines_folder(path, engines) if kind == "tensorrt" else None
            self._detector: Any = None
            if self._gpu is not None and manifest.form == "whole":
                self._on_gpu = self._opened_whole(detector, kind, kept, self._gpu)
            else:
                self._detector = self._session(detector, kind, kept)
            self._second = None if details is None else self._session(details, kind)
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"{path} does not fit into the memory of {self.device}: end what else uses it, or "
                "export it for a smaller --canvas."
            ) from error
        except ERRORS as error:
            reason = "it is damaged or no export; export it again."
            if kind != "cpu":  # which fails for reasons of its own
                reason = f"{PROVIDERS[kind][0]} says: {str(error).strip().splitlines()[0]}"
            unsupported = isinstance(error, onnxruntime_pybind11_state.NotImplemented)
            if unsupported and manifest.precision == "bf16":
                other = "openvino" if kind == "cpu" else "onnxruntime-tensorrt"
                reason = f"it computes in bf16 by TensorRT alone; use --runtime {other}."
            raise ModelError(f"{path} cannot be run by ONNX Runtime: {reason}") from error
        if self._second is not None:
            self.detail_shape = tuple(self._second.get_outputs()[0].shape[1:])

    def _opened_whole(
        self, model: onnx.ModelProto, kind: str, engines: Path | None, gpu: Gpu
    ) -> WholeOnGpu:
        """A whole graph, its kernels recorded where they can be."""

        def opened(*, cuda_graph: bool) -> WholeOnGpu:
            return WholeOnGpu(
                gpu,
                self.manifest,
                lambda stream: self._session(
                    model, kind, engines, cuda_graph=cuda_graph, stream=stream.cuda_stream
                ),
            )

        if self.manifest.batch is not None:
            with contextlib.suppress(*ERRORS):  # what is really wrong is wrong without, too
                found = opened(cuda_graph=True)
                self.cuda_graph = True
                return found
        return opened(cuda_graph=False)

    def _session(
        self,
        model: onnx.ModelProto,
        kind: str,
        engines: Path | None = None,
        *,
        cuda_graph: bool = False,
        stream: int | None = None,
    ) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.enable_mem_pattern = True
        options.log_severity_level = _LOGERRORS_ONLY
        # the other session's threads would otherwise still wait for work when this one computes
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        providers = provider_options(
            kind,
            self.manifest,
            cuda_graph=cuda_graph,
            engines=engines,
            number=self._number,
            stream=stream,
        )
        session = open_session(model.SerializeToString(), options, providers, kind)
        check_placement(session, model, PROVIDERS[kind][0])
        return session

    @property
    def _number(self) -> int:
        """Of the GPU; 0 on a CPU."""
        return 0 if self._gpu is None else self._gpu.number

    def preprocess(self, image: Image) -> Canvas:
        return self.preprocess_decoded(image, None)

    def preprocess_decoded(self, image: Image, planes: YuvPlanes | None) -> Canvas:
        """With a whole export on a GPU, the picture is copied there as it came and laid out."""
        if self._on_gpu is None:
            return super().preprocess(image)
        return on_device(image, planes, self.manifest, self._on_gpu.way.entry)

    def _detect_all(self, batches: Iterable[Sequence[Any]]) -> Iterator[Padded]:
        if self._on_gpu is None:
            yield from super()._detect_all(batches)
            return
        for found, gpu_ms in self._on_gpu.run(batches):
            self.gpu_ms = gpu_ms
            yield whole(found)

    def _detect(self, pixels: Image) -> Padded:
        if self._on_gpu is not None:
            return next(self._detect_all([list(pixels)]))
        binding = self._detector.io_binding()
        binding.bind_cpu_input(PIXELS, pixels)
        for name in self.manifest.outputs:
            if name == UNDER and self._gpu is not None:  # where the second graph takes it from
                binding.bind_output(name, "cuda", self._number)
            else:
                binding.bind_output(name, "cpu")
        self._detector.run_with_iobinding(binding)
        found = dict(zip(self.manifest.outputs, binding.get_outputs(), strict=True))
        if UNDER not in found:
            return whole({name: value.numpy() for name, value in found.items()})
        boxes, scores, labels, counts = (found[name].numpy() for name in DETECTOR_OUTPUTS)
        return Padded(boxes, scores, labels, counts, found[UNDER])

    def _details(self, under: Any, kept: Sequence[int], labels: Labels) -> Floats:
        """One picture after the other: its rows lie together, so they are taken where they are."""
        _, rows, *shape = under.shape()
        picture_bytes = rows * int(np.prod(shape)) * np.dtype(np.float32).itemsize
        found, start = [], 0
        for number, count in enumerate(kept):
            if count:
                address = under.data_ptr() + number * picture_bytes
                found.append(self._of_rows(address, [count, *shape], labels[start : start + count]))
                start += count
        return np.concatenate(found)

    def _of_rows(self, address: int, shape: list[int], labels: Labels) -> Floats:
        assert self._second is not None
        binding = self._second.io_binding()
        kind = "cpu" if self._gpu is None else "cuda"
        binding.bind_input(KEPT_UNDER, kind, self._number, np.float32, shape, address)
        if self.manifest.kind == "masks":
            binding.bind_cpu_input(KEPT_LABELS, labels)
        binding.bind_output(DETAILS)
        self._second.run_with_iobinding(binding)
        found: Floats = binding.copy_outputs_to_cpu()[0]
        return found

    def _release(self) -> None:
        if self._on_gpu is not None:
            self._on_gpu.close()
            self._on_gpu = None
        self._detector = self._second = None


def _read(path: Path) -> onnx.ModelProto:
    try:
        return onnx.load(path)
    except (DecodeError, ValueError) as error:
        raise ModelError(
            f"{path} cannot be read: it is damaged or no ONNX model; export it again."
        ) from error


def _manifest_text(model: onnx.ModelProto) -> str:
    return next((note.value for note in model.metadata_props if note.key == METADATA), "")


def _parts(
    model: onnx.ModelProto, manifest: Manifest
) -> tuple[onnx.ModelProto, onnx.ModelProto | None]:
    """The two graphs of a file, or the one of a whole one."""
    extractor = onnx.utils.Extractor(model)
    inputs = {port.name for port in model.graph.input}
    detector = extractor.extract_model([PIXELS], list(manifest.outputs))
    if UNDER not in manifest.outputs:
        return detector, None
    taken = [name for name in (KEPT_UNDER, KEPT_LABELS) if name in inputs]
    return detector, extractor.extract_model(taken, [DETAILS])
