"""Logs for people or for machines, and no line of them a thousand times over."""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.logging import RichHandler

from stream.redact import RedactingFilter, redact

logger = logging.getLogger(__name__)

REPEAT_SECONDS = 1.0  # a message that comes again within it is counted, not shown
_FIGURE = re.compile(r"(?<![\w.:-])-?\d+(?:\.\d+)?(?!\w|\.\d)")
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def set_up_logging(*, debug: bool = False, form: str = "text") -> None:
    """One handler on standard error for the whole process.

    Args:
        debug: show debug messages.
        form: ``text`` shows warnings; ``json`` writes one object a line, what goes well included.
    """
    handler: logging.Handler
    if form == "json":
        handler = logging.StreamHandler()
        handler.setFormatter(JsonFormatter())
    else:
        handler = RichHandler(
            console=Console(stderr=True), show_time=False, show_path=False, rich_tracebacks=False
        )
    handler.addFilter(RepeatFilter())
    handler.addFilter(RedactingFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("stream").setLevel(logging.INFO if form == "json" else logging.NOTSET)
    if debug:
        root.setLevel(logging.DEBUG)
        logging.getLogger("stream").setLevel(logging.DEBUG)


def notices(console: Console, *, in_log: bool) -> Callable[[str], None]:
    """What takes the sentences that a user is told: the console, or a log that says it all."""

    def to_console(text: str) -> None:
        console.print(redact(text), highlight=False, soft_wrap=True, markup=False)

    return logger.info if in_log else to_console


def tell_failure(message: str) -> None:
    """The last word on standard error, in the form that the log has."""
    handlers = logging.getLogger().handlers
    if any(isinstance(handler.formatter, JsonFormatter) for handler in handlers):
        logger.error("%s", message)
    else:
        click.echo(f"rcnn-live: {redact(message)}", err=True)


class JsonFormatter(logging.Formatter):
    """``{"time", "level", "logger", "thread", "message", …}`` in one line.

    What a message says in ``extra`` (``camera``, ``state``) is a field of its own; ``exception`` is
    the traceback, if there is one.
    """

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        row: dict[str, object] = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "thread": record.threadName,
            "message": record.getMessage(),
        }
        row |= {key: value for key, value in vars(record).items() if key not in _OWN}
        if record.exc_info:
            row["exception"] = redact(self.formatException(record.exc_info))
        return json.dumps(row, ensure_ascii=False, default=str)


class RepeatFilter(logging.Filter):
    """Lets the first of equal messages through; the next after a second says how many came.

    Messages of one camera are equal if they only differ in their figures. A number that is part of
    a name, such as cam1 or 10.0.0.5, is none.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._shown: dict[tuple[str, str, str], tuple[float, int]] = {}  # at, kept back since

    def filter(self, record: logging.LogRecord) -> bool:
        text, now = record.getMessage(), time.monotonic()
        key = record.name, getattr(record, "camera", ""), _FIGURE.sub("", text)
        with self._lock:
            shown_at, kept_back = self._shown.get(key, (-REPEAT_SECONDS, 0))
            if now - shown_at < REPEAT_SECONDS:
                self._shown[key] = shown_at, kept_back + 1
                return False
            if len(self._shown) > 1000:  # a message with something new in it each time
                self._shown.clear()
            self._shown[key] = now, 0
        if kept_back:
            record.msg, record.args = f"{text} ({kept_back} more like it since)", ()
        return True
