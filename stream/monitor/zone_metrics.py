"""Who is in zones and has crossed lines, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from stream.monitor.names import CAMERA, PREFIX
from stream.monitor.snapshot import CameraSnapshot
from stream.zone_counts import ENTERED, IN, LEFT, OUT


def zone_metrics(cameras: Sequence[CameraSnapshot]) -> Iterator[Metric]:
    """Of every camera with zones or lines; a counter begins anew with its camera's pipeline."""
    inside = GaugeMetricFamily(
        f"{PREFIX}zone_objects", "Objects in a zone now", labels=(*CAMERA, "zone", "label")
    )
    passed = CounterMetricFamily(
        f"{PREFIX}zone_changes",
        "Objects that entered or left a zone; entered - left = inside",
        labels=(*CAMERA, "zone", "label", "kind"),
    )
    crossed = CounterMetricFamily(
        f"{PREFIX}line_crossings",
        "Objects that crossed a line",
        labels=(*CAMERA, "line", "label", "direction"),
    )
    for camera in cameras:
        if camera.zones is None:
            continue
        for name, zone in camera.zones.zones.items():
            for label, entered in zone.entered.items():
                where = (camera.name, name, label)
                inside.add_metric(where, zone.inside.get(label, 0))
                passed.add_metric((*where, ENTERED), entered)
                passed.add_metric((*where, LEFT), zone.left.get(label, 0))
        for name, line in camera.zones.lines.items():
            for direction, tally in ((IN, line.inwards), (OUT, line.outwards)):
                for label, count in tally.items():
                    crossed.add_metric((camera.name, name, label, direction), count)
    yield from (inside, passed, crossed)
