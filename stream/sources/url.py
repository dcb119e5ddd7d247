"""Whether a URL says what it was meant to say."""

from __future__ import annotations

from urllib.parse import urlsplit

from stream.errors import UsageError

_ESCAPES = (
    "write / as %2F, @ as %40, : as %3A, # as %23, ? as %3F, [ as %5B and ] as %5D in a user or "
    "password"
)


def check_url(url: str, what: str) -> None:
    """Refuse a URL that would be read in another way than it was meant.

    Args:
        url: SCHEME://HOST/PATH.
        what: it is of, for messages.

    Raises:
        UsageError: in a sentence that shows nothing of the URL.
    """
    # Nothing of the URL may be shown here: what looks like a port may be half a password.
    try:
        parts = urlsplit(url)
    except ValueError:
        raise UsageError(f"The host in the URL of {what} is none: {_ESCAPES}.") from None
    try:
        has_port = parts.port is not None
    except ValueError:
        raise UsageError(f"The port in the URL of {what} is not a number: {_ESCAPES}.") from None
    if has_port and "@" not in parts.netloc and "@" in url:
        raise UsageError(f"The URL of {what} has an @ after its host: {_ESCAPES}.")
    if not parts.netloc.rpartition("@")[2]:
        raise UsageError(f"There is no host in the URL of {what}: it is SCHEME://HOST/PATH.")
