"""Options of every command that can be monitored. It imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from stream.config import Metrics

_Command = TypeVar("_Command", bound=Callable[..., Any])


def monitor_options(command: _Command) -> _Command:
    """``--metrics-port``, ``--metrics-host`` and ``--log``."""
    options = (
        click.option(
            "--metrics-port",
            type=click.IntRange(1, 65535),
            help="Serve /metrics for Prometheus, /healthz and /readyz.",
        ),
        click.option(
            "--metrics-host", default="127.0.0.1", show_default=True, help="Where to serve them."
        ),
        click.option(
            "--log",
            type=click.Choice(["text", "json"]),
            default="text",
            show_default=True,
            help="json: one object a line on standard error, for machines.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def metrics_of(flags: dict[str, Any]) -> Metrics | None:
    """Take the first two out of a command's flags."""
    from stream.config import Metrics  # pydantic takes a moment to import

    port, host = flags.pop("metrics_port"), flags.pop("metrics_host")
    return None if port is None else Metrics(port=port, host=host)
