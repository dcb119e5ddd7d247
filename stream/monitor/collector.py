"""The figures of all cameras as Prometheus reads them; nothing is computed between two scrapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from stream.batcher import BatcherStatistics
from stream.monitor.ages import BUCKETS
from stream.monitor.names import CAMERA, PREFIX
from stream.monitor.output_metrics import output_metrics
from stream.monitor.snapshot import STATES, CameraSnapshot
from stream.monitor.zone_metrics import zone_metrics


class CameraCollector(Collector):
    """Asks for a snapshot whenever it is asked itself.

    Args:
        cameras: of every camera.
        models: of every model that cameras share.
    """

    def __init__(
        self,
        cameras: Callable[[], Sequence[CameraSnapshot]],
        models: Callable[[], Sequence[BatcherStatistics]],
    ) -> None:
        self._cameras, self._models = cameras, models

    def collect(self) -> Iterator[Metric]:
        """See ``prometheus_client``."""
        cameras = self._cameras()
        yield _frames(cameras)
        yield _ages(cameras)
        yield from _gauges(cameras)
        yield from _counters(cameras)
        yield _states(cameras)
        yield _queues(cameras)
        yield from zone_metrics(cameras)
        yield from output_metrics(cameras)
        yield from _of_models(self._models())


def _frames(cameras: Sequence[CameraSnapshot]) -> Metric:
    family = CounterMetricFamily(
        f"{PREFIX}frames",
        "Frames by what became of them; captured = emitted + dropped + failed + in flight",
        labels=(*CAMERA, "outcome", "stage", "reason"),
    )
    for camera in cameras:
        counts = camera.counts
        for outcome in ("captured", "emitted", "failed"):
            family.add_metric((camera.name, outcome, "", ""), getattr(counts, outcome))
        for (stage, reason), count in counts.dropped.items():
            family.add_metric((camera.name, "dropped", stage, reason), count)
    return family


def _ages(cameras: Sequence[CameraSnapshot]) -> Metric:
    family = HistogramMetricFamily(
        f"{PREFIX}frame_age_seconds",
        "From the packet's arrival to the end of the last sink",
        labels=CAMERA,
    )
    bounds = (*map(str, BUCKETS), "+Inf")
    for camera in cameras:
        ages = camera.ages
        buckets = list(zip(bounds, map(float, ages.buckets), strict=True))
        family.add_metric((camera.name,), buckets, ages.sum_seconds)
    return family


def _gauges(cameras: Sequence[CameraSnapshot]) -> Iterator[Metric]:
    rates = GaugeMetricFamily(
        f"{PREFIX}frame_rate", "Recent frames per second", labels=(*CAMERA, "outcome")
    )
    since = GaugeMetricFamily(
        f"{PREFIX}since_last_frame_seconds", "Since a frame was last through", labels=CAMERA
    )
    for camera in cameras:
        for outcome, rate in zip(("captured", "emitted"), camera.rates, strict=True):
            rates.add_metric((camera.name, outcome), rate)
        if camera.ages.since_last_seconds is not None:
            since.add_metric((camera.name,), camera.ages.since_last_seconds)
    yield from (rates, since)


def _counters(cameras: Sequence[CameraSnapshot]) -> Iterator[Metric]:
    for name, text in (
        ("objects", "Objects found in all frames"),
        ("restarts", "How often the pipeline was started again after a failure"),
        ("reconnects", "How often the source came back"),
        ("corrupt_packets", "Packets of the source that were damaged and gave no picture"),
    ):
        family = CounterMetricFamily(f"{PREFIX}{name}", text, labels=CAMERA)
        for camera in cameras:
            family.add_metric((camera.name,), getattr(camera, name))
        yield family


def _states(cameras: Sequence[CameraSnapshot]) -> Metric:
    family = GaugeMetricFamily(
        f"{PREFIX}camera_state", "1 for the state that it is in", labels=(*CAMERA, "state")
    )
    for camera in cameras:
        for state in STATES:
            family.add_metric((camera.name, state), camera.status.state == state)
    return family


def _queues(cameras: Sequence[CameraSnapshot]) -> Metric:
    family = GaugeMetricFamily(
        f"{PREFIX}queue_depth", "Frames that wait for a stage", labels=(*CAMERA, "stage")
    )
    for camera in cameras:
        for stage, queue in camera.queues.items():
            family.add_metric((camera.name, stage), queue.depth)
    return family


def _of_models(models: Sequence[BatcherStatistics]) -> Iterator[Metric]:
    waiting = GaugeMetricFamily(
        f"{PREFIX}model_waiting_frames", "Frames that wait for a model", labels=("model",)
    )
    cameras = GaugeMetricFamily(
        f"{PREFIX}model_cameras", "Cameras that share a model", labels=("model",)
    )
    batches = HistogramMetricFamily(
        f"{PREFIX}model_batch_size", "Frames in a batch", labels=("model",)
    )
    for model in models:
        waiting.add_metric((model.model,), model.waiting)
        cameras.add_metric((model.model,), model.cameras)
        batches.add_metric((model.model,), *_sizes(model.batches))
    yield from (waiting, cameras, batches)


def _sizes(batches: dict[int, int]) -> tuple[list[tuple[str, float]], float]:
    bounds = (1, 2, 4, 8, 16)
    counts = [
        (str(bound), float(sum(count for size, count in batches.items() if size <= bound)))
        for bound in bounds
    ]
    every = float(sum(batches.values()))
    return [*counts, ("+Inf", every)], float(sum(size * count for size, count in batches.items()))
