"""The command line: ``rcnn-live run``, ``cameras``, ``train``, ``eval``, ``export``, ``models``.

Every error is one sentence on standard error; exit code 2 means wrong usage, 1 a failure.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

import click

from export.command import export
from models.catalogue_command import models
from models.evaluation.command import evaluate
from models.lineage.command import lineage
from models.options import FILE, model_options
from models.training.command import train
from stream.bounded_queue import Policy
from stream.cameras_command import cameras
from stream.clip_options import clip_options, clips_of
from stream.control.options import control_options
from stream.errors import RcnnLiveError, ThreadLeftBehind
from stream.monitor.logs import set_up_logging, tell_failure
from stream.monitor.options import metrics_of, monitor_options
from stream.recording_options import recording_of, recording_options
from stream.redact import redact
from stream.scene_options import scene_of, scene_options
from stream.web.options import serve_of, serve_options
from stream.web.users_command import users

EXIT_FAILURE, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="rcnn-live", prog_name="rcnn-live")
def commands() -> None:
    """Real-time Mask R-CNN on live video."""


@commands.command()
@click.argument("source", default="demo")
@model_options
@click.option(
    "--min-score",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Leave out objects the model is less sure of.",
)
@click.option("--classes", help="Keep these classes only, separated by commas.")
@scene_options
@recording_options
@clip_options
@click.option(
    "--events",
    multiple=True,
    metavar="TARGET",
    help="What was found; repeatable. FILE.jsonl or -: a JSON line a frame; FILE.csv: a row an "
    "object; FILE.coco.json: COCO results; mqtt://, http://, redis:// or kafka:// URL: delivered.",
)
@click.option(
    "--rotate-events",
    metavar="WHEN",
    help="Begin --events FILE.jsonl anew: 100M, 1h, 1d, 100M,1d,keep=7.",
)
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
@click.option(
    "--max-age-ms",
    type=click.FloatRange(0, min_open=True),
    metavar="MS",
    help="Drop frames that would be older than this when they are shown [default: no limit].",
)
@click.option(
    "--reconnect/--no-reconnect",
    default=True,
    help="Bring a live source back when it fails  [default: for ever, after its first picture].",
)
@click.option("--max-frames", type=click.IntRange(1), help="End after so many frames are read.")
@click.option("--single-thread", is_flag=True, help="No threads, for debugging; same events.")
@click.option(
    "--rtsp-transport", type=click.Choice(["tcp", "udp"]), default="tcp", show_default=True
)
@click.option(
    "--decode",
    type=click.Choice(["auto", "software", "nvdec", "vaapi", "videotoolbox"]),
    default="auto",
    show_default=True,
    help="What decodes files and streams; auto is NVDEC where it opens.",
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
@monitor_options
@serve_options
@control_options
@click.option("--quiet", is_flag=True, help="Say nothing but warnings and errors.")
@click.option("--debug", is_flag=True, help="Show tracebacks and debug messages.")
def run(debug: bool, log: str, **flags: Any) -> None:
    """Detect on SOURCE and draw, record or report what was found.

    SOURCE is a video file, an rtsp:// or http:// URL, a webcam (0, /dev/video1), a folder or glob
    of pictures, 'screen', 'lavfi:GRAPH', 'demo', 'demo:live' or 'shapes' (drawn, as in
    shapes:seed=7,size=640x480,live). 'faults:SPEC:SOURCE' breaks a source on purpose, such as
    faults:drop=0.1,stall=0.01/3:demo:live; stream/sources/faults.py lists all faults.
    'replay:TRACE:FILE' plays FILE as the frames of a --trace arrived.
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

    set_up_logging(debug=debug, form=log)
    scene, recording = scene_of(flags), recording_of(flags)
    clips = clips_of(flags, recording)
    options = SourceOptions(
        open_timeout_seconds=flags.pop("open_timeout"),
        read_timeout_seconds=flags.pop("read_timeout"),
        rtsp_transport=flags.pop("rtsp_transport"),
        decode=flags.pop("decode"),
        picture_rate=flags.pop("picture_rate"),
        input_options=_pairs(flags.pop("input_option")),
    )
    classes, policy = flags.pop("classes"), flags.pop("policy")
    run_settings(
        RunSettings(
            source_options=options,
            classes=tuple(map(str.strip, classes.split(","))) if classes else None,
            scene=scene,
            recording=recording,
            clips=clips,
            policy=Policy(policy) if policy else None,
            metrics=metrics_of(flags),
            serve=serve_of(flags),
            tells_in_json=log == "json",
            **flags,
        )
    )


commands.add_command(train)
commands.add_command(evaluate)
commands.add_command(models)
commands.add_command(lineage)
commands.add_command(export)
commands.add_command(cameras)
commands.add_command(users)


def _pairs(options: tuple[str, ...]) -> dict[str, str]:
    for option in options:
        if "=" not in option:
            raise click.UsageError(f"--input-option takes KEY=VALUE, not {option!r}.")
    return dict(option.split("=", 1) for option in options)


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
    tell_failure(message)
    return code
