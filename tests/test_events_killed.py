"""The whole program killed at any moment: what it had found is in the file and in the spool."""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import brokers
import pytest
from brokers import until
from jsonschema import Draft202012Validator

from stream.events.schema import SCHEMA_FILE

ROOT = Path(__file__).resolve().parents[1]
VALIDATOR = Draft202012Validator(json.loads(SCHEMA_FILE.read_text()))

# As the command would, but for source and model: a frame every 5 ms, and no weights to load
PROGRAM = """
import sys
from pieces import NumberedSource, OneBoxRuntime
from stream.sinks.event_targets import event_sinks
from stream.sinks.rotation import Rotation
from stream.stages import build_stages
from stream.threaded import ThreadedPipeline
sinks = event_sinks(sys.argv[1:], "numbers", rotation=Rotation(max_bytes=20_000))
source = NumberedSource(None, is_live=True, period_seconds=0.005)
with ThreadedPipeline(source, build_stages(OneBoxRuntime(), sinks)) as pipeline:
    while not pipeline.wait(1):
        pass
"""


def killed_after(seconds: float, folder: Path, *targets: str) -> float:
    """Runs the program until so long after its first event; gives the UTC time of its death."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *targets],
        cwd=folder,
        env={"PYTHONPATH": f"{ROOT}:{ROOT}/tests", "RCNN_LIVE_SPOOL": str(folder / "spool")},
    ) as process:
        try:
            until(lambda: brokers.content(folder / "out.jsonl"), "it does not begin")
            time.sleep(seconds)
            assert process.poll() is None
            died = time.time()
        finally:
            process.kill()
    return died


def whole(lines: list[str]) -> list[dict[str, object]]:
    events = [json.loads(line) for line in lines]
    for event in events:
        VALIDATOR.validate(event)
    return events


def age_seconds(event: dict[str, object], moment: float) -> float:
    from datetime import datetime

    return moment - datetime.fromisoformat(str(event["time"])).timestamp()


@pytest.mark.parametrize("seed", range(4))
def test_a_kill_costs_less_than_a_second(tmp_path: Path, seed: int) -> None:
    url = f"mqtt://127.0.0.1:{brokers.free_port()}/t"  # nobody is there: all stay in the spool
    moment = random.Random(seed).uniform(0.05, 2.0)
    died = killed_after(moment, tmp_path, "out.jsonl", url)

    parts = [*sorted(tmp_path.glob("out-*.jsonl")), tmp_path / "out.jsonl"]
    text = "".join(part.read_text() for part in parts)
    assert text.endswith("\n")  # a line is there wholly or not at all
    in_file = whole(text.splitlines())
    (spool,) = (tmp_path / "spool").glob("*.sqlite")
    with sqlite3.connect(spool) as database:
        rows = database.execute("SELECT body FROM events ORDER BY sequence").fetchall()
    database.close()
    in_spool = whole([body for (body,) in rows])

    for events in (in_file, in_spool):
        indices = [event["index"] for event in events]
        assert indices == sorted(set(indices))  # type: ignore[type-var]
        assert age_seconds(events[-1], died) < 1.5
    sequence = [str(event["id"])[-10:] for event in in_spool]
    assert sequence == [f"{number:010d}" for number in range(len(sequence))]  # none is missing


def test_the_next_run_delivers_what_the_killed_one_had_found(tmp_path: Path) -> None:
    with brokers.web_server() as server:
        server.mood = 503
        targets = ("out.jsonl", server.url() + "#batch=50")
        killed_after(1.0, tmp_path, *targets)
        parts = [*sorted(tmp_path.glob("out-*.jsonl")), tmp_path / "out.jsonl"]
        found = whole("".join(part.read_text() for part in parts).splitlines())
        (tmp_path / "out.jsonl").unlink()
        server.mood = 200
        killed_after(1.5, tmp_path, *targets)
        events = [event for request in server.taken for event in json.loads(request.body)]
    runs = list(dict.fromkeys(event["id"][:-11] for event in events))
    assert len(runs) == 2
    first = {event["index"] for event in events if event["id"].startswith(runs[0])}
    early = {event["index"] for event in found[: len(found) // 2]}
    assert early
    assert early <= first
