"""What /metrics and /readyz say of recordings and deliveries, while their pipeline runs."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import brokers
import pytest
from brokers import until
from pieces import NumberedSource, OneBoxRuntime
from prometheus_client.parser import text_string_to_metric_families

from stream.config_load import load_config
from stream.fleet import Fleet
from stream.model_pool import ModelSpec
from stream.monitor.server import MonitorServer
from stream.monitor.snapshot import Accounts, CameraSnapshot, status_of
from stream.pipeline import Pipeline
from stream.sinks.base import Sink
from stream.sinks.event_delivery import EventDelivery
from stream.sinks.recording import Recording
from stream.sinks.segments import RecordingOptions
from stream.stages import build_stages
from stream.threaded import ThreadedPipeline

SECRET = "s3cr3t-pa55"


class Pages:
    """What a monitor shows of one camera ``door``."""

    def __init__(self, pipeline: Pipeline, port: int) -> None:
        self.pipeline, self._port = pipeline, port

    def read(self, page: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/{page}", timeout=10) as answer:
            return answer.read().decode()

    def figure(self, name: str, **labels: str) -> float | None:
        """None if there is none."""
        found = [
            sample.value
            for family in text_string_to_metric_families(self.read("metrics"))
            for sample in family.samples
            if sample.name == f"rcnn_live_{name}" and sample.labels == {"camera": "door", **labels}
        ]
        assert len(found) <= 1
        return found[0] if found else None

    def door(self) -> dict[str, str]:
        page = json.loads(self.read("readyz"))
        assert page["ready"] is True
        return page["cameras"]["door"]


@contextmanager
def monitored(sinks: Sequence[Sink]) -> Iterator[Pages]:
    """A live camera with these outputs."""
    accounts = Accounts()
    pipeline = ThreadedPipeline(
        NumberedSource(None, is_live=True, period_seconds=0.01),
        build_stages(OneBoxRuntime(), sinks),
        meter=accounts.meter,
        ledger=accounts.ledger,
        observers=sinks,
    )

    def cameras() -> list[CameraSnapshot]:
        return [CameraSnapshot.of("door", status_of(pipeline), accounts, pipeline)]

    with pipeline, MonitorServer(0, "127.0.0.1", cameras=cameras) as server:
        until(lambda: accounts.ledger.counts().emitted > 10, "no frame comes through")
        yield Pages(pipeline, server.port)


def test_a_recording_that_goes(tmp_path: Path) -> None:
    with monitored([Recording(tmp_path / "out.mp4")]) as pages:
        until(
            lambda: (pages.figure("recording_frames_total", outcome="written") or 0) > 10,
            "nothing is written",
        )
        assert pages.figure("recording_going") == 1
        assert pages.figure("recording_files_total") == 1
        assert pages.figure("recording_frames_total", outcome="dropped") == 0
        assert pages.figure("recording_frames_total", outcome="unrecorded") == 0
        assert pages.door() == {"state": "live"}


def test_a_recording_without_room_is_no_secret(tmp_path: Path) -> None:
    options = RecordingOptions(min_free_bytes=10**15)
    with monitored([Recording(tmp_path / "out.mp4", options)]) as pages:
        until(lambda: pages.figure("recording_going") == 0, "it does not stop")
        until(
            lambda: (pages.figure("recording_frames_total", outcome="unrecorded") or 0) > 10,
            "nothing is counted",
        )
        assert pages.figure("recording_frames_total", outcome="written") == 0
        door = pages.door()  # frames still come through: the camera itself is ready
    assert door["state"] == "live"
    assert f"The recording {tmp_path / 'out.mp4'} stops:" in door["recording"]


def test_deliveries_are_counted_and_show_no_password(tmp_path: Path) -> None:
    """Two webhooks of one host, whose paths are nobody's business; one answers."""
    with brokers.web_server() as server, brokers.web_server() as away:
        away.mood = 503
        user = f"user:{SECRET}@"
        urls = [
            server.url(SECRET).replace("://", f"://{user}"),
            server.url("other"),
            away.url(SECRET).replace("://", f"://{user}"),
        ]
        sink = EventDelivery(urls, "door", folder=tmp_path / "spool")
        taking = server.url().rpartition("/")[0] + "/…"
        waiting = away.url().rpartition("/")[0] + "/…"
        with monitored([sink]) as pages:
            for target in (taking, f"{taking} #2"):
                until(
                    lambda target=target: (
                        (
                            pages.figure(
                                "delivery_events_total", target=target, outcome="delivered"
                            )
                            or 0
                        )
                        > 10
                    ),
                    "nothing is delivered",
                )
                assert pages.figure("delivery_connected", target=target) == 1
                assert pages.figure("delivery_retried_events_total", target=target) == 0
            until(
                lambda: (pages.figure("delivery_retried_events_total", target=waiting) or 0) > 0,
                "nothing is tried again",
            )
            assert pages.figure("delivery_connected", target=waiting) == 0
            count = pages.figure("spool_events", target=waiting)
            size = pages.figure("spool_bytes", target=waiting)
            assert count is not None
            assert size is not None
            assert size > 100 * count > 0
            assert pages.figure("delivery_events_total", target=waiting, outcome="lost") == 0
            assert pages.door()["deliveries"].startswith(f"{waiting} is away, ")
            shown = pages.read("metrics") + pages.read("readyz")
            away.mood = 400  # it will never take them
            until(
                lambda: (
                    (pages.figure("delivery_events_total", target=waiting, outcome="refused") or 0)
                    > 0
                ),
                "nothing is refused",
            )
    assert SECRET not in shown


class OnGpu(OneBoxRuntime):
    """Says what a GPU would."""

    device = "cuda"

    def infer_many(self, canvases: Sequence[object]) -> list[object]:
        self.gpu_ms = {"compute": 1.5}
        return super().infer_many(canvases)  # type: ignore[arg-type]


def test_a_shared_model_tells_each_camera_its_time_on_the_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ModelSpec, "open", lambda spec, notice: OnGpu())
    source = "lavfi:testsrc2=size=96x64:rate=10:duration=0.5"
    (tmp_path / "cameras.yaml").write_text(f"cameras: {{door: {{source: '{source}'}}}}\n")
    fleet = Fleet(load_config(tmp_path / "cameras.yaml"), lambda _: None)
    try:
        until(lambda: fleet.has_ended, "the cameras do not end")
    finally:
        fleet.stop()
    meter = fleet.accounts()["door"].meter
    assert meter.gpu_latency()["compute"].p50 == pytest.approx(1.5, rel=0.02)
