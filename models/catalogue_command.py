"""``rcnn-live models``: what --model accepts."""

from __future__ import annotations

import json
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table


@click.command()
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
@click.option("--names", is_flag=True, help="Names alone, one a line.")
def models(*, as_json: bool, names: bool) -> None:
    """List the models that --model accepts, what they find and what they cost."""
    from models.catalogue import entries  # it imports torch, which takes seconds

    if as_json:
        click.echo(json.dumps([asdict(entry) for entry in entries()], indent=2))
        return
    if names:
        click.echo("\n".join(entry.name for entry in entries()))
        return
    table = Table("model", "finds", box=None, header_style="bold", pad_edge=False)
    for heading in ("classes", "parameters", "GFLOPs"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("published, in percent")
    table.add_column("weights")
    for entry in entries():
        table.add_row(
            entry.name,
            entry.task,
            str(entry.classes),
            f"{entry.parameters / 1e6:.1f} M",
            f"{entry.gflops:.1f}",
            entry.figures,
            entry.licence,
        )
    console = Console()
    if not console.is_terminal:
        console.width = 200  # for a file or another program, a line each
    console.print(table)
