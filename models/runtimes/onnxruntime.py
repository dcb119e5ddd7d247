"""Static graphs in ONNX Runtime: on every processor, and on NVIDIA's GPUs by its providers."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
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
    WHOLE_DETAILS,
    Manifest,
)
from models.detections import Floats, Labels
from models.errors import ModelError, UsageError
from models.letterbox import Image
from models.paths import CACHE_VARIABLE, cache_folder
from models.runtimes.cpu import usable_cores
from models.runtimes.onnxruntime_gpu import (
    PROVIDERS,
    FixedMemory,
    blank,
    check_device,
    check_placement,
    provider_options,
)
from models.runtimes.static import Padded, StaticRuntime, check_file

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

    On a GPU, a whole export's tensors have a fixed place, and with a fixed number of pictures its
    kernels are replayed as a CUDA graph.

    Args:
        path: the file.
        min_score: objects have a higher one; masks of the others are not computed.
        precision: that of the export, or ``auto``, which is the same: ONNX Runtime computes as the
            file says. (On a CPU without fp16 it widens fp16 to fp32 by itself.)
        threads: how many to compute on; 0 for all cores.
        device: one of ``PROVIDERS``.
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
        check_device(device)
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
        self.device = "cpu" if device == "cpu" else "cuda"
        if device == "tensorrt":
            self.name = "onnxruntime-tensorrt"
        self._memory: dict[int, FixedMemory] = {}  # by the number of pictures
        try:
            detector, details = _parts(model, manifest)
            kept = _engines_of(path, engines) if device == "tensorrt" else None
            self._detector = self._opened(detector, device, kept)
            self._second = None if details is None else self._session(details, device)
        except ERRORS as error:
            reason = "it is damaged or no export; export it again."
            if device == "cpu" and manifest.precision == "bf16":
                reason = "it has bf16 on GPUs alone; use --runtime openvino."
            if device != "cpu":  # which fails for reasons of its own
                reason = f"{PROVIDERS[device][0]} says: {str(error).strip().splitlines()[0]}"
            raise ModelError(f"{path} cannot be run by ONNX Runtime: {reason}") from error
        if self._second is not None:
            self.detail_shape = tuple(self._second.get_outputs()[0].shape[1:])

    def _opened(
        self, model: onnx.ModelProto, device: str, engines: Path | None
    ) -> ort.InferenceSession:
        """The first graph, its kernels recorded where they can be."""
        if device != "cpu" and self.manifest.form == "whole" and self.manifest.batch is not None:
            with contextlib.suppress(*ERRORS):  # what is really wrong is wrong without, too
                session = self._session(model, device, engines, cuda_graph=True)
                memory = FixedMemory(session, self.manifest.batch, self.device)
                memory.run(blank(self.manifest))
                self._memory[self.manifest.batch] = memory
                self.cuda_graph = True
                return session
        return self._session(model, device, engines)

    def _session(
        self,
        model: onnx.ModelProto,
        device: str,
        engines: Path | None = None,
        *,
        cuda_graph: bool = False,
    ) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.enable_mem_pattern = True
        options.log_severity_level = _LOGERRORS_ONLY
        # the other session's threads would otherwise still wait for work when this one computes
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        session = ort.InferenceSession(
            model.SerializeToString(),
            sess_options=options,
            providers=provider_options(
                device, self.manifest, cuda_graph=cuda_graph, engines=engines
            ),
            enable_fallback=0,  # or it prints what went wrong, and goes on with another provider
        )
        wanted = PROVIDERS[device][0]
        if wanted not in session.get_providers():
            raise ModelError(
                f"ONNX Runtime cannot load {wanted}: its libraries (CUDA, cuDNN, TensorRT) are "
                "missing or of another version; use --device cpu."
            )
        check_placement(session, model, wanted)
        return session

    def _detect(self, pixels: Image) -> Padded:
        if self.device != "cpu" and self.manifest.form == "whole":
            return self._detect_in_place(pixels)
        binding = self._detector.io_binding()
        binding.bind_cpu_input(PIXELS, pixels)
        for name in self.manifest.outputs:
            # where the second graph takes it from
            binding.bind_output(name, self.device if name == UNDER else "cpu")
        self._detector.run_with_iobinding(binding)
        outputs = binding.get_outputs()
        boxes, scores, labels, counts = (
            value.numpy() for value in outputs[: len(DETECTOR_OUTPUTS)]
        )
        if self.manifest.outputs[-1] == WHOLE_DETAILS:
            return Padded(boxes, scores, labels, counts, details=outputs[-1].numpy())
        return Padded(boxes, scores, labels, counts, outputs[-1])

    def _detect_in_place(self, pixels: Image) -> Padded:
        count = len(pixels)
        if count not in self._memory:
            self._memory[count] = FixedMemory(self._detector, count, self.device)
        found = self._memory[count].run(pixels)
        boxes, scores, labels, counts = (found[name] for name in DETECTOR_OUTPUTS)
        return Padded(boxes, scores, labels, counts, details=found.get(WHOLE_DETAILS))

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
        binding.bind_input(KEPT_UNDER, self.device, 0, np.float32, shape, address)
        if self.manifest.kind == "masks":
            binding.bind_cpu_input(KEPT_LABELS, labels)
        binding.bind_output(DETAILS)
        self._second.run_with_iobinding(binding)
        found: Floats = binding.copy_outputs_to_cpu()[0]
        return found

    def _release(self) -> None:
        self._memory.clear()
        self._detector = self._second = None


def _engines_of(path: Path, engines: Path | None) -> Path:
    """The folder of one file: TensorRT's provider would take the engine of other weights for it."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    folder = (engines or cache_folder() / "onnxruntime-tensorrt") / digest[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{CACHE_VARIABLE} {folder} takes no files: {error.strerror or error}."
        ) from error
    return folder


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
