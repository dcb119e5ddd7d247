"""The command line: ``rcnn-live run``, ``train``, ``eval`` and ``models``.

Every error is one sentence on standard error; exit code 2 means wrong usage, 1 a failure.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.logging import RichHandler

from models.evaluation.command import evaluate
from models.training.command import train
from stream.bounded_queue import Policy
from stream.errors import RcnnLiveError, ThreadLeftBehind
from stream.redact import RedactingFilter, redact

EXIT_FAILURE, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130
FILE = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="rcnn-live", prog_name="rcnn-live")
def commands() -> None:
    """Real-time Mask R-CNN on live video."""


@commands.command()
@click.argument("source", default="demo")
@click.option("--model", default="mask_rcnn_person", help="See 'rcnn-live models'.")
@click.option("--weights", type=FILE, help="Local .safetensors or .pth file for the model.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto")
@click.option(
    "--canvas-side",
    type=click.IntRange(64, 4096),
    help="Shorter side in px that the model sees; smaller is faster.",
)
@click.option(
    "--min-score",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Leave out objects the model is less sure of.",
)
@click.option("--classes", help="Keep these classes only, separated by commas.")
@click.option("--record", type=FILE, help="Annotated video: .mp4, .mov or .mkv.")
@click.option("--events", metavar="FILE|-", help="What was found, one JSON line a frame.")
@click.option("--event-masks", is_flag=True, help="Add each mask to the events, as COCO RLE.")
@click.option("--trace", metavar="FILE|-", help="Each stage's milliseconds, one JSON line a frame.")
@click.option("--summary", type=FILE, help="The run's figures as JSON.")
@click.option("--window", is_flag=True, help="Show it: q quits, space pauses, s saves a snapshot.")
@click.option("--hud/--no-hud", default=True, help="FPS, latency and drops on the picture.")
@click.option(
    "--policy",
    type=click.Choice([policy.value for policy in Policy]),
    help="Wait for slow stages or drop frames [default: files wait, live sources drop].",
)
@click.option("--max-frames", type=click.IntRange(1), help="End after so many frames are read.")
@click.option("--single-thread", is_flag=True, help="No threads, for debugging; same events.")
@click.option(
    "--rtsp-transport", type=click.Choice(["tcp", "udp"]), default="tcp", show_default=True
)
@click.option("--open-timeout", type=click.FloatRange(0.1), default=10.0, show_default=True)
@click.option("--read-timeout", type=click.FloatRange(0.1), default=2.0, show_default=True)
@click.option(
    "--picture-rate",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Pictures per second of a folder.",
)
@click.option(
    "--input-option", multiple=True, metavar="KEY=VALUE", help="FFmpeg input option; repeatable."
)
@click.option("--quiet", is_flag=True, help="Say nothing but warnings and errors.")
@click.option("--debug", is_flag=True, help="Show tracebacks and debug messages.")
def run(debug: bool, **flags: Any) -> None:
    """Detect on SOURCE and draw, record or report what was found.

    SOURCE is a video file, an rtsp:// or http:// URL, a webcam (0, /dev/video1), a folder or glob
    of pictures, 'screen', 'lavfi:GRAPH', 'demo' or 'demo:live'.
    """
    if flags["source"].partition(":")[0] == "screen":
        if flags["window"]:
            raise click.UsageError("A screen cannot be shown in a --window: use --record FILE.")
        # PyAV and OpenCV each bring an X11 library; whichever is loaded first works, and a screen
        # is captured by PyAV's. stream.run loads OpenCV's first, which the window needs.
        import av  # noqa: F401
    # torch takes seconds to import: --help and usage errors should not wait for it
    from stream.run import RunSettings
    from stream.run import run as run_settings
    from stream.sources import SourceOptions

    _set_up_logging(debug=debug)
    options = SourceOptions(
        open_timeout_seconds=flags.pop("open_timeout"),
        read_timeout_seconds=flags.pop("read_timeout"),
        rtsp_transport=flags.pop("rtsp_transport"),
        picture_rate=flags.pop("picture_rate"),
        input_options=_pairs(flags.pop("input_option")),
    )
    classes, policy = flags.pop("classes"), flags.pop("policy")
    run_settings(
        RunSettings(
            source_options=options,
            classes=tuple(classes.split(",")) if classes else None,
            policy=Policy(policy) if policy else None,
            **flags,
        )
    )


@commands.command()
def models() -> None:
    """List the models that --model accepts."""
    from models.zoo import model_names

    for name in model_names():
        click.echo(name)


commands.add_command(train)
commands.add_command(evaluate)


def _pairs(options: tuple[str, ...]) -> dict[str, str]:
    for option in options:
        if "=" not in option:
            raise click.UsageError(f"--input-option takes KEY=VALUE, not {option!r}.")
    return dict(option.split("=", 1) for option in options)


def _set_up_logging(*, debug: bool) -> None:
    handler = RichHandler(
        console=Console(stderr=True), show_time=False, show_path=False, rich_tracebacks=False
    )
    handler.addFilter(RedactingFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if debug else logging.WARNING)


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        commands(standalone_mode=False)
    except click.ClickException as error:
        sys.exit(_fail(error.format_message(), EXIT_USAGE))
    except ThreadLeftBehind as error:
        code = _fail(str(error), error.exit_code)
        sys.stdout.flush()
        os._exit(code)  # an orderly exit would pull torch from under that thread, and abort
    except RcnnLiveError as error:
        sys.exit(_fail(str(error), error.exit_code))
    except (KeyboardInterrupt, click.Abort):
        os._exit(EXIT_INTERRUPTED)  # asked for twice: whatever still runs is left as it is
    except Exception as error:  # noqa: BLE001 - a bug still gets a sentence, not a traceback
        text = (
            f"unexpected {type(error).__name__}: {error}; please report it with --debug's output."
        )
        sys.exit(_fail(text, EXIT_FAILURE))


def _fail(message: str, code: int) -> int:
    if "--debug" in sys.argv:
        click.echo(redact(traceback.format_exc()), err=True)
    click.echo(f"rcnn-live: {redact(message)}", err=True)
    return code
