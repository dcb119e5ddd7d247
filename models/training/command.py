"""``rcnn-live train``: fine-tune an R-CNN on labelled pictures."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from models.errors import UsageError
from models.options import FILE, device_option
from models.training.settings import AUGMENTATIONS, OPTIMIZERS, PRECISIONS, SCHEDULES, TrainSettings

if TYPE_CHECKING:  # torch takes seconds to import: --help and usage errors should not wait for it
    from models.training.session import TrainOutcome

EXIT_INTERRUPTED = 130
STOPPING = b"Stopping after this update, to save; Ctrl-C again stops at once.\n"
DEFAULTS = TrainSettings()


@click.command("train")
@click.argument("data", type=FILE)
@click.option(
    "--model",
    default="mask_rcnn_person",
    show_default=True,
    help="Any R-CNN of 'rcnn-live models'.",
)
@click.option(
    "-o", "--output", type=FILE, help="Folder for all that is left [default: runs/MODEL-DATA]."
)
@click.option("--resume", is_flag=True, help="Go on with the run in --output; same options.")
@click.option("--images", type=FILE, help="Folder of the pictures, where DATA does not say.")
@click.option(
    "--validation-count",
    type=click.IntRange(0),
    metavar="N",
    help="Pictures to hold out [default: DATA's own part, or a quarter].",
)
@click.option("--weights", type=FILE, help="Local file to start from, instead of the model's own.")
@click.option(
    "--from-scratch", is_flag=True, help="Start from random weights, all layers trainable."
)
@click.option(
    "--epochs",
    type=click.IntRange(1),
    default=DEFAULTS.epochs,
    show_default=True,
    help="Passes over the pictures.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    default=DEFAULTS.batch_size,
    show_default=True,
    help="Pictures a step and process.",
)
@click.option(
    "--accumulate",
    type=click.IntRange(1),
    default=DEFAULTS.accumulate,
    show_default=True,
    help="Steps an update.",
)
@click.option(
    "--optimizer", type=click.Choice(OPTIMIZERS), default=DEFAULTS.optimizer, show_default=True
)
@click.option(
    "--lr",
    type=click.FloatRange(0, min_open=True),
    default=DEFAULTS.lr,
    show_default=True,
    help="Peak learning rate.",
)
@click.option(
    "--body-lr-factor",
    type=click.FloatRange(0),
    default=DEFAULTS.body_lr_factor,
    show_default=True,
    help="The backbone's share of it.",
)
@click.option(
    "--weight-decay", type=click.FloatRange(0), default=DEFAULTS.weight_decay, show_default=True
)
@click.option(
    "--schedule", type=click.Choice(SCHEDULES), default=DEFAULTS.schedule, show_default=True
)
@click.option(
    "--warm-up",
    type=click.FloatRange(0, 1),
    default=DEFAULTS.warm_up,
    show_default=True,
    help="Share of all updates.",
)
@click.option(
    "--max-gradient-norm",
    type=click.FloatRange(0, min_open=True),
    default=DEFAULTS.max_gradient_norm,
    show_default=True,
    help="Larger gradients are scaled down to it.",
)
@click.option(
    "--ema-decay",
    type=click.FloatRange(0, 1, max_open=True),
    default=DEFAULTS.ema_decay,
    show_default=True,
    help="Moving average of the weights; 0 for none.",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default=DEFAULTS.precision,
    show_default=True,
    help="auto: bf16 on a GPU that has it, else fp16; fp32 elsewhere.",
)
@click.option(
    "--augment",
    type=click.Choice(AUGMENTATIONS),
    default="standard",
    show_default=True,
    help="standard: flip, zoom out, crop, change colours.",
)
@click.option(
    "--copy-paste",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of pictures that get objects of others.",
)
@click.option(
    "--canvas-side",
    type=click.IntRange(64, 4096),
    help="Shorter side in px that the model sees [default: its own].",
)
@click.option(
    "--scale-jitter/--no-scale-jitter",
    default=True,
    show_default=True,
    help="Vary it from 0.7 to 1.1 times.",
)
@click.option(
    "--evaluate-every",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="EPOCHS",
    help="Validate, and keep the best; the last epoch always.",
)
@click.option("--tensorboard/--no-tensorboard", default=True, show_default=True)
@click.option("--max-steps", type=click.IntRange(1), help="Stop early, as Ctrl-C does.")
@click.option(
    "--workers",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Processes that read pictures.",
)
@device_option
@click.option(
    "--seed",
    type=click.IntRange(-(2**63), 2**63 - 1),  # what torch takes
    metavar="INTEGER",
    default=DEFAULTS.seed,
    show_default=True,
    help="Of new weights, shuffling, augmentation and sampling.",
)
@click.option("--quiet", is_flag=True, help="Say nothing but the result, warnings and errors.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks.")
def train(quiet: bool, **flags: Any) -> None:
    """Fine-tune --model on the labelled pictures of DATA.

    DATA is a Penn-Fudan folder, COCO annotations (a .json file, or a folder with annotations/), a
    YOLO-seg data.yaml, or 'shapes', which are drawn (shapes:seed=7,train=800). Afterwards --output
    holds best.safetensors and last.safetensors, which 'rcnn-live run' and 'rcnn-live eval' take as
    --weights, and the TensorBoard log.

    Several GPUs: torchrun --nproc-per-node N -m stream train DATA …
    """
    from models.training.session import TrainRequest
    from models.training.session import train as run_session

    settings = {name: flags.pop(name) for name in TrainSettings.__dataclass_fields__}
    _check_finite(settings)
    output = flags.pop("output") or Path("runs") / f"{flags['model']}-{_name_of(flags['data'])}"
    request = TrainRequest(output=output, settings=TrainSettings(**settings), **flags)
    with _stop_on_signals() as stop:
        outcome = run_session(request, Console(stderr=True, quiet=quiet), stop=stop)
    if outcome.is_first:
        _tell(outcome, output)
    if stop() and not outcome.finished:
        sys.exit(EXIT_INTERRUPTED)


def _check_finite(settings: dict[str, Any]) -> None:
    """Refuse what is in click's ranges and no number to learn with."""
    for name, value in settings.items():
        if isinstance(value, float) and not math.isfinite(value):
            option = name.replace("_", "-")
            raise UsageError(f"--{option} is {value:g}: it must be a finite number.")


def _name_of(data: Path) -> str:
    """The data's name; a YOLO set's is its folder's, as all of their files are data.yaml."""
    data = data.resolve()
    return data.parent.name if data.suffix.lower() in (".yaml", ".yml") else data.stem


def _tell(outcome: TrainOutcome, output: Path) -> None:
    if not outcome.finished:
        click.echo(
            f"Stopped after {outcome.epochs} whole epochs; all is kept in {output}: repeat the "
            "command with --resume to go on.",
            err=True,
        )
        return
    scores = ", ".join(f"{name} {value:.3f}" for name, value in outcome.best.items())
    click.echo(
        f"best: {scores} in {output / 'best.safetensors'}"
        if scores
        else f"trained: {output / 'last.safetensors'}"
    )


class _Stop:
    """Whether a signal has asked to stop."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self) -> bool:
        return self.asked

    def ask(self, number: int, _frame: object) -> None:
        if self.asked:  # asked twice: at once
            raise KeyboardInterrupt
        self.asked = True
        if os.environ.get("RANK", "0") == "0":
            # past Python's buffers: a signal may come while one of them is written
            os.write(2, STOPPING)


@contextlib.contextmanager
def _stop_on_signals() -> Iterator[_Stop]:
    """Ctrl-C and SIGTERM end the run after the current update, with everything saved."""
    stop = _Stop()
    numbers = signal.SIGINT, signal.SIGTERM
    before = [signal.signal(number, stop.ask) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
