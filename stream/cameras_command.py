"""``rcnn-live cameras`` on the command line. It imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from models.options import FILE
from stream.control.options import control_options
from stream.monitor.logs import set_up_logging
from stream.monitor.options import metrics_of, monitor_options
from stream.web.options import serve_of, serve_options


@click.command()
@click.argument("file", type=FILE)
@click.option("--check", is_flag=True, help="Only say whether FILE is right.")
@click.option("--summary", type=FILE, help="The figures of every camera, and of all, as JSON.")
@monitor_options
@serve_options
@control_options
@click.option("--quiet", is_flag=True, help="Say nothing but warnings and errors.")
@click.option("--debug", is_flag=True, help="Show tracebacks and debug messages.")
def cameras(
    file: Path,
    check: bool,
    debug: bool,
    log: str,
    **flags: Any,
) -> None:
    """Run all cameras of FILE, a cameras.yaml, until Ctrl-C.

    Cameras with the same model share it, each gets its turn, and none can hold up another. FILE is
    watched: an edit, or SIGHUP, adds, changes and removes cameras while the others go on.

    \b
    secrets: secrets.yaml         # NAME: value, a line each (chmod 600)
    metrics: {port: 9100}
    defaults: {score: 0.6, record: "recordings/{name}-{started}.mp4"}
    cameras:
      door: {source: "rtsp://admin:${DOOR_PASSWORD}@10.0.0.5/stream"}
      yard: {source: "rtsp://10.0.0.6/stream", model: maskrcnn_resnet50_fpn, classes: [dog]}
    """  # noqa: D301 - click wants the backspace itself
    from stream.cameras import CamerasSettings, run_cameras
    from stream.cameras import check as check_file

    set_up_logging(debug=debug, form=log)
    if check:
        click.echo(check_file(file))
        return
    run_cameras(
        CamerasSettings(
            file=file,
            metrics=metrics_of(flags),
            serve=serve_of(flags),
            tells_in_json=log == "json",
            **flags,
        )
    )
