"""What every system of the lineage promises: it learns, is kept in a file, finds and takes time.

A system is a subclass of ``Lineage`` with all that it learns inside ``self.module`` (an SVM's
weights as buffers), named in ``models.lineage.systems.SYSTEMS``. That is all it needs for
``rcnn-live run --model NAME``, ``eval`` and a row in the report.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Self

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.checkpoint import Checkpoint
from models.data.samples import LabelledPictures
from models.detections import Detections
from models.errors import ModelError
from models.letterbox import Image

STEPS = ("proposals", "features", "heads", "nms")
LEAST_SCORE = 0.05  # nothing below is ever reported


class Stopwatch:
    """Milliseconds of one picture by step; a system fills it while it detects.

    Attributes:
        milliseconds: of each of ``STEPS``; 0 for a step that a system does not have.
    """

    def __init__(self) -> None:
        self.milliseconds = dict.fromkeys(STEPS, 0.0)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Adds the time of the block to ``name``, one of ``STEPS``."""
        began_at = time.perf_counter()
        try:
            yield
        finally:
            self.milliseconds[name] += (time.perf_counter() - began_at) * 1e3


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much a system may learn.

    Attributes:
        effort: 1 for the weights that come along; 0.1 is a tenth of the passes.
        seed: of new weights, of shuffling and sampling.
        cache: folder for what takes long and comes out the same every time, such as proposals and
            features; None to keep nothing.
        tell: told in a sentence how far it is.
    """

    effort: float = 1.0
    seed: int = 0
    cache: Path | None = None
    tell: Callable[[str], None] = lambda _: None

    def passes(self, usual: int) -> int:
        """So many of the ``usual`` passes over the data, at least one."""
        return max(1, round(usual * self.effort))


class Lineage(ABC):
    """One system.

    A subclass takes ``class_names`` and nothing that has no default, so that ``load`` can make it.

    Attributes:
        name: of ``rcnn-live run --model NAME``.
        class_names: name of each label, background first.
        module: all that it learns.
        min_score: objects below are left out.
        timings: of the last ``detect``.
    """

    name: ClassVar[str]
    module: nn.Module

    def __init__(self, class_names: tuple[str, ...]) -> None:
        self.class_names = class_names
        self.min_score = LEAST_SCORE
        self.timings = Stopwatch()

    @abstractmethod
    def train(self, pictures: LabelledPictures, budget: Budget) -> None:
        """Learn from scratch; the same pictures, budget and machine give the same weights.

        Args:
            pictures: of the classes in ``class_names``.
            budget: how much.

        Raises:
            UsageError: if a package is not here that it needs.
        """

    @abstractmethod
    def find(self, image: Image, clock: Stopwatch) -> Detections:
        """What is in a picture (H,W,3) uint8 RGB of any size, each step's time in ``clock``."""

    def detect(self, image: Image) -> Detections:
        """What is in a picture (H,W,3) uint8 RGB, in its px, highest score first.

        ``timings`` tells afterwards what took how long.
        """
        self.module.eval()
        clock = Stopwatch()
        with torch.inference_mode():
            found = self.find(image, clock)
        self.timings = clock
        return found

    def detections(
        self,
        boxes: Tensor,
        labels: Tensor,
        scores: Tensor,
        *,
        masks: Tensor | None = None,
        keypoints: Tensor | None = None,
    ) -> Detections:
        """Tensors as ``Detections``, sorted, those of a score below ``min_score`` left out.

        Args:
            boxes: (N,4) xyxy px.
            labels: (N,).
            scores: (N,).
            masks: (N,28,28) in 0..1 over each box.
            keypoints: (N,K,3) x px, y px, score.
        """
        order = scores.argsort(descending=True, stable=True)
        order = order[scores[order] >= self.min_score]
        return Detections(
            boxes=boxes[order].float().numpy(),
            labels=labels[order].long().numpy(),
            scores=scores[order].float().numpy(),
            class_names=self.class_names,
            masks=None if masks is None else masks[order].float().numpy(),
            keypoints=None if keypoints is None else keypoints[order].float().numpy(),
        )

    def save(self, path: Path, known: Mapping[str, str] = MappingProxyType({})) -> None:
        """Write all that was learned as fp16 safetensors, with the names of the classes.

        Args:
            path: the file; folders are made.
            known: what else the file is to say of itself.
        """
        state = {
            name: value.half().contiguous() if value.is_floating_point() else value
            for name, value in self.module.state_dict().items()
            if not name.endswith("num_batches_tracked")
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        metadata = {"classes": json.dumps(self.class_names), "system": self.name, **known}
        save_file(state, path, metadata)

    @classmethod
    def load(cls, path: Path) -> Self:
        """A system out of what ``save`` wrote.

        Raises:
            UsageError: if there is no such file.
            ModelError: if it holds no weights, or those of another system.
        """
        checkpoint = Checkpoint.read(path)
        if checkpoint.class_names is None:
            raise ModelError(f"{path} does not name its classes: train {cls.name} again.")
        system = cls(checkpoint.class_names)
        state = {name: value.float() for name, value in checkpoint.state.items()}
        Checkpoint(path, state, None).load_into(system.module, cls.name)
        system.module.eval()
        return system
