"""``rcnn-live lineage``: every system on the same pictures, measured in one run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from models.options import FILE
from models.paths import cache_folder, check_writable

if TYPE_CHECKING:  # torch takes seconds to import: --help and usage errors should not wait for it
    from models.data.samples import LabelledPictures
    from models.lineage.base import Budget, Lineage
    from models.lineage.measure import Measured

LINE = ("rcnn_shapes", "fast_rcnn_shapes", "faster_rcnn_shapes", "mask_rcnn_shapes", "grid_shapes")


@click.command()
@click.option(
    "--data",
    type=FILE,
    default="shapes",
    show_default=True,
    help="A labelled set as 'rcnn-live train' takes it; shapes are drawn.",
)
@click.option(
    "--system",
    "names",
    multiple=True,
    metavar="NAME",
    help="Measure this one; repeatable, 'all' for every one [default: the R-CNNs and the grid].",
)
@click.option("--train", "is_trained", is_flag=True, help="Train anew what has weights already.")
@click.option(
    "--effort",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Of training: 0.1 is a tenth of the passes.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of training.")
@click.option(
    "--weights",
    type=FILE,
    help="Folder in which trained weights are looked for and kept [default: in the user's cache].",
)
@click.option(
    "--pictures",
    "count",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    help="To measure on, of those that training holds out.",
)
@click.option("--html", type=FILE, help="Report with pictures of every step, one HTML file.")
@click.option("--json", "json_file", type=FILE, help="Every figure as JSON.")
@click.option("--quiet", is_flag=True, help="Say nothing but the table.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks.")
def lineage(
    *,
    data: Path,
    names: tuple[str, ...],
    is_trained: bool,
    effort: float,
    seed: int,
    weights: Path | None,
    count: int,
    html: Path | None,
    json_file: Path | None,
    quiet: bool,
) -> None:
    """Measure R-CNN, Fast, Faster and Mask R-CNN and a single-shot grid on the same pictures.

    A system without weights for these classes is trained first, which takes minutes; it is kept.
    """
    for option, path in (("--html", html), ("--json", json_file)):
        if path is not None:
            check_writable(path, option, replaced=True)
    import torch  # it takes seconds

    from models.data.open import open_data
    from models.evaluation.output import write_text
    from models.lineage.base import Budget
    from models.lineage.canvas import CanvasPictures
    from models.lineage.exhibits import exhibits
    from models.lineage.measure import measure, story
    from models.lineage.report import render_report, table

    chosen = _names(names)
    to_stderr = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
    parts = open_data(data)
    train, validation = CanvasPictures(parts.train), CanvasPictures(parts.validation)
    validation = validation.take(range(min(count, len(validation))))
    folder = weights or cache_folder() / "lineage" / _key(data, effort, seed)
    budget = Budget(
        effort=effort, seed=seed, cache=cache_folder() / "lineage" / "seen", tell=to_stderr.print
    )
    shelf = _Shelf(train, validation, budget, folder, is_trained=is_trained)
    systems = {name: shelf.system(name) for name in chosen}
    measured = []
    for name, system in systems.items():
        to_stderr.print(f"{name}: measuring on {len(validation)} pictures")
        measured.append(measure(system, validation))
    told = story(measured)
    if html is not None:
        settings = {
            "data": data.name,
            "pictures": str(len(validation)),
            "threads": str(torch.get_num_threads()),
            "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        }
        page = render_report(measured, exhibits(systems, validation), told, settings)
        write_text(page, html, "--html")
    if json_file is not None:
        write_text(_as_json(measured, told), json_file, "--json")
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200  # for a file or another program, a line each
    console.print(table(measured))
    for sentence in told:
        console.print(sentence)


def _names(names: Sequence[str]) -> tuple[str, ...]:
    """Those asked for, in historical order.

    Raises:
        UsageError: if there is no system of a name.
    """
    from models.lineage.systems import SYSTEMS, system_class

    if "all" in names:
        return tuple(SYSTEMS)
    for name in names:
        system_class(name)
    return tuple(name for name in SYSTEMS if name in (names or LINE))


class _Shelf:
    """Systems with weights that come along or were kept for these classes; the others are trained.

    Args:
        train: to learn from.
        validation: to judge by what was learned.
        budget: of training.
        folder: in which trained weights are kept.
        is_trained: whether even those are trained that have weights.
    """

    def __init__(
        self,
        train: LabelledPictures,
        validation: LabelledPictures,
        budget: Budget,
        folder: Path,
        *,
        is_trained: bool,
    ) -> None:
        self._train, self._validation, self._budget = train, validation, budget
        self._folder, self._is_trained = folder, is_trained
        self._new: set[Path] = set()

    def system(self, name: str) -> Lineage:
        """The system ``name``; two of the same weights are trained once."""
        from models.lineage.systems import SYSTEMS, load_system, train_system, weights_of

        file = self._folder / f"{SYSTEMS[name].weights}.safetensors"
        is_old = self._is_trained and file not in self._new
        for known in () if is_old else (file, weights_of(name)):
            if known.is_file():
                system = load_system(name, known)
                if system.class_names == self._train.class_names:
                    return system
        self._budget.tell(f"{name}: training, kept in {file}")
        self._new.add(file)
        return train_system(name, self._train, self._budget, file, self._validation)


def _key(data: Path, effort: float, seed: int) -> str:
    """A folder's name: other data or another training, other weights."""
    from models.shapes.settings import is_shapes

    where = str(data) if is_shapes(str(data)) else str(data.resolve())
    return hashlib.sha256(f"{where} {effort} {seed}".encode()).hexdigest()[:12]


def _as_json(measured: Sequence[Measured], told: Sequence[str]) -> str:
    rows = [asdict(one) | {"total_ms": one.total_ms} for one in measured]
    return json.dumps({"systems": rows, "story": list(told)}, indent=2) + "\n"
