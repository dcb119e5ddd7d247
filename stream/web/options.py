"""Options of every command that can show the live page. It imports no web library and no torch."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from models.errors import UsageError
from models.options import FILE

if TYPE_CHECKING:
    from stream.web.settings import ServeSettings

_Command = TypeVar("_Command", bound=Callable[..., Any])

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8000
DEFAULT_ADDRESS = f"{DEFAULT_HOST}:{DEFAULT_PORT}"
TOKEN_VARIABLE = "RCNN_LIVE_TOKEN"
LIBRARIES = ("fastapi", "fastapi_offline", "uvicorn", "websockets", "argon2")
_READABLE_BY_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def serve_options(command: _Command) -> _Command:
    """``--serve``, ``--token``, ``--token-file``, ``--users``, ``--tls-…`` and ``--serve-name``."""
    options = (
        click.option(
            "--serve",
            is_flag=False,
            flag_value=DEFAULT_ADDRESS,
            metavar="[HOST:PORT]",
            help=f"Show the live page in a browser, at {DEFAULT_ADDRESS} unless told otherwise.",
        ),
        click.option(
            "--token",
            envvar=TOKEN_VARIABLE,
            show_envvar=True,
            help="Let in whoever knows it; other users of this machine can see it in ps.",
        ),
        click.option("--token-file", type=FILE, help="The same, out of a file's first line."),
        click.option("--users", type=FILE, help="Let in the users of a file of 'rcnn-live users'."),
        click.option("--tls-cert", type=FILE, help="Serve https with this PEM certificate …"),
        click.option("--tls-key", type=FILE, help="… and its key."),
        click.option(
            "--serve-name",
            "serve_names",
            multiple=True,
            metavar="NAME",
            help="A further name that browsers reach it by, such as a proxy's; repeatable.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def serve_of(flags: dict[str, Any]) -> ServeSettings | None:
    """Take these options out of a command's flags; None if nothing is to be served.

    Raises:
        UsageError: if they make no sense, or the web libraries are not installed.
    """
    address, token, token_file = (flags.pop(name) for name in ("serve", "token", "token_file"))
    rest = {name: flags.pop(name) for name in ("users", "tls_cert", "tls_key")}
    names = flags.pop("serve_names")
    if address is None:
        given = [name for name, value in (("token-file", token_file), *rest.items()) if value]
        if given or names:
            option = f"--{given[0].replace('_', '-')}" if given else "--serve-name"
            raise UsageError(f"{option} is for the live page: add --serve.")
        return None
    if token is not None and token_file is not None:
        raise UsageError("--token and --token-file are one setting: give one of them.")
    check_libraries()
    return settings_of(
        address=address,
        token=read_token(token_file) if token_file is not None else token,
        names=names,
        **rest,
    )


def settings_of(**values: Any) -> ServeSettings:
    """Checked settings.

    Raises:
        UsageError: if they make no sense.
    """
    from pydantic import ValidationError

    from stream.web.settings import ServeSettings

    try:
        return ServeSettings(**values)
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UsageError(f"--serve: {message}.") from error


def check_libraries() -> None:
    """Raises UsageError if the web libraries are not installed."""
    missing = [name for name in LIBRARIES if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"--serve needs {', '.join(missing)}, which is not installed: "
            "pip install 'rcnn-live[web]'"
        )


def read_token(file: Path) -> str:
    """The first line of a file that only its owner may read.

    Raises:
        UsageError: if it cannot be read, by us, or can, by others.
    """
    try:
        mode, lines = file.stat().st_mode, file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise UsageError(f"--token-file {file} cannot be read: {reason}.") from error
    if os.name == "posix" and mode & _READABLE_BY_OTHERS:
        raise UsageError(f"--token-file {file} is open to others than its owner: chmod 600 {file}")
    if not lines or not lines[0].strip():
        raise UsageError(f"--token-file {file} has no token in its first line.")
    return lines[0].strip()
