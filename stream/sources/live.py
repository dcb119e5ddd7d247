"""What is put around a source: its coming back, faults on purpose, the pace of a recorded run."""

from __future__ import annotations

import itertools
from pathlib import Path

from stream.errors import UsageError
from stream.redact import redact
from stream.sources import choose, network
from stream.sources.backoff import ReconnectOptions
from stream.sources.base import FrameSource
from stream.sources.faults import FaultPlan, Faulty
from stream.sources.options import SourceOptions
from stream.sources.reconnect import Reconnecting
from stream.sources.replay import Replay

_DEFAULTS = SourceOptions()
_FAULTS, _REPLAY = "faults", "replay"


def create_source(
    uri: str, *, options: SourceOptions = _DEFAULTS, reconnect: ReconnectOptions | None = None
) -> FrameSource:
    """The source that ``uri`` means, not yet open.

    Args:
        uri: as ``choose.create_source`` takes it; ``faults:SPEC:URI`` breaks it on purpose
            (``faults.py``) and ``replay:TRACE:FILE`` plays a file at the pace of a recorded run
            (``replay.py``).
        options: settings, of which each kind of source uses those that concern it.
        reconnect: how a network stream, a camera or a source with faults comes back when it is
            live and fails; None if it shall not.

    Raises:
        UsageError: if there can be no such source.
    """
    if reconnect is None or not _may_come_back(uri):
        return _plain(uri, options)
    connections = itertools.count()
    return Reconnecting(
        lambda: _plain(uri, options, next(connections)),
        name=redact(uri),
        read_timeout_seconds=network.read_timeout_seconds(innermost(uri), options),
        open_timeout_seconds=options.open_timeout_seconds,
        options=reconnect,
    )


def _plain(uri: str, options: SourceOptions, connection: int = 0) -> FrameSource:
    kind, _, rest = uri.partition(":")
    if kind == _FAULTS:
        spec, _, inner = rest.partition(":")
        return Faulty(_plain(inner, options), FaultPlan.parse(spec), connection)
    if kind == _REPLAY:
        trace, _, inner = rest.partition(":")
        if not inner:
            raise UsageError("replay takes a trace and a source: replay:TRACE.jsonl:FILE.")
        return Replay(Path(trace), _plain(inner, options))
    return choose.create_source(uri, options=options)


def innermost(uri: str) -> str:
    """The URI without what is put around it."""
    while uri.startswith((f"{_FAULTS}:", f"{_REPLAY}:")):
        uri = uri.split(":", 2)[-1]
    return uri


def _may_come_back(uri: str) -> bool:
    scheme = uri.partition(":")[0].lower()
    is_camera = uri.isdecimal() or uri.startswith("/dev/")
    return is_camera or scheme in (_FAULTS, *network.SCHEMES)
