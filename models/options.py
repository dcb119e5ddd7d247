"""Command line options that several commands have in common. It imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

FILE = click.Path(path_type=Path)
_Command = TypeVar("_Command", bound=Callable[..., Any])

RUNTIMES = (
    "auto",
    "openvino",
    "tensorrt",
    "onnxruntime",
    "onnxruntime-tensorrt",
    "torch",
    "torch-compiled",
    "torch-eager",
)
PRECISIONS = ("auto", "fp32", "fp16", "bf16")

device_option = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True
)


def model_options(command: _Command) -> _Command:
    """What a command takes that runs a model: which one, where, how, and at what size."""
    options = (
        click.option(
            "--model",
            default="mask_rcnn_person",
            help="See 'rcnn-live models'; or a file that 'rcnn-live export' made.",
        ),
        click.option("--weights", type=FILE, help="Local .safetensors or .pth file for the model."),
        device_option,
        click.option(
            "--canvas-side",
            type=click.IntRange(64, 4096),
            help="Shorter side in px that the model sees; smaller is faster.",
        ),
        click.option(
            "--runtime",
            type=click.Choice(RUNTIMES),
            default="auto",
            help="What computes; auto is the fastest that works here and says which.",
        ),
        click.option(
            "--precision",
            type=click.Choice(PRECISIONS),
            default="auto",
            help="Of the arithmetic; auto is the fastest that the device has.",
        ),
        click.option(
            "--threads", type=click.IntRange(0), default=0, help="To compute on; 0 for all cores."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command
