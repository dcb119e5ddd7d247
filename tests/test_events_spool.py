"""The spool: nothing it took is lost, but what it says it lost."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stream.errors import SinkError
from stream.events.spool import MEBIBYTE, ROW_BYTES, Spool

ROOT = Path(__file__).resolve().parents[1]


def rows(*numbers: int, size: int = 20) -> list[tuple[str, str]]:
    return [(f"id-{number:06d}", f"{number:06d}".ljust(size, "x")) for number in numbers]


def numbers(spool: Spool, most: int = 1000) -> list[int]:
    return [int(event.body[:6]) for event in spool.take(most)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.sqlite"


def test_events_come_in_order_until_they_are_confirmed(path: Path) -> None:
    spool = Spool(path, MEBIBYTE)
    spool.append(rows(*range(5)))
    first = spool.take(3)
    assert [event.id for event in first] == ["id-000000", "id-000001", "id-000002"]
    assert numbers(spool) == [0, 1, 2, 3, 4]
    spool.confirm(first[:2])
    assert numbers(spool) == [2, 3, 4]
    assert (len(spool), spool.size_bytes) == (3, 3 * (20 + ROW_BYTES))
    spool.close()


def test_the_next_run_finds_what_was_left(path: Path) -> None:
    spool = Spool(path, MEBIBYTE)
    spool.append(rows(1, 2, 3))
    spool.confirm(spool.take(1))
    spool.close()
    again = Spool(path, MEBIBYTE)
    assert numbers(again) == [2, 3]
    assert (len(again), again.size_bytes) == (2, 2 * (20 + ROW_BYTES))
    again.close()


def test_a_full_spool_gives_up_the_oldest_and_counts_them(path: Path) -> None:
    spool = Spool(path, 10 * (100 + ROW_BYTES))
    for number in range(25):
        spool.append(rows(number, size=100))
    assert numbers(spool) == list(range(15, 25))
    assert (len(spool), spool.lost) == (10, 15)
    spool.close()


def test_what_is_on_its_way_is_not_given_up(path: Path) -> None:
    spool = Spool(path, 10 * (100 + ROW_BYTES))
    spool.append(rows(*range(10), size=100))
    batch = spool.take(4)
    spool.append(rows(*range(10, 15), size=100))
    spool.confirm(batch)
    assert numbers(spool) == [9, *range(10, 15)]
    assert (len(spool), spool.lost) == (6, 5)
    spool.close()


def test_the_file_stays_near_its_bound(path: Path) -> None:
    spool = Spool(path, 2 * MEBIBYTE)
    for start in range(0, 12_000, 100):  # six times what it holds
        spool.append(rows(*range(start, start + 100), size=900))
        spool.sync()
    spool.close()
    assert spool.lost > 8_000
    size = sum(file.stat().st_size for file in path.parent.iterdir())
    assert 1.5 * MEBIBYTE < size < 2.5 * MEBIBYTE


def test_two_programs_cannot_share_it(path: Path) -> None:
    spool = Spool(path, MEBIBYTE)
    with pytest.raises(SinkError, match="Another rcnn-live delivers the same source"):
        Spool(path, MEBIBYTE)
    spool.close()
    Spool(path, MEBIBYTE).close()


def test_one_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "spool.sqlite"
    with pytest.raises(SinkError) as caught:
        Spool(missing, MEBIBYTE)
    assert str(caught.value) == f"The spool {missing} cannot be used: No such file or directory."


def test_nobody_else_may_read_it(path: Path) -> None:
    Spool(path, MEBIBYTE).close()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("damage", [b"no database at all" * 400, None])
def test_a_damaged_one_is_kept_aside(
    path: Path, damage: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool(path, MEBIBYTE)
    spool.append(rows(*range(200)))
    spool.close()
    if damage is None:  # its beginning is whole, the pages with the events are not
        data = bytearray(path.read_bytes())
        data[4096:] = b"\xff" * (len(data) - 4096)
        damage = bytes(data)
    path.write_bytes(damage)
    with caplog.at_level(logging.WARNING):
        again = Spool(path, MEBIBYTE)
    assert "is damaged" in caplog.text
    assert path.with_name("spool.sqlite.damaged").read_bytes() == damage
    again.append(rows(7))
    assert numbers(again) == [7]
    again.close()


def test_a_full_disk_is_told_and_passes(path: Path) -> None:
    spool = Spool(path, 64 * MEBIBYTE)
    spool.append(rows(1))
    (pages,) = spool._database.execute("PRAGMA page_count").fetchone()
    spool._database.execute(f"PRAGMA max_page_count={pages + 4}")
    with pytest.raises(SinkError, match="cannot be used: database or disk is full"):
        spool.append(rows(*range(2, 30), size=4000))
    assert (len(spool), spool.size_bytes) == (1, 20 + ROW_BYTES)
    spool._database.execute("PRAGMA max_page_count=100000")
    spool.append(rows(2, 3))
    assert numbers(spool) == [1, 2, 3]
    spool.close()


WRITER = """
import sys
from pathlib import Path
from stream.events.spool import Spool
spool = Spool(Path(sys.argv[1]), 64 << 20)
for number in range(1_000_000):
    spool.append([(f"id-{number:06d}", f"{number:06d}" + "x" * 300)])
    print(number, flush=True)
"""


@pytest.mark.parametrize("after", [1, 200, 2000])
def test_a_kill_costs_nothing_that_was_added(path: Path, after: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for _ in range(after):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        said = [int(line) for line in process.stdout if line.endswith("\n")]
    last = said[-1] if said else after - 1
    spool = Spool(path, 64 * MEBIBYTE)
    found = numbers(spool, 1_000_000)
    spool.close()
    assert found == list(range(len(found)))  # as many as one batch holds
    assert len(spool) >= last + 1
