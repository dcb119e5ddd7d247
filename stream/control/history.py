"""What happened, newest first: a bounded number of events with a picture each, in one file.

    add ─▶ bounded queue ─ history thread ─▶ SQLite

The pipeline never waits for the disk: events that come faster than they can be kept are dropped
and counted.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream.bounded_queue import BoundedQueue, Policy, QueueClosed
from stream.control.library import Finder
from stream.control.types import EventEntry
from stream.worker import Worker

logger = logging.getLogger(__name__)

APPEARED, LEFT = "appeared", "left"
ENTERED_ZONE, LEFT_ZONE = "zone_entered", "zone_left"
CROSSED_IN, CROSSED_OUT = "line_in", "line_out"
STATE, CLIP = "state", "clip"
KINDS = (APPEARED, LEFT, ENTERED_ZONE, LEFT_ZONE, CROSSED_IN, CROSSED_OUT, STATE, CLIP)

MOST_EVENTS = 10_000  # with their pictures some 60 MB
LONGEST_PAGE = 200
QUEUE_CAPACITY = 1000
CLOSE_SECONDS = 3.0
_TRIM_EVERY = 100  # events
_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, token TEXT NOT NULL, camera TEXT NOT NULL,
    at REAL NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL, label TEXT, score REAL,
    track INTEGER, clip TEXT, thumbnail BLOB
);
CREATE INDEX IF NOT EXISTS events_token ON events (token);
CREATE INDEX IF NOT EXISTS events_camera ON events (camera, id);
"""
_COLUMNS = "camera, at, kind, text, label, score, track, clip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that has happened, to be kept.

    Attributes:
        token: by which ``Better`` finds it; empty if it never does.
        clip: name of the file that was made of it.
        thumbnail: JPEG.

    All else is as in ``EventEntry``.
    """

    camera: str
    at: float
    kind: str
    text: str
    token: str = ""
    label: str | None = None
    score: float | None = None
    track: int | None = None
    clip: str | None = None
    thumbnail: bytes | None = None


@dataclass(frozen=True, slots=True)
class Better:
    """A better look at the object of an event."""

    token: str
    score: float
    thumbnail: bytes


class EventHistory:
    """Keeps events in one file. Safe to use from any thread.

    A file that cannot be used is told of once, and the events are kept in memory.

    Args:
        file: of the history; made when the first event comes.
        finder: what finds an event in the recordings, asked for each page.
        most: how many events are kept.
    """

    def __init__(
        self, file: Path, finder: Callable[[], Finder], *, most: int = MOST_EVENTS
    ) -> None:
        self._file, self._finder, self._most = file, finder, most
        self._queue: BoundedQueue[Event | Better] = BoundedQueue(
            QUEUE_CAPACITY, Policy.DROP_OLDEST, self._drop
        )
        self._worker = Worker("event history", self._keep_all)
        self._starting = threading.Lock()
        self._is_started = False
        self._lock = threading.Lock()  # of the database
        self._database: sqlite3.Connection | None = None
        self._dropped = 0

    def add(self, event: Event | Better) -> None:
        """Keep an event, or a better look at one, unless it is closed. Returns at once."""
        with self._starting:
            if not self._is_started:
                self._is_started = True
                self._worker.start()
        try:
            self._queue.put(event)
        except QueueClosed:
            self._drop(event, "closed")

    def entries(
        self,
        *,
        camera: str | None = None,
        label: str | None = None,
        before: int | None = None,
        limit: int = LONGEST_PAGE,
    ) -> list[EventEntry]:
        """Events, newest first.

        Args:
            camera: of this one only.
            label: of this class only.
            before: older than the event of this id.
            limit: at most so many, and never more than ``LONGEST_PAGE``.
        """
        wanted = {"camera = ?": camera, "label = ?": label, "id < ?": before}
        given = {condition: value for condition, value in wanted.items() if value is not None}
        where = " AND ".join(given) or "TRUE"
        rows = self._ask(
            f"SELECT id, thumbnail IS NOT NULL, {_COLUMNS} FROM events WHERE {where} "
            "ORDER BY id DESC LIMIT ?",
            (*given.values(), max(0, min(limit, LONGEST_PAGE))),
        )
        if not rows:
            return []
        finder = self._finder()
        return [_entry(row, finder) for row in rows]

    def thumbnail(self, event_id: int) -> bytes:
        """The JPEG of an event.

        Raises:
            KeyError: if there is no such event, or no picture of it.
        """
        rows = self._ask("SELECT thumbnail FROM events WHERE id = ?", (event_id,))
        if not rows or rows[0][0] is None:
            raise KeyError(event_id)
        return bytes(rows[0][0])

    def close(self) -> None:
        """Write what still waits. Legal any number of times."""
        self._queue.close()
        if not self._worker.join(CLOSE_SECONDS):
            logger.warning("The disk of %s is too slow: the latest events are lost.", self._file)
            return
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    def _drop(self, _event: Event | Better, reason: str) -> None:
        self._dropped += 1
        if self._dropped & (self._dropped - 1) == 0 and reason != "closed":  # 1, 2, 4, 8 …
            logger.warning("%d events are not in the history: its disk is too slow.", self._dropped)

    def _ask(self, question: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._lock:
            if self._database is None and not self._file.exists():
                return []
            try:
                with closing(self._opened().execute(question, values)) as answer:
                    return answer.fetchall()
            except (sqlite3.Error, OverflowError) as error:
                logger.warning("The history %s cannot be read: %s.", self._file, error)
                return []

    # ── the history thread ──

    def _keep_all(self) -> None:
        added = 0
        for event in self._queue:
            with self._lock:
                try:
                    database = self._opened()
                    with database:
                        added += _keep(database, event)
                        if added % _TRIM_EVERY == 0:
                            _trim(database, self._most)
                except sqlite3.Error as error:
                    logger.warning("An event is not in the history %s: %s.", self._file, error)
        with self._lock, contextlib.suppress(sqlite3.Error):  # next time, then
            if self._database is not None:
                with self._database:
                    _trim(self._database, self._most)

    def _opened(self) -> sqlite3.Connection:
        if self._database is None:
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                self._database = _open(str(self._file))
            except (OSError, sqlite3.Error) as error:
                logger.warning("Events are kept in memory: %s: %s.", self._file, error)
                self._database = _open(":memory:")
        return self._database


def _open(name: str) -> sqlite3.Connection:
    database = sqlite3.connect(name, timeout=2.0, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.executescript(_SCHEMA)
    except sqlite3.Error:
        database.close()
        raise
    return database


def _keep(database: sqlite3.Connection, event: Event | Better) -> int:
    """How many events there are more."""
    if isinstance(event, Better):
        database.execute(
            "UPDATE events SET score = ?, thumbnail = ? WHERE token = ?",
            (event.score, event.thumbnail, event.token),
        )
        return 0
    database.execute(
        f"INSERT INTO events (token, {_COLUMNS}, thumbnail) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            event.token, event.camera, event.at, event.kind, event.text, event.label, event.score,
            event.track, event.clip, event.thumbnail,
        ),
    )  # fmt: skip
    return 1


def _trim(database: sqlite3.Connection, most: int) -> None:
    database.execute("DELETE FROM events WHERE id <= (SELECT MAX(id) FROM events) - ?", (most,))


def _entry(row: tuple[Any, ...], finder: Finder) -> EventEntry:
    number, has_thumbnail, camera, at, kind, text, label, score, track, clip = row
    return EventEntry(
        id=number,
        camera=camera,
        at=at,
        kind=kind,
        text=text,
        label=label,
        score=score,
        track=track,
        has_thumbnail=bool(has_thumbnail),
        recording=finder.moment(camera, at),
        clip=None if clip is None else finder.file(camera, clip),
    )
