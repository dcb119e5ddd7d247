"""Keep credentials out of everything that is shown or written."""

from __future__ import annotations

import logging
import re

# scheme://user:password@host: everything up to the last @, as a password may hold a slash
_USER_INFO = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)[^\s'\"]*@", re.IGNORECASE)
_SECRET_PARAMETER = re.compile(
    r"(?P<name>[?&](?:[\w-]*(?:pass|pwd|token|secret|key|auth|sig)[\w-]*|user(?:name)?)=)[^&#\s'\"]+",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """``text`` with ``***`` for user and password in every URL and for secret query values."""
    text = _USER_INFO.sub(r"\g<scheme>***@", text)
    return _SECRET_PARAMETER.sub(r"\g<name>***", text)


class RedactingFilter(logging.Filter):
    """A logging filter that redacts the finished message of every record."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), ()
        return True
