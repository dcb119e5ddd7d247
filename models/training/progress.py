"""What training looks like in a terminal: a bar with the losses, and a line for each epoch."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from models.training.loop import StepReport

SMOOTHING = 0.9  # of the losses on the bar
SPEED_SECONDS = 600  # by which the time left is judged: a step, or a validation, may take minutes
SHORT_NAMES = {
    "loss_classifier": "class",
    "loss_box_reg": "box",
    "loss_mask": "mask",
    "loss_keypoint": "keypoints",
    "loss_objectness": "rpn class",
    "loss_rpn_box_reg": "rpn box",
}


class TrainingView:
    """A bar on a terminal, and everywhere a line an epoch.

    Args:
        console: where to write.
        epochs: how many there are.
        steps_per_epoch: batches of one.
        first_step: where a resumed run begins.

    Attributes:
        sums: of each loss part over the steps of this epoch, and ``steps``: how many.
    """

    def __init__(
        self, console: Console, *, epochs: int, steps_per_epoch: int, first_step: int = 0
    ) -> None:
        self._console, self._epochs, self._steps = console, epochs, steps_per_epoch
        self._smooth: dict[str, float] = {}
        self.sums: dict[str, float] = {}
        self._began = time.monotonic()
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[losses]}"),
            TimeElapsedColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            speed_estimate_period=SPEED_SECONDS,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(
            "", total=epochs * steps_per_epoch, completed=first_step, epoch="", losses=""
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def step(self, report: StepReport) -> None:
        """Show one step's losses."""
        for name, value in report.losses.items():
            old = self._smooth.get(name, value)
            self._smooth[name] = SMOOTHING * old + (1 - SMOOTHING) * value
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.sums["steps"] = self.sums.get("steps", 0.0) + 1
        self._bar.update(
            self._task,
            completed=report.progress.total_steps,
            epoch=f"{report.progress.epoch + 1}/{self._epochs}",
            losses=_losses(self._smooth),
        )

    def epoch(self, number: int, figures: dict[str, float]) -> None:
        """Write one epoch's line: mean losses, what validation gave, time."""
        steps = self.sums.pop("steps", 1.0)
        means = {name: value / steps for name, value in self.sums.items()}
        self.sums = {}
        scores = "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
        line = f"epoch {number}/{self._epochs}  {_losses(means)}"
        line += f"  |  {scores}" if scores else ""
        minutes, seconds = divmod(round(time.monotonic() - self._began), 60)
        self._console.print(f"{line}  |  {minutes}:{seconds:02}", highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """Write a line above the bar."""
        self._console.print(text, highlight=False, soft_wrap=True)


def _losses(losses: dict[str, float]) -> str:
    parts = [
        f"{SHORT_NAMES.get(name, name)} {value:.3f}"
        for name, value in losses.items()
        if name != "total"
    ]
    return f"loss {losses.get('total', 0):.3f} ({', '.join(parts)})"
