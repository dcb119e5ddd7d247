"""Static graphs in PyTorch: as they are, compiled, or from an exported .pt2 file."""

from __future__ import annotations

import copy
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

from models.deploy.graph import static_graph
from models.deploy.manifest import Manifest
from models.detections import ROI_MASK_SIDE, Detections, Floats, Labels
from models.errors import ModelError, UsageError
from models.letterbox import Image
from models.planes import YuvPlanes
from models.runtimes.base import Canvas
from models.runtimes.cpu import one_thread, torch_threads, usable_cores
from models.runtimes.gpu_canvas import OnDevice, on_device
from models.runtimes.gpu_steps import GpuSteps
from models.runtimes.heap import keep_freed_memory
from models.runtimes.lanes import lane_on
from models.runtimes.pt2 import DETAILS, DETECTOR, read_pt2
from models.runtimes.static import Padded, StaticRuntime, check_file
from models.runtimes.torch_eager import pick_device
from models.runtimes.torch_half import DTYPES, in_half
from models.zoo import LoadedModel

PRECISIONS = ("fp32", *DTYPES)


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """One under way.

    Attributes:
        outputs: boxes, scores, labels, count, and a whole graph's details, on the host.
        under: on the device, what the second graph of a split form takes.
        steps: that the device was given.
    """

    outputs: list[Tensor]
    under: Tensor | None
    steps: GpuSteps | None


class TorchStatic(StaticRuntime):
    """A static graph, run by PyTorch; see ``of_model`` and ``of_file``.

    On an NVIDIA GPU, batches are copied in while others are computed, the kernels of a whole batch
    are handed over as one CUDA graph, and pictures are resized there.

    Args:
        manifest: what the graphs are.
        detector: the first graph, or the whole one.
        details: the second one of a split form, if there is one.
        min_score: objects have a higher one; masks of the others are not computed.
        device: one of ``torch_eager.DEVICES``, or a GPU by its number.
        threads: how many to compute on; 0 for all cores.
        compiled: by ``torch.compile``, which takes a minute and a C++ compiler.

    Raises:
        UsageError: if the device is not here.
        ModelError: if the graph cannot be compiled here, or does not fit into the GPU's memory.
    """

    def __init__(
        self,
        manifest: Manifest,
        detector: nn.Module,
        details: nn.Module | None,
        *,
        min_score: float = 0.5,
        device: str = "cpu",
        threads: int = 0,
        compiled: bool = False,
    ) -> None:
        super().__init__(manifest, min_score=min_score)
        self.name = "torch-compiled" if compiled else "torch"
        self.device = pick_device(device)
        self.threads = threads or usable_cores()
        self._lane = lane_on(self.device)
        keep_freed_memory()
        try:
            self._detector: Any = self._placed(detector)
            self._second: Any = None if details is None else self._placed(details)
        except torch.OutOfMemoryError as error:
            raise self._too_large() from error
        if manifest.kind == "masks":
            self.detail_shape = (ROI_MASK_SIDE, ROI_MASK_SIDE)
        if compiled or self._lane.is_cuda or manifest.kind == "keypoints":
            self.detail_shape = self._tried(compiled=compiled).shape[1:]

    @classmethod
    def of_model(
        cls,
        loaded: LoadedModel,
        canvas: tuple[int, int],
        *,
        min_score: float = 0.5,
        precision: str = "fp32",
        device: str = "cpu",
        **settings: Any,
    ) -> Self:
        """Of a model in memory, whose weights it shares on a CPU unless they become fp16 or bf16.

        On an NVIDIA GPU it is one graph: a fixed number of masks costs less there than to wait
        until it is known how many there are.

        Args:
            loaded: an R-CNN.
            canvas: (height, width) px of the frames.
            min_score: see the class.
            precision: of the products, one of ``PRECISIONS``, the rest being fp32; ``auto`` is
                fp16 on an NVIDIA GPU, else fp32.
            device: see the class.
            settings: ``threads`` and ``compiled``, as for the class.

        Raises:
            UsageError: if the device does not compute in that precision.
            ModelError: if it is no R-CNN, or its weights are too large for the precision.
        """
        device = pick_device(device)
        precision = _precision_on(device, precision)
        with one_thread():
            graph = static_graph(loaded.module, canvas)
            if precision != "fp32":
                graph = in_half(graph, precision)
        graph.detector.boxes.min_score = min_score
        is_whole = lane_on(device).is_cuda
        manifest = Manifest(
            model=loaded.name,
            kind=graph.kind,
            class_names=loaded.class_names,
            canvas=canvas,
            batch=None,
            precision=precision,
            min_score=min_score,
            max_detections=graph.detector.boxes.count,
            padding_rgb=graph.padding_rgb,
            weights_sha256="",
            versions={},
            form="whole" if is_whole else "split",
        )
        first, second = (graph.whole, None) if is_whole else (graph.detector, graph.details)
        if is_whole or device != "cpu":  # what moves there takes shared weights along
            first, second = copy.deepcopy((first, second))
        return cls(manifest, first, second, min_score=min_score, device=device, **settings)

    @classmethod
    def of_file(cls, path: Path, *, precision: str = "auto", **settings: Any) -> Self:
        """Of an exported .pt2 file.

        Args:
            path: the file.
            precision: ``fp32``, or ``auto``, which is the same here.
            settings: ``min_score``, ``device``, ``threads`` and ``compiled``, as for the class.

        Raises:
            UsageError: if there is no such file, or another precision is asked for.
            ModelError: if the file is damaged or no export.
        """
        check_file(path)
        if precision not in ("auto", "fp32"):
            raise UsageError(
                f"PyTorch computes exports in fp32: leave out --precision {precision}."
            )
        manifest, modules = read_pt2(path, pick_device(settings.get("device", "cpu")))
        return cls(manifest, modules[DETECTOR], modules.get(DETAILS), **settings)

    def preprocess(self, image: Image) -> Canvas:
        return self.preprocess_decoded(image, None)

    def preprocess_decoded(self, image: Image, planes: YuvPlanes | None) -> Canvas:
        """On a GPU, the picture is copied there as it came and laid out there."""
        if not self._lane.is_cuda:
            return super().preprocess(image)
        return on_device(image, planes, self.manifest, self._lane)

    def infer_many(self, canvases: Sequence[Canvas]) -> list[Detections]:
        try:
            return super().infer_many(canvases)
        except torch.OutOfMemoryError as error:
            raise self._too_large() from error

    def _too_large(self) -> ModelError:
        return ModelError(
            f"{self.model_name} does not fit into the memory of {self.device}: give a smaller "
            "--canvas-side or a smaller --model."
        )

    def _placed(self, module: nn.Module) -> nn.Module:
        with one_thread():
            if self._lane.is_cuda:  # the layout of its fast convolutions
                module = module.to(memory_format=torch.channels_last)
            return module.to(self.device)

    def _tried(self, *, compiled: bool) -> Floats:
        """``_blank_details``, and with it all that the first frame would have to wait for."""
        if compiled:
            # on a GPU, once for each number of pictures
            dynamic = False if self._lane.is_cuda else None
            self._detector = torch.compile(self._detector, fullgraph=True, dynamic=dynamic)
            self._second = self._second and torch.compile(
                self._second, fullgraph=True, dynamic=True
            )
        try:
            with warnings.catch_warnings(action="ignore"):  # of deprecations inside of torch
                return self._blank_details()
        except torch.OutOfMemoryError as error:
            raise self._too_large() from error
        except (TorchDynamoException, RuntimeError) as error:
            where = f"run on {self.device}; use another --runtime."
            if compiled:
                where = "compiled here, which takes a C++ compiler; use --runtime torch."
            reason = str(error).strip().splitlines()[0]
            raise ModelError(
                f"{self.model_name} cannot be {where} PyTorch says: {reason}"
            ) from error

    def _blank_details(self) -> Floats:
        """All graphs run once; details of two rows, if there are any."""
        blank = np.zeros((*self.manifest.canvas, 3), np.uint8)
        padded = self._detect(np.stack([blank] * (self.manifest.batch or 1)))
        if padded.details is not None:
            return padded.details[0, :2]
        if self._second is None:
            return np.zeros((2, 0), np.float32)
        return self._details(padded.under, [2], np.ones(2, np.int64))

    @property
    def _is_split(self) -> bool:
        return self._second is not None

    def _batch_size(self, waiting: int) -> int:
        """On a GPU a power of two, as each size has a graph of its own, which takes a while."""
        size = super()._batch_size(waiting)
        if self.manifest.batch is not None or not self._lane.is_cuda:
            return size
        return int(1 << (size.bit_length() - 1))

    def _detect_all(self, batches: Iterable[Any]) -> Iterator[Padded]:
        running: deque[_Batch] = deque()
        # the second graph of a split form reads where the first one will write again
        in_flight = 1 if self._is_split else self._lane.in_flight
        for rows in batches:
            running.append(self._launched(rows))
            if len(running) == in_flight:
                yield self._finished(running.popleft())
        while running:
            yield self._finished(running.popleft())

    def _detect(self, pixels: Image) -> Padded:
        return self._finished(self._launched(list(pixels)))

    @torch.inference_mode()
    def _launched(self, rows: Sequence[Image | OnDevice]) -> _Batch:
        """Hand a batch over; on a GPU this does not wait for it."""
        lane, steps = self._lane, self._lane.new_steps()
        with torch_threads(self.threads):
            with lane.copying_in(steps):
                pixels = self._stacked(rows, steps)
            with lane.computing(steps):
                found = lane.run(self._detector, pixels)
            with lane.copying_out(steps):
                outputs = lane.download(found[:4] if self._is_split else found)
        return _Batch(outputs, found[4] if self._is_split else None, steps)

    def _stacked(self, rows: Sequence[Image | OnDevice], steps: GpuSteps | None) -> Tensor:
        """(N,H,W,3) uint8 on the device; what they took until now is counted in."""
        host = [row for row in rows if not isinstance(row, OnDevice)]
        uploaded = iter(self._lane.upload(host) if host else ())
        pixels = [row.pixels if isinstance(row, OnDevice) else next(uploaded) for row in rows]
        # each once: those that only fill up a batch are one and the same
        for row in dict.fromkeys(row for row in rows if isinstance(row, OnDevice)):
            if row.steps is not None and steps is not None:
                steps.add(row.steps)
        return pixels[0][None] if len(pixels) == 1 else torch.stack(pixels)

    def _finished(self, batch: _Batch) -> Padded:
        if batch.steps is not None:
            batch.steps.wait()
            self.gpu_ms = batch.steps.milliseconds()
        boxes, scores, labels, counts, *details = (part.numpy() for part in batch.outputs)
        return Padded(
            boxes, scores, labels, counts, batch.under, details=details[0] if details else None
        )

    @torch.inference_mode()
    def _details(self, under: Any, kept: Sequence[int], labels: Labels) -> Floats:
        chosen = torch.cat([under[number, :count] for number, count in enumerate(kept)])
        given: list[Tensor] = [chosen]
        if self.manifest.kind == "masks":
            given.append(torch.from_numpy(labels).to(self.device))
        with torch_threads(self.threads):
            found: Floats = self._second(*given).cpu().numpy()
        return found

    def _release(self) -> None:
        self._detector = self._second = nn.Identity()
        self._lane.close()


def _precision_on(device: str, asked: str) -> str:
    """What to compute in; refuses what the device does not."""
    is_cuda = device.startswith("cuda")
    if asked == "auto":
        return "fp16" if is_cuda else "fp32"
    here = PRECISIONS if is_cuda else {"cpu": ("fp32", "bf16")}.get(device, ("fp32",))
    if asked not in here:
        raise UsageError(
            f"PyTorch computes in {' or '.join(here)} on {device} here: leave out --precision "
            f"{asked}."
        )
    return asked
