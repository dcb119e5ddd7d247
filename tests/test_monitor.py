"""What operators see: metrics, health, logs; and what nobody may see."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import pytest
import rtsp_server
from pieces import NumberedSource, OneBoxRuntime, Run
from prometheus_client.parser import text_string_to_metric_families

from stream.batcher import BatcherStatistics
from stream.config import Metrics
from stream.errors import UsageError
from stream.monitor.drops import DropReports
from stream.monitor.logs import JsonFormatter, RepeatFilter
from stream.monitor.server import MonitorServer, serving
from stream.monitor.snapshot import Accounts, CameraSnapshot, CameraStatus, status_of
from stream.redact import RedactingFilter
from stream.stages import build_stages
from stream.threaded import ThreadedPipeline

ROOT = Path(__file__).resolve().parents[1]
SECRET = "s3cr3t-pa55"


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def samples(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Name to label values, in the order of their names, to value."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            assert labels not in found.setdefault(sample.name, {}), sample
            found[sample.name][labels] = sample.value
    return found


def ended_pipeline() -> tuple[ThreadedPipeline, Accounts]:
    accounts = Accounts(restarts=2, reconnects=5, corrupt_packets=7)
    pipeline = ThreadedPipeline(
        NumberedSource(100, is_live=True, period_seconds=0.002),
        build_stages(OneBoxRuntime(0.01), []),
        meter=accounts.meter,
        ledger=accounts.ledger,
    )
    with pipeline:
        while not pipeline.wait(0.05):
            continue
    return pipeline, accounts


def test_metrics_are_the_ledger_s_figures() -> None:
    pipeline, accounts = ended_pipeline()
    counts = accounts.ledger.counts()
    model = BatcherStatistics("boxes 48x64", 2, 1, {1: 10, 3: 4})

    def cameras() -> list[CameraSnapshot]:
        return [CameraSnapshot.of("door", status_of(pipeline), accounts, pipeline)]

    with MonitorServer(0, "127.0.0.1", cameras=cameras, models=lambda: [model]) as server:
        status, text = get(f"http://127.0.0.1:{server.port}/metrics")
    assert status == 200
    found = samples(text)
    frames = found["rcnn_live_frames_total"]
    assert frames["door", "captured", "", ""] == counts.captured == 100
    assert frames["door", "emitted", "", ""] == counts.emitted > 0
    dropped = {key: value for key, value in frames.items() if key[1] == "dropped"}
    assert sum(dropped.values()) == sum(counts.dropped.values()) > 0
    assert ("door", "dropped", "queue_full", "model") in dropped
    ages = found["rcnn_live_frame_age_seconds_bucket"]
    assert ages["door", "+Inf"] == counts.emitted
    assert found["rcnn_live_frame_age_seconds_count"]["door",] == counts.emitted
    bounds = [ages[key] for key in sorted(ages, key=lambda key: float(key[1]))]
    assert bounds == sorted(bounds)
    assert 0 < found["rcnn_live_frame_age_seconds_sum"]["door",] < 10 * counts.emitted
    assert found["rcnn_live_camera_state"]["door", "live"] == 1
    assert sum(found["rcnn_live_camera_state"].values()) == 1
    assert found["rcnn_live_restarts_total"]["door",] == 2
    assert found["rcnn_live_reconnects_total"]["door",] == 5
    assert found["rcnn_live_corrupt_packets_total"]["door",] == 7
    assert found["rcnn_live_objects_total"]["door",] == counts.emitted
    assert found["rcnn_live_queue_depth"]["door", "model"] == 0
    assert found["rcnn_live_model_batch_size_sum"]["boxes 48x64",] == 22
    assert found["rcnn_live_model_batch_size_bucket"]["2", "boxes 48x64"] == 10
    assert found["process_resident_memory_bytes"][()] > 1e6


def test_health_and_readiness() -> None:
    status = CameraStatus("live")

    def cameras() -> list[CameraSnapshot]:
        return [CameraSnapshot.of("door", status, Accounts(), None)]

    with MonitorServer(0, "127.0.0.1", cameras=cameras) as server:
        address = f"http://127.0.0.1:{server.port}"
        assert get(f"{address}/healthz") == (200, '{"alive": true}\n')
        code, text = get(f"{address}/readyz")
        assert (code, json.loads(text)["ready"]) == (200, True)
        status = CameraStatus("reconnecting", "door was silent for 2 s.")
        code, text = get(f"{address}/readyz")
        assert code == 503
        assert json.loads(text)["cameras"]["door"] == {
            "state": "reconnecting",
            "reason": "door was silent for 2 s.",
        }
        assert get(f"{address}/nothing")[0] == 404


def test_a_client_that_says_nothing_holds_nobody_up() -> None:
    with (
        MonitorServer(0, "127.0.0.1", cameras=list) as server,
        socket.create_connection(("127.0.0.1", server.port)),
    ):
        assert get(f"http://127.0.0.1:{server.port}/healthz")[0] == 200


def test_a_port_that_is_taken() -> None:
    with MonitorServer(0, "127.0.0.1", cameras=list) as server:
        with pytest.raises(UsageError, match=f"--metrics-port {server.port} on 127.0.0.1 cannot"):
            MonitorServer(server.port, "127.0.0.1", cameras=list)
        notes: list[str] = []
        with serving(None, notes.append, cameras=list):
            assert notes == []


def record_of(text: str, *arguments: object, **extra: object) -> logging.LogRecord:
    logger = logging.getLogger("stream.test")
    return logger.makeRecord(
        logger.name, logging.WARNING, "x.py", 1, text, arguments, None, extra=extra
    )


def test_a_log_line_is_one_json_object() -> None:
    record = record_of("%s: lost rtsp://a:b@host/x\nnext", "door", camera="door", state="stalled")
    RedactingFilter().filter(record)
    row = json.loads(JsonFormatter().format(record))
    assert row.pop("time").endswith("Z")
    assert row == {
        "level": "warning",
        "logger": "stream.test",
        "thread": "MainThread",
        "message": "door: lost rtsp://***@host/x\nnext",
        "camera": "door",
        "state": "stalled",
    }


def test_a_traceback_in_the_log_shows_no_password() -> None:
    try:
        raise ValueError("rtsp://user:hunter2@host/x")
    except ValueError:
        record = record_of("failed")
        record.exc_info = sys.exc_info()
    text = JsonFormatter().format(record)
    assert "hunter2" not in text
    assert "ValueError" in json.loads(text)["exception"]


def test_repeated_lines_are_counted_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("stream.monitor.logs.time.monotonic", lambda: now)
    repeats = RepeatFilter()
    shown = [repeats.filter(record_of("packet %d of %s is damaged", k, "door")) for k in range(50)]
    assert shown == [True] + [False] * 49
    assert repeats.filter(record_of("packet %d of %s is damaged", 1, "yard"))
    now += 1.1
    record = record_of("packet %d of %s is damaged", 50, "door")
    assert repeats.filter(record)
    assert record.getMessage() == "packet 50 of door is damaged (49 more like it since)"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("cam1: live", "cam2: live"),
        ("rtsp://***@10.0.0.5/s was silent for 2 s.", "rtsp://***@10.0.0.6/s was silent for 2 s."),
    ],
)
def test_what_another_camera_says_is_no_repetition(first: str, second: str) -> None:
    repeats = RepeatFilter()
    assert [repeats.filter(record_of(text)) for text in (first, second)] == [True, True]


def test_cameras_that_are_called_by_numbers_are_not_each_other() -> None:
    repeats = RepeatFilter()
    shown = [repeats.filter(record_of(f"{k % 2}: is away", camera=str(k % 2))) for k in range(4)]
    assert shown == [True, True, False, False]


def test_figures_make_no_other_message() -> None:
    repeats = RepeatFilter()
    texts = [f"It was silent for {k / 3:.2f} s, {k} of 9 ({-k})." for k in range(9)]
    assert [repeats.filter(record_of(text)) for text in texts] == [True] + [False] * 8


def test_drops_are_told_ever_more_rarely_while_they_go_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    now, accounts = 100.0, Accounts()
    monkeypatch.setattr("stream.monitor.drops.time.monotonic", lambda: now)
    reports = DropReports(lambda: [CameraSnapshot.of("door", CameraStatus("live"), accounts, None)])
    told: list[tuple[int, str]] = []
    for second in range(200):
        now += 1.0
        if second < 100:
            for _ in range(37):
                accounts.ledger.dropped("model", "queue_full")
        caplog.clear()
        reports.pump()
        told += [(second, record.getMessage()) for record in caplog.records]
    assert told[0] == (1, "door: dropped 37 frames in the last second (queue_full 37)")
    assert told[1] == (11, "door: dropped 370 frames in the last 10 s (queue_full 370)")
    assert told[2] == (71, "door: dropped 2220 frames in the last 60 s (queue_full 2220)")
    assert len(told) == 4


# ── the whole program ──


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def program(*arguments: object, folder: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "stream", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CAMERA_PASSWORD": SECRET},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    output: list[str] = []
    readers = [
        threading.Thread(target=lambda pipe=pipe: output.extend(pipe))
        for pipe in (process.stdout, process.stderr)
    ]
    for reader in readers:
        reader.start()
    process.output = output  # type: ignore[attr-defined]
    with process:
        try:
            yield process
        finally:
            process.kill()
            for reader in readers:
                reader.join()


def wait_for(process: subprocess.Popen[str], condition: object, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        said = "".join(process.output)  # type: ignore[attr-defined]
        assert process.poll() is None, said
        assert time.monotonic() < deadline, said
        time.sleep(0.1)


def frames_in(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_cameras_from_start_to_end_without_a_password_anywhere(tmp_path: Path) -> None:
    """A real server with a password, metrics, edits good and bad, SIGHUP, SIGTERM."""
    port, pages = free_port(), []
    config = tmp_path / "cameras.yaml"
    with rtsp_server.rtsp_server(tmp_path, user="user", password=SECRET) as server:
        door = server.url(user_info="user:${CAMERA_PASSWORD}")
        text = (
            f"metrics: {{port: {port}}}\n"
            "defaults: {runtime: torch-eager, canvas_side: 64, record: 'out/{name}.mp4',"
            " events: 'out/{name}.jsonl'}\n"
            f"cameras:\n  door: {{source: '{door}'}}\n"
            f"  wrong: {{source: '{server.url('nothing', 'user:${CAMERA_PASSWORD}')}'}}\n"
        )
        config.write_text(text)
        options = ("--summary", "s.json", "--log", "json")
        with program("cameras", config, *options, folder=tmp_path) as process:

            def ready() -> dict[str, object]:
                try:
                    code, page = get(f"http://127.0.0.1:{port}/readyz")
                except OSError:
                    return {}
                pages.append(page)
                cameras = json.loads(page)["cameras"]
                assert code == (200 if json.loads(page)["ready"] else 503)
                return {name: camera["state"] for name, camera in cameras.items()}

            events = tmp_path / "out" / "door.jsonl"
            wait_for(process, lambda: ready() == {"door": "live", "wrong": "connecting"})
            wait_for(process, lambda: events.exists() and events.read_text().count('"index"') > 3)
            pages.append(get(f"http://127.0.0.1:{port}/metrics")[1])

            config.write_text(text.replace("canvas_side", "canvas_sid"))
            wait_for(process, lambda: "did you mean 'canvas_side'" in "".join(process.output))
            assert ready()["door"] == "live"

            config.write_text(text.split("  wrong:")[0])
            process.send_signal(signal.SIGHUP)
            wait_for(process, lambda: ready() == {"door": "live"})

            process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            process.wait(30)
            assert time.monotonic() - began < 5 + 3
            assert process.returncode == 0
    rows = [json.loads(line) for line in process.output]  # whatever it said was JSON
    assert any(row.get("state") == "live" and row["camera"] == "door" for row in rows)
    summary = json.loads((tmp_path / "s.json").read_text())
    frames = summary["cameras"]["door"]["frames"]
    assert frames["captured"] == frames["emitted"] + sum(frames["dropped"].values())
    assert summary["total"]["frames"]["emitted"] == frames["emitted"]
    assert summary["cameras"]["wrong"]["state"] == "removed"
    assert frames_in(tmp_path / "out" / "door.mp4") == frames["emitted"]
    assert events.read_text().count('"index"') == frames["emitted"]
    written = [events.read_text(), (tmp_path / "s.json").read_text()]
    assert SECRET not in "".join([*process.output, *pages, *written])
    metrics = next(page for page in pages if page.startswith("# HELP"))
    assert samples(metrics)["rcnn_live_camera_state"]["door", "live"] == 1


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_run_shows_no_password_either(tmp_path: Path) -> None:
    port, pages = free_port(), []
    with rtsp_server.rtsp_server(tmp_path, user="user", password=SECRET) as server:
        outputs = ("--events", "e.jsonl", "--trace", "t.jsonl", "--summary", "s.json", "--debug")
        source = server.url(user_info=f"user:{SECRET}")
        with program(
            "run", source, "--runtime", "torch-eager", "--canvas-side", 64, *outputs,
            "--metrics-port", port, folder=tmp_path,
        ) as process:  # fmt: skip
            events = tmp_path / "e.jsonl"
            wait_for(process, lambda: events.exists() and len(events.read_text()) > 1000)
            pages += [get(f"http://127.0.0.1:{port}/{page}")[1] for page in ("metrics", "readyz")]
            server.kill()
            wait_for(process, lambda: "reconnecting" in events.read_text())
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
    written = [(tmp_path / name).read_text() for name in ("e.jsonl", "t.jsonl", "s.json")]
    everything = "".join([*process.output, *pages, *written])
    assert SECRET not in everything
    assert "rtsp://***@127.0.0.1" in everything


def test_a_port_that_is_taken_is_wrong_usage(rcnn_live: Run, tmp_path: Path) -> None:
    with MonitorServer(0, "127.0.0.1", cameras=list) as server:
        (tmp_path / "c.yaml").write_text("cameras: {a: {source: demo, runtime: torch-eager}}")
        code, _, err = rcnn_live("cameras", "c.yaml", "--metrics-port", server.port)
    assert code == 2
    assert f"--metrics-port {server.port} on 127.0.0.1 cannot be used: Address already" in err


def test_settings_of_metrics_are_checked() -> None:
    with pytest.raises(ValueError, match="less than or equal to 65535"):
        Metrics(port=70000)
