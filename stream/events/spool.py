"""Events on disk, from the moment they happen until their receiver has confirmed them.

SQLite keeps them. What was added survives the end of the process, ``kill -9`` included, at once;
after a power cut, what was added before the last ``sync`` is there, and nothing is damaged.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stream.errors import SinkError

logger = logging.getLogger(__name__)

MEBIBYTE = 1 << 20
ROW_BYTES = 100  # what SQLite adds to a small event, id included; measured
BATCH_BYTES = MEBIBYTE
_SHRINK_BYTES = 4 * MEBIBYTE  # an emptied file that is larger is made small again

# WAL with NORMAL: a commit is a write, which is safe from the end of this process; a checkpoint
# is two fsyncs. EXCLUSIVE: another process that opens the file is refused rather than mixed in.
_SETTINGS = (
    "PRAGMA locking_mode=EXCLUSIVE",
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=NORMAL",
    f"PRAGMA journal_size_limit={_SHRINK_BYTES}",
    # AUTOINCREMENT: no number is given twice, so what is confirmed late is never a newer event
    "CREATE TABLE IF NOT EXISTS events ("
    "sequence INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, body TEXT NOT NULL)",
)


@dataclass(frozen=True, slots=True)
class SpooledEvent:
    """One event that waits.

    Attributes:
        sequence: its place in the spool.
        id: of the event, the same in every attempt to deliver it.
        body: JSON.
    """

    sequence: int
    id: str
    body: str

    @property
    def size_bytes(self) -> int:
        """What it takes on disk, about."""
        return len(self.body.encode()) + ROW_BYTES


class Spool:
    """A queue on disk, the oldest given up when it is full. Any thread may call any method.

    A file that is damaged is put aside as ``.damaged`` and a new one begun.

    Args:
        path: of the file; its folder is there.
        max_bytes: of the events together. The file is larger by what SQLite leaves free in its
            pages, a third for events of 1 kB, and its journal may be 4 MiB.

    Attributes:
        lost: how many events were given up because the spool was full.

    Raises:
        SinkError: if another process has it open or it cannot be written.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path, self._max_bytes = path, max_bytes
        self.lost = 0
        self._lock = threading.Lock()
        self._taken = 0  # sequence of the newest event that is being delivered
        try:
            self._database = self._open()
        except (sqlite3.DatabaseError, OSError) as error:
            raise self._failure(error) from error
        size = f"SELECT COUNT(*), COALESCE(SUM(LENGTH(CAST(body AS BLOB)) + {ROW_BYTES}), 0)"
        self._count: int
        self._bytes: int
        self._count, self._bytes = self._database.execute(f"{size} FROM events").fetchone()

    def _open(self) -> sqlite3.Connection:
        try:
            return _connect(self._path)
        except sqlite3.OperationalError:  # locked, full, not ours to write
            raise
        except sqlite3.DatabaseError as error:
            aside = self._path.with_name(self._path.name + ".damaged")
            logger.warning(
                "The spool %s is damaged (%s): it is kept as %s.", self._path, error, aside.name
            )
            for suffix in ("-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            self._path.replace(aside)
            return _connect(self._path)

    def __len__(self) -> int:
        """How many events wait."""
        return self._count

    @property
    def size_bytes(self) -> int:
        """What the events take, about."""
        return self._bytes

    def append(self, events: Sequence[tuple[str, str]]) -> None:
        """Add events; the oldest go if there is no room.

        Args:
            events: id and body of each.

        Raises:
            SinkError: if the disk is full or broken; none of them was added.
        """
        with self._lock, self._transaction() as database:
            database.executemany("INSERT INTO events (id, body) VALUES (?, ?)", events)
            self._count += len(events)
            self._bytes += sum(len(body.encode()) + ROW_BYTES for _, body in events)
            if self._bytes > self._max_bytes:
                self._make_room(database)

    def _make_room(self, database: sqlite3.Connection) -> None:
        """Give up the oldest, but for those that are on their way."""
        oldest = database.execute(
            "SELECT sequence, LENGTH(CAST(body AS BLOB)) FROM events WHERE sequence > ? "
            "ORDER BY sequence",
            (self._taken,),
        )
        last = None
        for sequence, length in oldest:
            if self._bytes <= self._max_bytes:
                break
            last = sequence
            self._bytes -= length + ROW_BYTES
            self._count -= 1
            self.lost += 1
        oldest.close()
        if last is not None:
            database.execute(
                "DELETE FROM events WHERE sequence > ? AND sequence <= ?", (self._taken, last)
            )

    def take(self, most: int) -> list[SpooledEvent]:
        """The oldest events, up to a MiB; they stay until they are confirmed.

        Raises:
            SinkError: if the disk is broken.
        """
        batch: list[SpooledEvent] = []
        with self._lock, self._reading() as database:
            rows = database.execute(
                "SELECT sequence, id, body FROM events ORDER BY sequence LIMIT ?", (most,)
            )
            room = BATCH_BYTES
            for row in rows:
                event = SpooledEvent(*row)
                room -= event.size_bytes
                if batch and room < 0:
                    break
                batch.append(event)
            rows.close()
            self._taken = batch[-1].sequence if batch else 0
        return batch

    def confirm(self, events: Sequence[SpooledEvent]) -> None:
        """Remove events that were delivered, which ``take`` had given: all or the first of them.

        Raises:
            SinkError: if the disk is full or broken; they would be delivered again.
        """
        with self._lock:
            if events:
                with self._transaction() as database:
                    database.execute(
                        "DELETE FROM events WHERE sequence <= ?", (events[-1].sequence,)
                    )
                    self._count -= len(events)
                    self._bytes -= sum(event.size_bytes for event in events)
            self._taken = 0

    def sync(self) -> None:
        """Make what was added safe from a power cut.

        Raises:
            SinkError: if the disk is full or broken.
        """
        with self._lock, self._reading() as database:
            database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def close(self) -> None:
        """Close the file, small again if nothing is left in it. Legal any number of times."""
        with self._lock:
            try:
                if not self._count and self._path.stat().st_size > _SHRINK_BYTES:
                    self._database.execute("VACUUM")
            except (sqlite3.Error, OSError) as error:  # a large file is no loss
                logger.debug("The spool %s stays large: %s", self._path, error)
            self._database.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, the counts included."""
        before = self._count, self._bytes, self.lost
        try:
            with self._database:
                yield self._database
        except sqlite3.Error as error:
            self._count, self._bytes, self.lost = before
            raise self._failure(error) from error

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            yield self._database
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def _failure(self, error: sqlite3.Error | OSError) -> SinkError:
        if getattr(error, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return SinkError(
                f"Another rcnn-live delivers the same source to the same place, from the spool "
                f"{self._path}: end it, or set RCNN_LIVE_SPOOL to another folder."
            )
        reason = getattr(error, "strerror", None) or str(error)
        return SinkError(f"The spool {self._path} cannot be used: {reason}.")


def _connect(path: Path) -> sqlite3.Connection:
    path.touch(mode=0o600)  # what was seen is nobody else's business
    path.chmod(0o600)
    database = sqlite3.connect(path, timeout=0.5, check_same_thread=False)
    try:
        for setting in _SETTINGS:
            database.execute(setting).fetchone()
        database.commit()
        # the lock is taken by the first write, and a damaged file found by reading it
        database.execute("BEGIN IMMEDIATE")
        database.execute("SELECT COUNT(*), MAX(sequence) FROM events").fetchone()
        database.commit()
    except BaseException:
        database.close()
        raise
    return database
