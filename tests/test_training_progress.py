"""The bar, and TensorBoard's part of what is shown."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_case import small_set

from models.data.augment import augmentation
from models.training.board import Board
from models.training.draws import DrawnSamples
from models.training.loop import Progress, StepReport
from models.training.progress import TrainingView


def report(total_steps: int) -> StepReport:
    return StepReport(Progress(0, total_steps, total_steps), {"total": 1.0}, 0.1, updated=True)


@pytest.mark.parametrize("first_step", [0, 40])
def test_the_time_left_is_known_however_slow_a_step_is(first_step: int) -> None:
    seconds = [0.0]
    console = Console(
        file=io.StringIO(),
        force_terminal=True,
        color_system=None,
        width=120,
        get_time=lambda: seconds[0],
    )
    view = TrainingView(console, epochs=1, steps_per_epoch=50, first_step=first_step)
    for step in range(1, 6):
        seconds[0] += 60
        view.step(report(first_step + step))
    left = 50 - first_step - 5
    console.print(view._bar.get_renderable())
    assert isinstance(console.file, io.StringIO)
    assert f"eta 0:{left:02}:00" in console.file.getvalue()  # a minute a step


def test_without_a_folder_no_samples_are_drawn(tmp_path: Path) -> None:
    samples = small_set(tmp_path)
    for index in range(len(samples)):
        samples.path(index).unlink()
    with Board(None) as board:
        board.samples(DrawnSamples(samples, augmentation("standard"), seed=0))


@pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard")
def test_a_resumed_run_forgets_only_what_comes_after_it(tmp_path: Path) -> None:
    with Board(tmp_path) as board:
        for step in (4, 8):
            board.scores({"box AP": step / 10}, step)
    with Board(tmp_path, done=4) as board:
        board.scores({"box AP": 0.9}, 8)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    points = [(point.step, point.value) for point in events.Scalars("validation/box AP")]
    assert points == [(4, pytest.approx(0.4)), (8, pytest.approx(0.9))]
