"""A detector and a set small enough to be trained within a test."""

from __future__ import annotations

from pathlib import Path

import torch
from labelled import SIZE, make_penn_fudan
from torchvision.models.detection import MaskRCNN

from models.compact import mask_rcnn_person
from models.data.augment import augmentation
from models.data.penn_fudan import PennFudan
from models.data.samples import LabelledPictures
from models.training.loop import StepReport, Trainer
from models.training.processes import Processes
from models.training.settings import TrainSettings

LOSSES = {
    "loss_classifier",
    "loss_box_reg",
    "loss_mask",
    "loss_objectness",
    "loss_rpn_box_reg",
    "total",
}

SMALL = ("--canvas-side", 96, "--epochs", 2, "--batch-size", 2, "--workers", 0, "--device", "cpu")


def left(folder: Path) -> set[str]:
    """Names of what is in a folder."""
    return {path.name for path in folder.iterdir()}


def losses_in(text: str) -> list[float]:
    """The total loss of each epoch that a line tells of."""
    lines = [line for line in text.splitlines() if "loss " in line]
    return [float(line.split("loss ")[1].split()[0]) for line in lines]


def small_model() -> MaskRCNN:
    """The compact model with random weights, at the size of ``labelled``'s pictures."""
    torch.manual_seed(0)
    model = mask_rcnn_person()
    model.transform.min_size, model.transform.max_size = (SIZE[1],), SIZE[0]
    model.roi_heads.fg_bg_sampler.batch_size_per_image = 16
    return model


def small_set(folder: Path, count: int = 4) -> PennFudan:
    """Penn-Fudan in miniature."""
    return PennFudan.open(make_penn_fudan(folder / "PennFudanPed", count))


def trainer_of(
    samples: LabelledPictures, *, processes: Processes | None = None, **settings: object
) -> Trainer:
    """A trainer of a new small model, reading in its own process."""
    return Trainer(
        small_model(),
        samples,
        augmentation("standard"),
        TrainSettings(**{"epochs": 2, "batch_size": 2, **settings}),  # type: ignore[arg-type]
        processes or Processes(),
        workers=0,
    )


def run(trainer: Trainer, *, steps: int | None = None) -> list[StepReport]:
    """Train to the end, or stop after so many steps of the whole run; every step's report."""
    reports: list[StepReport] = []
    trainer.run(
        on_step=reports.append,
        on_epoch=lambda _: None,
        stop=lambda: steps is not None and trainer.progress.total_steps >= steps,
    )
    return reports
