"""A proof in the terminal, narrow enough for 80 columns; all of it is in the file's .json."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from export.proof import EMPTY, LABELLED, Case, Proof

_COLUMNS = (
    ("objects", "found"),
    ("box px", "max/mean"),
    ("score", "max"),
    ("mask", "IoU"),
    ("point", "px"),
    ("AP@0.5", "loss"),
)


def print_proof(proof: Proof, title: str, console: Console) -> None:
    """A row for each way it was run; columns that say nothing are left out."""
    rows = [(case, _figures(case)) for case in proof.cases]
    used = [at for at in range(len(_COLUMNS)) if any(figures[at] != "-" for _, figures in rows)]
    table = Table(box=None, padding=(0, 1, 0, 0), title=escape(title), title_justify="left")
    table.add_column("export against\noriginal", no_wrap=True)
    table.add_column("shown\n", no_wrap=True)
    table.add_column("batch\n", justify="right", no_wrap=True)
    for at in used:
        table.add_column("\n".join(_COLUMNS[at]), justify="right", no_wrap=True)
    for case, figures in rows:
        shown = {EMPTY: "empty", LABELLED: "labels"}.get(case.pictures, "frames")
        table.add_row(escape(case.where), shown, str(case.batch), *(figures[at] for at in used))
    console.print(table, highlight=False)


def _figures(case: Case) -> tuple[str, ...]:
    have, loss = case.agreement, case.ap50_delta()
    scores = "-" if loss is None else f"{loss:.4f}"
    if have is None:
        return (*["-"] * (len(_COLUMNS) - 1), scores)
    return (
        f"{have.matched}/{have.expected}",
        _pair(have.box_px_max, have.box_px_mean),
        "-" if have.score_max is None else f"{have.score_max:.2g}",
        "-" if have.mask_iou_mean is None else f"{have.mask_iou_mean:.4f}",
        "-" if have.keypoint_px_mean is None else f"{have.keypoint_px_mean:.2g}",
        scores,
    )


def _pair(first: float | None, second: float | None) -> str:
    return "-" if first is None or second is None else f"{first:.2g}/{second:.2g}"
