"""What scripts/gpu_acceptance measures: models, the frames they see, and torchvision's own."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from models import zoo
from models.arithmetic import count_gflops
from models.batch_norm import freeze_batch_norm
from models.detections import Detections
from models.letterbox import Image
from models.zoo import LoadedModel

RANDOM = "maskrcnn_resnet50_fpn"
OBJECTS = 20  # of an average frame, where random weights leave it to us
_CLASSES = 91
_PICTURE = Path(zoo.__file__).parent / "weights" / "mask_rcnn_person.jpg"
_CUT_AWAY = 0.1  # of its sides, at most


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A model and what it is measured on.

    Attributes:
        loaded: the model, on the CPU.
        weights: ``trained`` or ``random``.
        canvas: (height, width) px.
        frames: (H,W,3) uint8 RGB of the canvas's size.
        min_score: that objects have.
    """

    loaded: LoadedModel
    weights: str
    canvas: tuple[int, int]
    frames: list[Image]
    min_score: float

    def gflops(self, objects: float) -> float:
        """Of a frame with so many objects."""
        height, width = self.canvas
        work = count_gflops(self.loaded.module, (width, height))
        return work.total + objects * work.mask


def subject(name: str, canvas: tuple[int, int], device: str, frame_count: int) -> Subject:
    """A model by its name: trained where its weights are here, otherwise with random ones."""
    frames = frames_of(canvas, frame_count)
    if name == zoo.EMBEDDED:
        loaded = zoo.load(name)
        _leave_as_they_are(loaded.module, canvas)
        return Subject(loaded, "trained", canvas, frames, 0.5)
    torch.manual_seed(0)
    module = zoo.build(name, num_classes=_CLASSES).eval()
    _leave_as_they_are(module, canvas)
    _settle(module, frames[0])
    loaded = LoadedModel(name, module, tuple(map(str, range(_CLASSES))))
    eager = Eager(Subject(loaded, "random", canvas, frames, 0.0), device)
    best = [found.scores[:OBJECTS].min(initial=1.0) for found in map(eager.detect, frames[:4])]
    return Subject(loaded, "random", canvas, frames, float(np.mean(best)))


def _leave_as_they_are(module: nn.Module, canvas: tuple[int, int]) -> None:
    """Have torchvision resize no frames: they are as large as the canvas."""
    module.transform.min_size, module.transform.max_size = (min(canvas),), max(canvas)


def _settle(module: nn.Module, frame: Image) -> None:
    """Have normalisation fit the random weights, or numbers grow with each layer beyond fp16.

    It is frozen then, as in the models that torchvision has weights for.
    """
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    with torch.inference_mode(False), torch.no_grad():
        module.backbone(module.transform([_as_input(frame, "cpu")])[0].tensors)
    module.eval()
    freeze_batch_norm(module, eps=norms[0].eps if norms else 0.0)


def frames_of(canvas: tuple[int, int], count: int) -> list[Image]:
    """Frames of the demo; where its packages are missing, of one photograph that moves."""
    height, width = canvas
    try:
        from stream.sources.demo import FRAME_COUNT, DemoPicture
    except ImportError:
        pictures = _moving(count)
    else:
        demo = DemoPicture()
        pictures = [demo.draw(k * FRAME_COUNT // count) for k in range(count)]
    return [cv2.resize(each, (width, height), interpolation=cv2.INTER_AREA) for each in pictures]


def _moving(count: int) -> list[Image]:
    picture = cv2.cvtColor(cv2.imread(str(_PICTURE)), cv2.COLOR_BGR2RGB)
    height, width = picture.shape[:2]
    inside_y, inside_x = (round((1 - _CUT_AWAY) * side) for side in (height, width))
    starts = zip(
        np.linspace(0, height - inside_y, count).astype(int),
        np.linspace(width - inside_x, 0, count).astype(int),
        strict=True,
    )
    return [picture[y : y + inside_y, x : x + inside_x] for y, x in starts]


class Eager:
    """torchvision's own model as its users run it: from RGB pictures to ROI masks, on the host.

    torchvision would go on to paste every mask over the whole frame, which is not counted.

    Args:
        subject: the model; a copy of it is used.
        device: where to compute.
        autocast: whether in fp16 where PyTorch thinks it is enough.
        is_exact: whether in fp32 without TF32, which is PyTorch's default for convolutions.
    """

    def __init__(
        self, subject: Subject, device: str, *, autocast: bool = False, is_exact: bool = False
    ) -> None:
        self._subject, self._device = subject, device
        self._autocast, self._is_exact = autocast, is_exact
        self._model = copy.deepcopy(subject.loaded.module).eval()
        self._model.roi_heads.score_thresh = subject.min_score
        self._model.transform.postprocess = lambda result, *_: result
        self._model.to(device)

    @torch.inference_mode()
    def __call__(self, frames: list[Image]) -> list[dict[str, Tensor]]:
        """What is found in each frame, on the host."""
        with (
            # as PyTorch has it by itself, whatever runtimes have set
            torch.backends.cudnn.flags(
                enabled=True, benchmark=False, deterministic=False, allow_tf32=not self._is_exact
            ),
            self._casting(),
        ):
            found = self._model([_as_input(frame, self._device) for frame in frames])
        return [{name: value.float().cpu() for name, value in each.items()} for each in found]

    def detect(self, frame: Image) -> Detections:
        """The same as objects, in canvas px."""
        (found,) = self([frame])
        return Detections(
            boxes=found["boxes"].numpy(),
            labels=found["labels"].numpy().astype(np.int64),
            scores=found["scores"].numpy(),
            class_names=self._subject.loaded.class_names,
            masks=found["masks"][:, 0].numpy() if "masks" in found else None,
        )

    def _casting(self) -> AbstractContextManager[object]:
        return torch.autocast("cuda", torch.float16) if self._autocast else nullcontext()


def _as_input(frame: Image, device: str) -> Tensor:
    return torch.from_numpy(frame).to(device).permute(2, 0, 1).float() / 255
