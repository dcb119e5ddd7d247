"""Where events go, as it was written: a URL, with our own options behind ``#``.

    mqtt://user:password@host:1883/topic#discovery=homeassistant
    https://host/hook?their=1#secret=whsec_…&batch=20
    redis://host:6379/stream
    kafka://host:9092,other:9092/topic#empty=skip

What is behind ``#`` is never sent to anybody.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from stream.errors import UsageError
from stream.redact import keep_secret, redact
from stream.sources.url import check_url

SCHEMES = ("mqtt", "mqtts", "http", "https", "redis", "rediss", "kafka")
_COMMON = ("empty", "spool_mb")
DEFAULT_SPOOL_MB = 64
_URL_SIGNS = "/%:@!$&'()*+,;=?~-._"  # that stay as they are


@dataclass(frozen=True, slots=True)
class Target:
    """One place that events go to.

    Attributes:
        scheme: one of ``SCHEMES``.
        address: host and port, without the user; several for Kafka.
        host: the first host.
        port: the first port, None if it is not given.
        user: unescaped, None without one.
        password: unescaped, None without one.
        path: unescaped, without the first slash.
        request: path and query, as written.
        options: of what is behind ``#``, those that are the receiver's.
        skip_empty: leave out frames with nothing on them, but for the first after one with.
        spool_bytes: that may wait on disk.
    """

    scheme: str
    address: str
    host: str
    port: int | None
    user: str | None
    password: str | None
    path: str
    request: str
    options: dict[str, str]
    skip_empty: bool
    spool_bytes: int

    def __repr__(self) -> str:
        return f"Target({self.name!r})"

    @property
    def name(self) -> str:
        """For messages: without user, query and options; the path of a webhook is often secret."""
        path = "…" if self.scheme in ("http", "https") and self.path else self.path
        return f"{self.scheme}://{self.address}/{path}"


def is_target(text: str) -> bool:
    """Whether it is a URL that events can be delivered to, rather than a file."""
    return "://" in text


def parse_target(url: str, allowed: dict[str, tuple[str, ...]]) -> Target:
    """Read the URL.

    Args:
        url: see the module.
        allowed: names of the options that each scheme knows, beside those of all.

    Raises:
        UsageError: with what is wrong, and what is allowed.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise _wrong(url, f"it is no URL, {error}") from None
    try:
        given = parse_qsl(parts.fragment, keep_blank_values=True, strict_parsing=True)
    except ValueError:
        if parts.fragment:
            raise _wrong(url, "what is behind # has to be NAME=VALUE, with & between") from None
        given = []
    options = dict(given)
    secrets = (options.get("secret"), parts.password and unquote(parts.password))
    keep_secret(*(secret for secret in secrets if secret))
    if parts.scheme not in allowed:
        raise _wrong(url, f"it has to begin with {', '.join(f'{name}://' for name in allowed)}")
    known = (*_COMMON, *allowed[parts.scheme])
    for name in options:
        if name not in known:
            raise _wrong(url, f"there is no option {name!r}: allowed are {', '.join(known)}")
    host, port = _first_host(parts, url)
    if port is not None and parts.scheme not in ("http", "https") and "@" not in parts.netloc:
        check_url(f"{parts.scheme}://host:{port}{parts.path}", "--events")
    return Target(
        scheme=parts.scheme,
        address=parts.netloc.rpartition("@")[2],
        host=host,
        port=port,
        user=None if not parts.username else unquote(parts.username),
        password=None if not parts.password else unquote(parts.password),
        path=unquote(parts.path.removeprefix("/")),
        request=_request(parts),
        options={name: value for name, value in options.items() if name not in _COMMON},
        skip_empty=_skips(options.get("empty", "keep"), url),
        spool_bytes=number(url, options, "spool_mb", DEFAULT_SPOOL_MB, 1, 1_000_000) << 20,
    )


def _request(parts: SplitResult) -> str:
    query = f"?{parts.query}" if parts.query else ""
    return quote((parts.path or "/") + query, safe=_URL_SIGNS)


def number(
    url: str, options: dict[str, str], name: str, default: int, least: int, most: int
) -> int:
    """A whole number among the options.

    Raises:
        UsageError: if it is none, or out of bounds.
    """
    text = options.get(name, str(default))
    if not re.fullmatch(r"\d{1,12}", text) or not least <= int(text) <= most:
        raise _wrong(url, f"{name} has to be a whole number from {least} to {most}")
    return int(text)


def _first_host(parts: SplitResult, url: str) -> tuple[str, int | None]:
    first = parts.netloc.rpartition("@")[2].split(",")[0]
    try:
        alone = urlsplit(f"//{first}")
        host, port = alone.hostname, alone.port
    except ValueError:
        raise _wrong(url, "its port has to be a number from 1 to 65535") from None
    if not host or port == 0:
        raise _wrong(url, "it names no host and port to go to")
    return host, port


def _skips(value: str, url: str) -> bool:
    if value not in ("keep", "skip"):
        raise _wrong(url, "empty has to be keep or skip")
    return value == "skip"


def _wrong(url: str, reason: str) -> UsageError:
    return UsageError(f"--events {redact(url).partition('#')[0]}: {reason}.")
