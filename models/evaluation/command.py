"""``rcnn-live eval``: score and time a model on labelled pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from models.errors import DataError, UsageError
from models.evaluation.output import write_text
from models.options import FILE, model_options
from models.paths import check_writable

if TYPE_CHECKING:  # torch takes seconds to import: --help and usage errors should not wait for it
    from models.data.samples import LabelledPictures
    from models.runtimes.base import Runtime

STANDARD_OUTPUT = "-"


@click.command("eval")
@click.argument("data", type=FILE)
@click.option("--images", type=FILE, help="Folder of the pictures, where DATA does not say.")
@click.option(
    "--validation-count",
    type=click.IntRange(0),
    metavar="N",
    help="Pictures that training was told to hold out, if it was.",
)
@model_options
@click.option(
    "--part",
    type=click.Choice(["val", "train", "all"]),
    default="val",
    show_default=True,
    help="Which pictures: those that training holds out, the others, or all.",
)
@click.option(
    "--min-score",
    type=click.FloatRange(0, 1),
    default=0.05,
    show_default=True,
    help="The model's own least score; AP wants the uncertain objects as well.",
)
@click.option(
    "--report-score",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Least score that counts for misses and false alarms.",
)
@click.option("--max-pictures", type=click.IntRange(1), help="The first so many only.")
@click.option("--json", "json_target", metavar="FILE|-", help="Every figure as JSON.")
@click.option("--html", type=FILE, help="Report with curves and pictures, one HTML file.")
@click.option("--quiet", is_flag=True, help="Say nothing but warnings and errors.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks.")
def evaluate(
    data: Path, json_target: str | None, html: Path | None, quiet: bool, **flags: Any
) -> None:
    """Score a model on the labelled pictures of DATA and time it.

    DATA is a labelled set as 'rcnn-live train' takes it. Classes of model and data are matched by
    name. Outputs are checked before anything is loaded.
    """
    _check_outputs(json_target, html, [data, flags["weights"], Path(flags["model"])])
    from datetime import UTC, datetime

    from models.evaluation.evaluate import evaluate as run_evaluation
    from models.evaluation.report import render_report
    from models.evaluation.summary import describe_run, summarize
    from models.evaluation.table import print_table

    pictures = _pictures(data, flags)
    weights = flags["weights"]
    to_stderr = Console(stderr=True, quiet=quiet)
    with _runtime(flags) as runtime:
        settings = describe_run(
            runtime,
            data=data.resolve().name,
            part=flags["part"],
            min_score=flags["min_score"],
            date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            weights=None if weights is None else weights.name,
        )
        with _progress(to_stderr) as on_picture:
            evaluation = run_evaluation(
                runtime, pictures, report_score=flags["report_score"], on_picture=on_picture
            )
    if html is not None:
        write_text(render_report(evaluation, pictures, settings), html, "--html")
    text = json.dumps(summarize(evaluation, settings), indent=2, ensure_ascii=False) + "\n"
    if json_target == STANDARD_OUTPUT:
        click.echo(text, nl=False)
    elif json_target is not None:
        write_text(text, Path(json_target), "--json")
    console = to_stderr if json_target == STANDARD_OUTPUT else Console(quiet=quiet)
    print_table(evaluation, settings, console)


def _check_outputs(json_target: str | None, html: Path | None, inputs: list[Path | None]) -> None:
    """Refuse outputs that cannot be written, or would overwrite an input or each other."""
    taken = {path.resolve(): "read" for path in inputs if path is not None}
    json_file = None if json_target in (None, STANDARD_OUTPUT) else Path(str(json_target))
    for option, path in (("--json", json_file), ("--html", html)):
        if path is None:
            continue
        check_writable(path, option, replaced=True)
        if path.resolve() in taken:
            use = taken[path.resolve()]
            raise UsageError(f"{option} {path} is {use} already: give it another name.")
        taken[path.resolve()] = f"written by {option}"


def _pictures(data: Path, flags: dict[str, Any]) -> LabelledPictures:
    from models.data.open import open_data

    keypoints = "keypoint" in flags["model"]
    parts = open_data(
        data,
        images=flags["images"],
        keypoints=keypoints,
        validation_count=flags["validation_count"],
    )
    pictures = parts.part(flags["part"])
    if len(pictures) == 0:
        raise DataError(
            f"The validation part of {parts.source} has no pictures: give a --validation-count, or "
            "evaluate --part all."
        )
    if flags["max_pictures"] is not None:
        pictures = pictures.take(range(min(flags["max_pictures"], len(pictures))))
    return pictures


def _runtime(flags: dict[str, Any]) -> Runtime:
    """An exported file in any runtime; a model of the zoo as torchvision has it, the reference."""
    import torch

    from models import zoo
    from models.lineage.runtime import open_system
    from models.lineage.systems import SYSTEMS
    from models.runtimes.exported import SUFFIXES
    from models.runtimes.files import open_file
    from models.runtimes.torch_eager import TorchEager

    if Path(flags["model"]).suffix.lower() in SUFFIXES:
        if flags["weights"] is not None or flags["canvas_side"] is not None:
            raise UsageError(
                f"{flags['model']} has its weights and its canvas inside: leave out --weights and "
                "--canvas-side."
            )
        return open_file(
            Path(flags["model"]),
            runtime=flags["runtime"],
            device=flags["device"],
            min_score=flags["min_score"],
            precision=flags["precision"],
            threads=flags["threads"],
            notice=lambda text: click.echo(text, err=True),
        )
    if flags["threads"]:
        torch.set_num_threads(flags["threads"])
    if flags["model"] in SYSTEMS:
        return open_system(
            flags["model"],
            flags["weights"],
            runtime=flags["runtime"],
            device=flags["device"],
            precision=flags["precision"],
            min_score=flags["min_score"],
            canvas_side=flags["canvas_side"],
        )
    if flags["runtime"] not in ("auto", "torch-eager"):
        raise UsageError(
            f"{flags['model']} is evaluated in PyTorch eager: to evaluate it in another runtime, "
            "export it and give the file as --model."
        )
    if flags["precision"] not in ("auto", "fp32"):
        raise UsageError(
            f"{flags['model']} is evaluated in PyTorch eager, which computes in fp32: to evaluate "
            f"it in {flags['precision']}, export it and give the file as --model."
        )
    if flags["model"] in zoo.segmentation_names():
        raise UsageError(
            f"{flags['model']} tells what each pixel shows and finds no objects, which is what is "
            "scored here: name a detector (see 'rcnn-live models')."
        )
    return TorchEager(
        zoo.load(flags["model"], flags["weights"]),
        min_score=flags["min_score"],
        device=flags["device"],
        canvas_side=flags["canvas_side"],
    )


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on a terminal, nothing elsewhere."""
    if console.quiet or not console.is_terminal:
        yield None
        return
    columns = (
        TextColumn("evaluating"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("")

        def on_picture(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield on_picture
