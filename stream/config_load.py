"""From the file to ``Config``; every mistake in it is told with its line."""

from __future__ import annotations

import difflib
import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from stream.config import Config
from stream.config_file import Parsed, Place, parse
from stream.errors import UsageError
from stream.events.target import is_target
from stream.redact import keep_secret, redact
from stream.sinks.json_lines import STDOUT

_VARIABLE = re.compile(r"\$\{(\w+)\}")
_PATHS = ("record", "record_on", "events", "publish", "weights")
_SERVE_PATHS = ("users", "tls_cert", "tls_key")
_READABLE_BY_OTHERS = stat.S_IRWXG | stat.S_IRWXO
Lookup = Callable[[str], str | None]


def load_config(path: Path) -> Config:
    """Read, fill in and check the file.

    Raises:
        UsageError: one sentence a mistake, with line, what is allowed and the nearest right key.
    """
    parsed = parse(path)
    if not isinstance(parsed.data, dict):
        raise UsageError(f"{path} is empty: it needs at least 'cameras:' with one camera below.")
    mistakes: list[str] = []
    data = _filled(parsed, path, mistakes)
    try:
        config = Config.model_validate(_with_defaults(data, path.parent))
    except ValidationError as error:
        mistakes += [_sentence(one, parsed) for one in error.errors()]
    if mistakes:
        once = sorted(dict.fromkeys(mistakes), key=_line_number)
        start = f"{path} " if len(once) == 1 else f"{path} has {len(once)} mistakes:\n  "
        raise UsageError(start + "\n  ".join(once))
    _check_outputs(config, parsed, path)
    return config


def files_of(path: Path, config: Config) -> list[Path]:
    """The files that the configuration is in: a change of one is a change of it."""
    return [path] if config.secrets is None else [path, path.parent / config.secrets]


# ── variables ──


def _filled(parsed: Parsed, path: Path, mistakes: list[str]) -> dict[str, Any]:
    """The data with every ``${NAME}`` replaced; what was put in is known as secret from then on."""
    secrets = _secrets(parsed, path)

    def look_up(name: str) -> str | None:
        return secrets.get(name, os.environ.get(name))

    def fill(value: Any, place: Place) -> Any:
        if isinstance(value, Mapping):
            return {str(key): fill(item, (*place, str(key))) for key, item in value.items()}
        if isinstance(value, list):
            return [fill(item, (*place, number)) for number, item in enumerate(value)]
        if not isinstance(value, str):
            return value
        mistakes.extend(
            f"{_line(place, parsed)}${{{name}}} is neither in the environment nor in a secrets "
            "file: set it, or name the file with 'secrets: FILE'."
            for name in _VARIABLE.findall(value)
            if look_up(name) is None
        )
        return _expanded(value, look_up)

    filled: dict[str, Any] = fill(parsed.data, ())
    return filled


def _expanded(text: str, look_up: Lookup) -> str:
    user_info_ends_at = text.rfind("@") if "://" in text else -1
    options_begin = text.find("#") if "://" in text else -1

    def value_of(found: re.Match[str]) -> str:
        value = look_up(found[1]) or ""
        keep_secret(value)
        is_escaped = found.start() < user_info_ends_at or 0 <= options_begin < found.start()
        return quote(value, safe="") if is_escaped else value

    return _VARIABLE.sub(value_of, text)


def _secrets(parsed: Parsed, path: Path) -> dict[str, str]:
    name = parsed.data.get("secrets")
    if not isinstance(name, str):
        return {}
    file = path.parent / name
    where = f"{path} {_line(('secrets',), parsed)}"
    try:
        mode = file.stat().st_mode
    except OSError as error:
        raise UsageError(f"{where}{name} cannot be read: {error.strerror}.") from error
    if os.name == "posix" and mode & _READABLE_BY_OTHERS:
        raise UsageError(f"{where}{name} is open to others than its owner: chmod 600 {file}")
    held = parse(file, is_secret=True)
    data = {} if held.data is None else held.data
    if not isinstance(data, dict) or any(
        value is None or isinstance(value, dict | list) for value in data.values()
    ):
        raise UsageError(f"{where}{name} has to hold one NAME: value a line.")
    # as they were written: 0123 is a number to YAML, and another one
    secrets = {str(key): text for (key, *_), text in held.texts.items()}
    keep_secret(*secrets.values())
    return secrets


# ── defaults and paths ──


def _with_defaults(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Every camera with the defaults it does not override, paths from the file's folder."""
    cameras, defaults = data.get("cameras"), data.get("defaults")
    if not isinstance(cameras, dict):
        return data
    if not isinstance(defaults, dict):
        defaults = {}
    whole = {name: _camera(defaults, camera, folder) for name, camera in cameras.items()}
    return {**data, **_serve(data, folder), **_recordings(data, folder), "cameras": whole}


def _recordings(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    recordings = data.get("recordings")
    return {"recordings": str(folder / recordings)} if isinstance(recordings, str) else {}


def _serve(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    serve = data.get("serve")
    if not isinstance(serve, dict):
        return {}
    files = {key: _from(folder, serve[key]) for key in _SERVE_PATHS if key in serve}
    if isinstance(serve.get("token"), str):
        keep_secret(serve["token"])
    return {"serve": {**serve, **files}}


def _camera(defaults: dict[str, Any], camera: Any, folder: Path) -> Any:
    if not isinstance(camera, dict):
        return camera
    merged = {**defaults, **camera}
    if {"canvas", "canvas_side"} & camera.keys():  # the two are one setting
        for key in {"canvas", "canvas_side"} - camera.keys():
            merged.pop(key, None)
    for key in _PATHS:
        if key in merged:
            merged[key] = _from(folder, merged[key])
    for key in ("source", "model"):  # names of many kinds: a path if there is such a file
        value = merged.get(key)
        if isinstance(value, str) and "://" not in value and _is_there(folder / value):
            merged[key] = str(folder / value)
    for key in ("source", "events", "publish"):
        value = merged.get(key)
        for url in value if isinstance(value, list) else [value]:
            _keep_password(url)
    return merged


def _from(folder: Path, target: Any) -> Any:
    """Paths that start at the folder; standard output and URLs are none."""
    if isinstance(target, list):
        return [_from(folder, one) for one in target]
    if isinstance(target, dict):  # of which one key is a path
        return {key: _from(folder, one) if key == "folder" else one for key, one in target.items()}
    if not isinstance(target, str) or target == STDOUT or is_target(target):
        return target
    return str(folder / target)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # too long for a path
        return False


def _keep_password(source: Any) -> None:
    """A password written into the file is as secret as any."""
    try:
        password = urlsplit(source).password if isinstance(source, str) else None
    except ValueError:
        return
    if password:
        keep_secret(password)


def _check_outputs(config: Config, parsed: Parsed, path: Path) -> None:
    """No two cameras may write into one file."""
    taken: dict[str, str] = {}
    for name, camera in config.cameras.items():
        targets = [("events", target) for target in camera.events]
        targets = [target for target in targets if not is_target(target[1])]
        targets += [("publish", target) for target in camera.publish]
        for key, target in [("record", camera.record), *targets]:
            if target in (None, STDOUT):
                continue
            file = target.replace("{name}", name)  # or the URL of a stream
            if file in taken:
                line = _line(("cameras", name, key), parsed)
                raise UsageError(
                    f"{path} {line}{key} of {name} is that of {taken[file]} too: put {{name}} "
                    "into it."
                )
            taken[file] = name


# ── mistakes ──


def _sentence(error: ErrorDetails, parsed: Parsed) -> str:
    place = _place_of(error["loc"], parsed)
    key = str(place[-1])
    if error["type"] == "extra_forbidden":
        return f"{_line(place, parsed)}there is no key {key!r}: {_near_keys(place)}"
    if error["type"] == "missing":
        section = ".".join(map(str, place[:-1])) or "the file"
        return f"{_line(place[:-1], parsed)}{section} has no {key}."
    allowed = error["msg"].removeprefix("Value error, ").replace("Input should", "it has to")
    written = parsed.texts.get(place)
    is_what = "" if written is None else f" is {redact(written)!r}"
    named = ".".join(map(str, place[2 if place[0] == "cameras" else 0 :])) or key
    return f"{_line(place, parsed)}{named}{is_what}: {allowed}."


def _place_of(found: tuple[str | int, ...], parsed: Parsed) -> Place:
    """Where a mistake stands: what a camera got from the defaults stands there."""
    place = tuple(part for part in found if not str(part).startswith("["))  # e.g. [key]
    if place[:1] == ("cameras",) and len(place) > 2 and place[:3] not in parsed.lines:
        default = ("defaults", *place[2:])
        if default[:2] in parsed.lines:
            return default
    return place


def _line(place: Place, parsed: Parsed) -> str:
    line = parsed.line(place)
    return "" if line is None else f"line {line}: "


def _line_number(mistake: str) -> int:
    found = re.match(r"line (\d+)", mistake)
    return int(found[1]) if found else 0


def _near_keys(place: Place) -> str:
    """What a key that is not known may have been meant for."""
    keys = _keys_at(place[:-1])
    near = difflib.get_close_matches(str(place[-1]), keys, n=1)
    return f"did you mean {near[0]!r}?" if near else f"allowed are {', '.join(keys)}."


def _keys_at(place: Place) -> list[str]:
    """The keys of the section at ``place``."""
    section: type[BaseModel] = Config
    for part in place:
        field = section.model_fields.get(str(part))
        if field is None:  # the name of a camera
            continue
        inner = [field.annotation, *get_args(field.annotation)]
        sections = [
            kind for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel)
        ]
        section = sections[0] if sections else section
    return list(section.model_fields)
