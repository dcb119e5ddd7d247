"""torchvision detectors as they are, run by PyTorch without compilation."""

from __future__ import annotations

from contextlib import nullcontext
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from models.detections import Detections
from models.errors import ModelError, UsageError
from models.letterbox import Image
from models.runtimes.base import Canvas, Runtime
from models.runtimes.cpu import one_thread, torch_threads
from models.runtimes.heap import keep_freed_memory
from models.runtimes.lanes import exact_products
from models.runtimes.resize import Resize
from models.zoo import LoadedModel

DEVICES = ("auto", "cpu", "cuda", "mps")


def pick_device(name: str) -> str:
    """``auto`` becomes the fastest device that is here.

    Args:
        name: one of ``DEVICES``, or a GPU by its number, such as ``cuda:1``.

    Raises:
        UsageError: if the device asked for is not here.
    """
    here = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return next(device for device, present in here.items() if present)
    if not here.get(name.partition(":")[0], False):
        usable = " or ".join(device for device, present in here.items() if present)
        raise UsageError(f"There is no {name} device here: use --device {usable}.")
    if name.startswith("cuda:"):
        every = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
        if name not in every:
            raise UsageError(f"There is no {name} here: the last one is {every[-1]}.")
    return name


class _CanvasTransform(GeneralizedRCNNTransform):  # type: ignore[misc]  # torchvision has no types
    """Normalises and pads only: the frame comes resized, and the result stays in canvas px.

    torchvision's own would resize again, and paste every mask over the whole frame.
    """

    def resize(
        self, image: Tensor, target: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor] | None]:
        return image, target

    def postprocess(
        self,
        result: list[dict[str, Tensor]],
        image_shapes: list[tuple[int, int]],
        original_image_sizes: list[tuple[int, int]],
    ) -> list[dict[str, Tensor]]:
        return result


class TorchEager(Runtime):
    """A torchvision detection model, run eagerly.

    Args:
        loaded: the model.
        min_score: objects below are dropped before their masks are computed.
        device: one of ``DEVICES``.
        canvas_side: length in px of the canvas's shorter side, None for the model's own.
        threads: how many to compute on; 0 for as many as PyTorch has by itself.

    Raises:
        UsageError: if the device is not here, or the model's canvas has one size only.
    """

    name = "torch-eager"
    precision = "fp32"

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        min_score: float = 0.5,
        device: str = "auto",
        canvas_side: int | None = None,
        threads: int = 0,
    ) -> None:
        self.model_name, self.class_names = loaded.name, loaded.class_names
        self.device, self.threads = pick_device(device), threads or torch.get_num_threads()
        self._on_threads = torch_threads if threads else nullcontext
        self._model = loaded.module.eval()
        self._take_over_resize(canvas_side)
        # R-CNNs keep the threshold in their heads, single-stage detectors in the model itself
        getattr(self._model, "roi_heads", self._model).score_thresh = min_score
        keep_freed_memory()
        with one_thread():
            self._model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _take_over_resize(self, canvas_side: int | None) -> None:
        own = cast("GeneralizedRCNNTransform", self._model.transform)
        self._resize = Resize.of(own, canvas_side, self.model_name)
        self._model.transform = _CanvasTransform(
            own.min_size, own.max_size, own.image_mean, own.image_std, own.size_divisible
        )

    def preprocess(self, image: Image) -> Canvas:
        """An RGB array (h,w,3) uint8; it is ``infer`` that has PyTorch touch it."""
        letterbox = self._resize.letterbox((image.shape[1], image.shape[0]))
        return Canvas(np.ascontiguousarray(letterbox.resize(image)), letterbox)

    @torch.inference_mode()
    def infer(self, canvas: Canvas) -> Detections:
        """One forward pass; see ``Runtime.infer``.

        Raises:
            ModelError: if the device runs out of memory.
            RuntimeError: if it is closed.
        """
        self._check_open()
        try:
            # the number of boxes is another every time
            with exact_products(benchmark=False), self._on_threads(self.threads):
                pixels = torch.from_numpy(canvas.pixels).to(self.device)
                (found,) = self._model([pixels.permute(2, 0, 1).float().div_(255)])
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"{self.model_name} does not fit into the memory of {self.device}: give a smaller "
                "--canvas-side or a smaller --model."
            ) from error
        arrays = {name: value.float().cpu().numpy() for name, value in found.items()}
        masks, keypoints = arrays.get("masks"), arrays.get("keypoints")
        if keypoints is not None:  # torchvision's third value is always 1: put the score there
            keypoints = np.dstack([keypoints[..., :2], arrays["keypoints_scores"]])
        return Detections(
            boxes=arrays["boxes"],
            labels=arrays["labels"].astype(np.int64),
            scores=arrays["scores"],
            class_names=self.class_names,
            masks=None if masks is None else masks[:, 0],
            keypoints=keypoints,
        )

    def close(self) -> None:
        """Release the model's memory."""
        self._is_open, self._model = False, nn.Identity()
