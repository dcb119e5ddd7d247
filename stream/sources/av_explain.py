"""FFmpeg's errors as one sentence for the user."""

from __future__ import annotations

import errno
from pathlib import Path

import av.error

from stream.errors import SourceDenied, SourceError, SourceTimeout
from stream.redact import redact

# What opening and reading may raise; RuntimeError is PyAV's word for a clock that was set back.
AV_ERRORS = (av.error.FFmpegError, OSError, ValueError, RuntimeError)

_UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN)

_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (av.error.ConnectionRefusedError, "refuses the connection: is the server up, the port right?"),
    (av.error.ConnectionResetError, "broke the connection."),
    (av.error.BrokenPipeError, "broke the connection."),
    (av.error.HTTPNotFoundError, "has no stream at this path."),
    (av.error.HTTPClientError, "does not accept the request."),
    (av.error.HTTPServerError, "reports an error of its own."),
    (av.error.ProtocolNotFoundError, "uses a protocol that this build of FFmpeg does not have."),
    (av.error.FileNotFoundError, "does not exist."),
    (av.error.PermissionError, "may not be read by this user."),
    (av.error.InvalidDataError, "holds no video that FFmpeg can read."),
)

_DENIALS: tuple[tuple[type[Exception], str], ...] = (
    (av.error.HTTPUnauthorizedError, "wants a user and a password, or those given are wrong."),
    (av.error.HTTPForbiddenError, "does not allow this user to watch."),
)


def is_timeout(error: Exception) -> bool:
    """Whether a deadline passed: PyAV's (an exit) or FFmpeg's own."""
    return isinstance(error, (av.error.ExitError, av.error.TimeoutError))


def explain(error: Exception, name: str, *, doing: str) -> SourceError:
    """One sentence about what FFmpeg met.

    Args:
        error: what PyAV raised.
        name: of the source, free of credentials.
        doing: "opened" or "read".

    Returns:
        A SourceTimeout if a deadline passed, a SourceDenied if user or password are wrong, else a
        SourceError; all free of credentials.
    """
    if is_timeout(error):
        return SourceTimeout(f"{name} was silent for too long.")
    if isinstance(error, OSError) and error.errno in _UNREACHABLE:
        return SourceError(f"{name} cannot be reached: is its address right, the network up?")
    for kind, reason in _DENIALS:
        if isinstance(error, kind):
            return SourceDenied(f"{name} {reason}")
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return SourceError(f"{name} {reason}")
    detail = getattr(error, "strerror", None) or str(error)
    return SourceError(f"{name} cannot be {doing}: {redact(detail).rstrip('.')}.")


def explain_file(error: Exception, path: Path) -> SourceError:
    """The same for a local file, after a look at its first bytes."""
    if isinstance(error, av.error.InvalidDataError):
        with path.open("rb") as file:
            head = file.read(512).lstrip().lower()
        if not head:
            return SourceError(f"{path} is empty.")
        if head.startswith((b"<!doctype html", b"<html", b"<?xml")):
            return SourceError(f"{path} is not a video but a web page: download it again.")
        if head.startswith(b"version https://git-lfs"):
            return SourceError(f"{path} is not a video but a git-lfs pointer: run git lfs pull.")
    return explain(error, str(path), doing="opened")
