"""Keep credentials out of everything that is shown or written."""

from __future__ import annotations

import logging
import re
from urllib.parse import quote

# scheme://user:password@host: everything up to the last @, as a password may hold a slash; or,
# where it holds a space or a quotation mark, up to the last @ before a slash
_USER_INFO = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)(?:[^\s'\"]*|[^\s'\"/:@]*:[^/\n]*)@", re.IGNORECASE
)
_SECRET_PARAMETER = re.compile(
    r"(?P<name>[?&](?:[\w-]*(?:pass|pwd|token|secret|key|auth|sig)[\w-]*|user(?:name)?)=)[^&#\s'\"]+",
    re.IGNORECASE,
)
_SHORTEST_SECRET = 4  # characters; a shorter one would cut holes into words it is no part of

# Secrets that were read from the environment or a file: they may turn up outside of a URL, too.
# Only ever replaced as a whole, so that any thread may read it.
_known: re.Pattern[str] | None = None
_known_secrets: frozenset[str] = frozenset()


def keep_secret(*secrets: str) -> None:
    """From now on ``redact`` cuts these out wherever they stand, for the life of the process.

    Args:
        secrets: as they are, and found as a URL spells them, too; those of less than 4 characters
            are only cut out of URLs.
    """
    global _known, _known_secrets
    spellings = {form for text in secrets for form in (text, quote(text, safe=""))}
    _known_secrets |= {text for text in spellings if len(text) >= _SHORTEST_SECRET}
    longest_first = sorted(_known_secrets, key=len, reverse=True)
    _known = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def redact(text: str) -> str:
    """``text`` with ``***`` for user and password in every URL, secret query values and secrets."""
    text = _USER_INFO.sub(r"\g<scheme>***@", text)
    text = _SECRET_PARAMETER.sub(r"\g<name>***", text)
    return text if _known is None else _known.sub("***", text)


class RedactingFilter(logging.Filter):
    """A logging filter that redacts the finished message of every record."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), ()
        return True
