"""torchvision's semantic segmentation (FCN, DeepLabV3, LRASPP) as it is, run by PyTorch."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import torch
from torch import nn

from models.class_map import from_probabilities
from models.detections import Detections
from models.errors import ModelError
from models.letterbox import Image, Letterbox
from models.runtimes.base import Canvas, Runtime
from models.runtimes.cpu import one_thread, torch_threads
from models.runtimes.heap import keep_freed_memory
from models.runtimes.torch_eager import pick_device
from models.zoo import LoadedModel, segmentation_names

USUAL_SIDE = 520  # px, what torchvision's were trained and scored with
LONGEST = 2  # times the shorter side: a longer frame is made smaller
# of ImageNet, which the backbones were trained on
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def is_semantic(loaded: LoadedModel) -> bool:
    """Whether a model tells what each pixel shows, and not where objects are."""
    return loaded.name in segmentation_names()


class Segmentation(Runtime):
    """What each place shows, in one forward pass.

    Args:
        loaded: a segmentation model, which gives (N,C,H,W) as ``out``.
        min_score: classes below, on average over their places, are left out.
        device: one of ``torch_eager.DEVICES``.
        canvas_side: px of the canvas's shorter side, None for ``USUAL_SIDE``.
        threads: how many to compute on; 0 for as many as PyTorch has by itself.

    Raises:
        UsageError: if the device is not here.
    """

    name, precision = "torch-eager", "fp32"

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
        self._model, self._min_score = loaded.module.eval(), min_score
        self._side = canvas_side or USUAL_SIDE
        keep_freed_memory()
        with one_thread():
            self._model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            self._mean = torch.tensor(MEAN, device=self.device)[:, None, None]
            self._deviation = torch.tensor(DEVIATION, device=self.device)[:, None, None]

    def preprocess(self, image: Image) -> Canvas:
        """An RGB array (h,w,3) uint8, the whole of which is the frame."""
        letterbox = Letterbox.by_sides(
            (image.shape[1], image.shape[0]), min_side=self._side, max_side=LONGEST * self._side
        )
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
            with self._on_threads(self.threads):
                pixels = torch.from_numpy(canvas.pixels).to(self.device).permute(2, 0, 1)
                given = (pixels.float().div_(255) - self._mean) / self._deviation
                values = self._model(given[None])["out"][0].softmax(dim=0)
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"{self.model_name} does not fit into the memory of {self.device}: give a smaller "
                "--canvas-side or a smaller --model."
            ) from error
        return from_probabilities(values.cpu().numpy(), self.class_names, min_score=self._min_score)

    def close(self) -> None:
        """Release the model's memory."""
        self._is_open, self._model = False, nn.Identity()
