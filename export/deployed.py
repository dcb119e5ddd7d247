"""Which runtime a model gets; and models that are exported once the first frame's size is known."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN

from export.choose import EAGER, Notice, Wish, device_for, open_chosen
from models import zoo
from models.detections import Detections
from models.errors import UsageError
from models.letterbox import Image
from models.lineage.runtime import open_system
from models.lineage.systems import SYSTEMS
from models.planes import YuvPlanes
from models.runtimes.base import Canvas, Runtime
from models.runtimes.cpu import one_thread
from models.runtimes.exported import SUFFIXES
from models.runtimes.files import open_file
from models.runtimes.resize import Resize
from models.runtimes.segmentation import Segmentation, is_semantic
from models.runtimes.static import fitted
from models.runtimes.torch_eager import TorchEager
from models.zoo import LoadedModel


def open_runtime(
    model: str,
    weights: Path | None = None,
    *,
    runtime: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    threads: int = 0,
    min_score: float = 0.5,
    canvas_side: int | None = None,
    notice: Notice = lambda _: None,
) -> Runtime:
    """A model in the runtime that was asked for, or in the fastest that works here.

    Args:
        model: a name in the zoo or the lineage, or an exported file.
        weights: a local file for a model that has a name.
        runtime: one of ``models.options.RUNTIMES``.
        device: where to compute.
        precision: of the arithmetic, or ``auto``.
        threads: how many to compute on; 0 for all cores.
        min_score: objects below are dropped before their masks are computed.
        canvas_side: length in px of the canvas's shorter side, None for the model's own.
        notice: told which runtime was chosen and why, and what takes long.

    Raises:
        RcnnLiveError: if there is no such model or it cannot be run as asked.
    """
    if Path(model).suffix.lower() in SUFFIXES:
        if weights is not None or canvas_side is not None:
            raise UsageError(
                f"{model} has its weights and its canvas inside: leave out --weights and "
                "--canvas-side."
            )
        return open_file(
            Path(model),
            runtime=runtime,
            device=device,
            min_score=min_score,
            precision=precision,
            threads=threads,
            notice=notice,
        )
    if model in SYSTEMS:
        return open_system(
            model,
            weights,
            runtime=runtime,
            device=device,
            precision=precision,
            min_score=min_score,
            canvas_side=canvas_side,
        )
    with one_thread():
        loaded = zoo.load(model, weights)
    place = device_for(runtime, device)
    reason = _why_eager(loaded, runtime, place)
    if reason is None:
        return Deployed(
            loaded,
            weights,
            runtime=runtime,
            device=place,
            min_score=min_score,
            canvas_side=canvas_side,
            precision=precision,
            threads=threads,
            notice=notice,
        )
    if precision not in ("auto", "fp32"):
        raise UsageError(f"{reason}: it computes in fp32; leave out --precision {precision}.")
    if runtime == "auto":
        notice(f"{reason}.")
    eager = Segmentation if is_semantic(loaded) else TorchEager
    return eager(
        loaded, min_score=min_score, device=place, canvas_side=canvas_side, threads=threads
    )


def _why_eager(loaded: LoadedModel, runtime: str, device: str) -> str | None:
    """Why a model runs in PyTorch eager, None if it does not."""
    if runtime == EAGER:
        return "This is PyTorch eager"
    if not isinstance(loaded.module, GeneralizedRCNN):
        reason = f"{loaded.name} runs in PyTorch eager: only R-CNNs have a static graph"
    elif device == "mps":
        reason = f"{loaded.name} runs in PyTorch eager: it is the only runtime on {device} so far"
    else:
        return None
    if runtime != "auto":
        raise UsageError(f"{reason}; leave out --runtime {runtime}.")
    return reason


class Deployed(Runtime):
    """Any R-CNN of the zoo, as a static graph of the size that torchvision would give the frames.

    The first frame decides; frames of other sizes are fitted into its canvas. The export is made
    once and kept in the user's cache.

    Args:
        loaded: the model.
        weights: the file they were read from, if they were.
        runtime: name of one, or ``auto``.
        device: where to compute, of ``choose.device_for``.
        min_score: objects below are dropped before their masks are computed.
        canvas_side: length in px of the canvas's shorter side, None for the model's own.
        precision: of the arithmetic, or ``auto``.
        threads: how many to compute on; 0 for all cores.
        notice: told in a sentence what takes long, what failed, and which runtime was chosen.
    """

    name, precision = "auto", "auto"

    def __init__(
        self,
        loaded: LoadedModel,
        weights: Path | None = None,
        *,
        runtime: str = "auto",
        device: str = "cpu",
        min_score: float = 0.5,
        canvas_side: int | None = None,
        precision: str = "auto",
        threads: int = 0,
        notice: Notice = lambda _: None,
    ) -> None:
        self.model_name, self.class_names = loaded.name, loaded.class_names
        self.device = device
        self._loaded: LoadedModel | None = loaded
        self._weights, self._min_score, self._notice = weights, min_score, notice
        transform: Any = loaded.module.transform
        self._resize = Resize.of(transform, canvas_side, loaded.name)
        self._padding = tuple(round(255 * part) for part in transform.image_mean)
        self._canvas_side, self._name = canvas_side, runtime
        self._precision, self._threads = precision, threads
        self._canvas: tuple[int, int] | None = None  # (height, width) px
        self._opening = threading.Lock()  # preprocess and infer are called by different threads
        self._runtime: Runtime | None = None

    def preprocess(self, image: Image) -> Canvas:
        return self.preprocess_decoded(image, None)

    def preprocess_decoded(self, image: Image, planes: YuvPlanes | None) -> Canvas:
        canvas = self._canvas_of((image.shape[1], image.shape[0]))
        if self.device == "cpu":
            # the runtime is opened by ``infer``: PyTorch's threads belong to the one that computes
            return fitted(image, canvas, self._padding)
        return self._opened().preprocess_decoded(image, planes)

    def infer(self, canvas: Canvas) -> Detections:
        return self.infer_many([canvas])[0]

    def infer_many(self, canvases: Sequence[Canvas]) -> list[Detections]:
        runtime = self._opened()
        found = runtime.infer_many(canvases)
        self.gpu_ms = runtime.gpu_ms
        return found

    def _canvas_of(self, frame_size: tuple[int, int]) -> tuple[int, int]:
        with self._opening:
            if self._canvas is None:
                width, height = self._resize.letterbox(frame_size).resized_size
                self._canvas = height, width
            return self._canvas

    def _opened(self) -> Runtime:
        with self._opening:
            self._check_open()
            if self._runtime is None:
                assert self._loaded is not None
                self._runtime = runtime = self._open(self._loaded)
                self._loaded = None  # its memory is no longer needed
                self.name, self.device, self.threads = runtime.name, runtime.device, runtime.threads
                self.precision = runtime.precision
            return self._runtime

    def _open(self, loaded: LoadedModel) -> Runtime:
        assert self._canvas is not None
        wish = Wish(
            loaded=loaded,
            weights=self._weights,
            canvas=self._canvas,
            canvas_side=self._canvas_side,
            min_score=self._min_score,
            precision=self._precision,
            device=self.device,
            threads=self._threads,
            notice=self._notice,
        )
        return open_chosen(wish, self._name)

    def close(self) -> None:
        """Release the model. Legal any number of times."""
        with self._opening:
            self._is_open, self._loaded = False, None
            if self._runtime is not None:
                self._runtime.close()
