"""The whole program under signals and accidents: it ends within 5 s and the recording plays."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import pytest
import rtsp_server

ROOT = Path(__file__).resolve().parents[1]
STOP_SECONDS = 5.0
SLACK_SECONDS = 3.0  # for the interpreter to leave, on a busy machine


@contextmanager
def program(*arguments: object, folder: Path, **options: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "stream", "run", "--runtime", "torch-eager", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_events(path: Path, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not path.exists() or len(path.read_text().splitlines()) < count:
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def seconds_to_end(process: subprocess.Popen[str]) -> float:
    began = time.monotonic()
    process.wait(30)
    return time.monotonic() - began


def recorded(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("source", ["demo", "demo:live"])
def test_a_signal_ends_it_in_order(tmp_path: Path, number: signal.Signals, source: str) -> None:
    outputs = ("--record", "out.mp4", "--events", "out.jsonl", "--summary", "s.json")
    with program(source, *outputs, folder=tmp_path) as process:
        wait_for_events(tmp_path / "out.jsonl", 3, process)
        process.send_signal(number)
        assert seconds_to_end(process) < STOP_SECONDS + SLACK_SECONDS
        assert process.returncode == 0
    summary = json.loads((tmp_path / "s.json").read_text())
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    frames = summary["frames"]
    assert frames["captured"] == frames["emitted"] + sum(frames["dropped"].values())
    assert recorded(tmp_path / "out.mp4") == len(lines) == frames["emitted"]
    assert json.loads(lines[-1])


def test_a_silent_server_does_not_hold_it_up(tmp_path: Path) -> None:
    """It accepts the connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with program(f"tcp://127.0.0.1:{port}", folder=tmp_path) as process:
            server.settimeout(60)
            connection, _ = server.accept()  # from now on it waits for data
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            assert seconds_to_end(process) < STOP_SECONDS + SLACK_SECONDS
            connection.close()


def test_a_server_that_dies_leaves_a_finished_recording(tmp_path: Path) -> None:
    rtsp_server.require()
    with rtsp_server.rtsp_server(tmp_path) as server:
        outputs = ("--record", "out.mp4", "--events", "out.jsonl", "--no-reconnect")
        with program(server.url(), *outputs, folder=tmp_path) as process:
            wait_for_events(tmp_path / "out.jsonl", 3, process)
            server.kill()
            assert seconds_to_end(process) < STOP_SECONDS + SLACK_SECONDS
            assert process.stderr is not None
            assert "disconnected" in process.stderr.read().splitlines()[-1]
            assert process.returncode == 1
    assert recorded(tmp_path / "out.mp4") == len((tmp_path / "out.jsonl").read_text().splitlines())


def test_a_server_that_is_away_is_waited_for_until_a_signal(tmp_path: Path) -> None:
    rtsp_server.require()
    with rtsp_server.rtsp_server(tmp_path) as server:
        outputs = ("--record", "out.mp4", "--events", "out.jsonl", "--summary", "s.json")
        with program(server.url(), *outputs, folder=tmp_path) as process:
            wait_for_events(tmp_path / "out.jsonl", 5, process)
            server.kill()
            while '"reconnecting"' not in (tmp_path / "out.jsonl").read_text():
                assert process.poll() is None
                time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            assert seconds_to_end(process) < STOP_SECONDS + SLACK_SECONDS
            assert process.returncode == 0
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    told = [row for row in rows if row.get("type") == "source"]
    assert [row["state"] for row in told[:3]] == ["connecting", "live", "reconnecting"]
    assert all(row["time"].endswith("Z") for row in rows)
    frames = json.loads((tmp_path / "s.json").read_text())["frames"]
    assert recorded(tmp_path / "out.mp4") == len(rows) - len(told) == frames["emitted"]


def test_a_full_disk_ends_the_recording_and_not_the_run(tmp_path: Path) -> None:
    """A file size limit stands in for the disk: no file may grow beyond 120 kB."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (120_000, 120_000))

    with program(
        "demo", "--record", "out.mp4", "--summary", "s.json", "--max-frames", "30",
        "--canvas-side", "128", "--quiet", folder=tmp_path, preexec_fn=limit,
    ) as process:  # fmt: skip
        process.wait(100)
        assert process.stderr is not None
        told = process.stderr.read().splitlines()
    assert process.returncode == 1
    sentence = "The recording out.mp4 could not be written: File too large"
    assert "The run goes on without it." in " ".join(" ".join(told).split())
    assert told[-1].startswith(f"rcnn-live: {sentence}")
    summary = json.loads((tmp_path / "s.json").read_text())
    recording = summary["recording"]
    assert summary["frames"]["emitted"] == recording["written"] + recording["unrecorded"] == 30
    assert recording["unrecorded"] > 0
    assert recording["trouble"].startswith(sentence)
    with av.open(str(tmp_path / "out.mp4")) as container:  # only its very end is missing
        assert next(container.decode(video=0)).width == 854


def test_a_reader_that_leaves_ends_it_in_order(tmp_path: Path) -> None:
    """As in ``rcnn-live run demo --events - | head -1``."""
    with program(
        "demo", "--events", "-", "--record", "out.mp4", "--quiet",
        folder=tmp_path, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["index"] == 0
        process.stdout.close()
        assert seconds_to_end(process) < STOP_SECONDS + SLACK_SECONDS
        assert process.stderr is not None
        (message,) = process.stderr.read().splitlines()
    assert process.returncode == 1
    assert message == "rcnn-live: --events -: the program that read standard output has ended."
    assert recorded(tmp_path / "out.mp4") >= 1
