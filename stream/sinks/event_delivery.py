"""Events to brokers and web servers, through a spool for each."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.paths import state_folder
from stream.errors import ThreadLeftBehind, UsageError
from stream.events.outbox import Outbox, OutboxStatistics
from stream.events.receivers import create_deliverer
from stream.events.schema import EventForm, encode
from stream.observer import ClipChange
from stream.sinks.base import Sink
from stream.sources.base import SourceInfo
from stream.sources.status import SourceStatus

if TYPE_CHECKING:
    from stream.stages import Job

VARIABLE = "RCNN_LIVE_SPOOL"


def spool_folder() -> Path:
    """``RCNN_LIVE_SPOOL``, or rcnn-live in the user's folder of what programs keep."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    return state_folder() / "spool"


class EventDelivery(Sink):
    """Gives every event, with one id, to each receiver's outbox; waits for none of them.

    Args:
        urls: of the receivers, see ``stream/events/target.py``.
        source: name of the source, free of credentials.
        masks: add each mask.
        folder: of the spools; by default ``spool_folder()``.

    Raises:
        UsageError: if a URL makes no sense, its library is missing, or there can be no spool.
    """

    name = "deliver"

    def __init__(
        self,
        urls: Sequence[str],
        source: str,
        *,
        masks: bool = False,
        folder: Path | None = None,
    ) -> None:
        receivers = [create_deliverer(url, source) for url in urls]
        folder = _made(folder or spool_folder())
        spools = [folder / _file_name(url, source) for url in urls]
        for number, (target, _) in enumerate(receivers):
            if spools[number] in spools[:number]:
                raise UsageError(f"--events {target.name} is given twice: leave out one of them.")
        self._outboxes = [
            Outbox(deliverer, spool, target.spool_bytes)
            for spool, (target, deliverer) in zip(spools, receivers, strict=True)
        ]
        self._skips_empty = [target.skip_empty for target, _ in receivers]
        self._form = EventForm(masks=masks, identified=True, source=source)
        self._lock = threading.Lock()  # source_changed and clip_changed come from other threads
        self._sequence = 0
        self._was_empty = False  # the last frame
        self._is_open = False

    def open(self, info: SourceInfo) -> None:
        self._form.open(info)
        self._is_open = True
        for outbox in self._outboxes:
            outbox.start()

    def write(self, job: Job) -> None:
        with self._lock:
            event = self._form.of_frame(job, self._sequence)
            is_empty = not event["detections"]
            self._put(event, is_skippable=is_empty and self._was_empty)
            self._was_empty = is_empty

    def source_changed(self, status: SourceStatus) -> None:
        with self._lock:
            self._put(self._form.of_source(status, self._sequence))

    def clip_changed(self, change: ClipChange) -> None:
        with self._lock:
            self._put(self._form.of_clip(change, self._sequence))

    def _put(self, event: dict[str, Any], *, is_skippable: bool = False) -> None:
        self._sequence += 1
        body = encode(event)
        for outbox, skips in zip(self._outboxes, self._skips_empty, strict=True):
            if not (skips and is_skippable):
                outbox.put(event["id"], body)

    def close(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        left: list[str] = []
        for outbox in self._outboxes:
            outbox.end()
        for outbox in self._outboxes:
            try:
                outbox.join()
            except ThreadLeftBehind as error:
                left.append(str(error))
        if left:
            raise ThreadLeftBehind(" ".join(left))

    def statistics(self) -> list[tuple[str, OutboxStatistics]]:
        """Of every receiver, with its name without credentials; from any thread."""
        return [(outbox.name, outbox.statistics()) for outbox in self._outboxes]


def _file_name(url: str, source: str) -> str:
    """The same for the same source and receiver, in every run."""
    readable = re.sub(r"[^\w.-]+", "-", source, flags=re.ASCII).strip("-.")[-40:]
    # another password or other options, and what waits is still found
    kind, _, rest = url.partition("#")[0].partition("://")
    key = hashlib.sha256(f"{rest.rpartition('@')[2]}\0{source}".encode()).hexdigest()[:12]
    return f"{kind}-{readable}-{key}.sqlite"


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"The spool folder {folder} cannot be made: {error.strerror}; set {VARIABLE} to "
            "another one."
        ) from error
    return folder
