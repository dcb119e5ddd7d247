"""Scalars and sample pictures for TensorBoard."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from models.data.samples import LabelledPictures, as_image
from models.runtimes.base import Runtime
from models.training.draws import Draw, DrawnSamples
from models.training.loop import StepReport
from models.training.pictures import draw_found, draw_sample

PICTURES = 4  # of each kind
SHOWN_SCORE = 0.5


class Board:
    """Writes one run's event files.

    Args:
        folder: where to; None writes nothing.
        done: steps that a resumed run has done; what is there of later ones is forgotten, as they
            will be done again.
    """

    def __init__(self, folder: Path | None, done: int = 0) -> None:
        self._writer = None
        if folder is not None:
            # TensorBoard forgets the step it is given, too
            self._writer = SummaryWriter(folder, purge_step=done + 1 if done else None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def step(self, report: StepReport) -> None:
        """The loss parts and the learning rate of one step."""
        scalars = {f"loss/{name}": value for name, value in report.losses.items()}
        self._scalars({**scalars, "lr": report.lr}, report.progress.total_steps)

    def scores(self, figures: dict[str, float], step: int) -> None:
        """What validation gave, by name."""
        self._scalars({f"validation/{name}": value for name, value in figures.items()}, step)

    def samples(self, samples: DrawnSamples) -> None:
        """What the detector is shown: the first pictures of epoch 0, augmented and labelled."""
        if self._writer is None:
            return
        for index in range(min(PICTURES, len(samples))):
            self._picture(f"training/{index}", draw_sample(*samples[Draw(0, index)]), 0)

    def found(self, runtime: Runtime, pictures: LabelledPictures, step: int) -> None:
        """What the detector finds in the first pictures of the validation part."""
        if self._writer is None:
            return
        for index in range(min(PICTURES, len(pictures))):
            picture, _ = pictures[index]
            found = runtime.detect(as_image(picture))
            drawn = draw_found(picture, found, min_score=SHOWN_SCORE)
            self._picture(f"validation/{index}", drawn, step)

    def _scalars(self, scalars: dict[str, float], step: int) -> None:
        if self._writer is not None:
            for name, value in scalars.items():
                self._writer.add_scalar(name, value, step)

    def _picture(self, name: str, picture: Tensor, step: int) -> None:
        if self._writer is not None:
            self._writer.add_image(name, picture, step)
