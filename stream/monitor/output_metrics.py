"""How recordings and deliveries fare, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from stream.monitor.names import CAMERA, PREFIX
from stream.monitor.snapshot import CameraSnapshot

TARGET = (*CAMERA, "target")


def output_metrics(cameras: Sequence[CameraSnapshot]) -> Iterator[Metric]:
    """Of every camera's outputs; a counter begins anew with its camera's pipeline."""
    yield from _recordings(cameras)
    yield from _deliveries(cameras)
    yield from _publications(cameras)


def _recordings(cameras: Sequence[CameraSnapshot]) -> Iterator[Metric]:
    frames = CounterMetricFamily(
        f"{PREFIX}recording_frames",
        "Frames for the recording: written, dropped (disk or encoder too slow) or unrecorded "
        "(it could not go on)",
        labels=(*CAMERA, "outcome"),
    )
    files = CounterMetricFamily(f"{PREFIX}recording_files", "Files begun", labels=CAMERA)
    going = GaugeMetricFamily(
        f"{PREFIX}recording_going", "1 while the recording can go on, else 0", labels=CAMERA
    )
    for camera in cameras:
        recording = camera.outputs.recording
        if recording is None:
            continue
        for outcome in ("written", "dropped", "unrecorded"):
            frames.add_metric((camera.name, outcome), getattr(recording, outcome))
        files.add_metric((camera.name,), recording.files)
        going.add_metric((camera.name,), recording.is_going)
    yield from (frames, files, going)


def _deliveries(cameras: Sequence[CameraSnapshot]) -> Iterator[Metric]:
    events = CounterMetricFamily(
        f"{PREFIX}delivery_events",
        "Events by what became of them: delivered, lost (no room on disk) or refused for good",
        labels=(*TARGET, "outcome"),
    )
    retried = CounterMetricFamily(
        f"{PREFIX}delivery_retried_events",
        "Events that had to be tried again, once for every failed attempt",
        labels=TARGET,
    )
    connected = GaugeMetricFamily(
        f"{PREFIX}delivery_connected", "1 if the last attempt succeeded, else 0", labels=TARGET
    )
    waiting = GaugeMetricFamily(
        f"{PREFIX}spool_events", "Events that wait on disk for their receiver", labels=TARGET
    )
    size = GaugeMetricFamily(f"{PREFIX}spool_bytes", "What these events take, about", labels=TARGET)
    for camera in cameras:
        for name, counts in camera.outputs.deliveries.items():
            where = (camera.name, name)
            for outcome in ("delivered", "lost", "refused"):
                events.add_metric((*where, outcome), getattr(counts, outcome))
            retried.add_metric(where, counts.retried)
            connected.add_metric(where, counts.is_connected)
            waiting.add_metric(where, counts.waiting)
            size.add_metric(where, counts.waiting_bytes)
    yield from (events, retried, connected, waiting, size)


def _publications(cameras: Sequence[CameraSnapshot]) -> Iterator[Metric]:
    frames = CounterMetricFamily(
        f"{PREFIX}publish_frames",
        "Frames to publish: sent, or dropped (no connection, or one that is too slow)",
        labels=(*TARGET, "outcome"),
    )
    reconnects = CounterMetricFamily(
        f"{PREFIX}publish_reconnects", "How often it was connected again", labels=TARGET
    )
    connected = GaugeMetricFamily(
        f"{PREFIX}publish_connected", "1 while it is connected, else 0", labels=TARGET
    )
    for camera in cameras:
        for name, counts in camera.outputs.publications.items():
            where = (camera.name, name)
            for outcome in ("sent", "dropped"):
                frames.add_metric((*where, outcome), getattr(counts, outcome))
            reconnects.add_metric(where, counts.reconnects)
            connected.add_metric(where, counts.is_connected)
    yield from (frames, reconnects, connected)
