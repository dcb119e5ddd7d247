from __future__ import annotations

import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from stream.config_load import load_config
from stream.errors import UsageError
from stream.fleet import Fleet
from stream.monitor.collector import CameraCollector

CAMERAS = """
cameras:
  door:
    source: demo
    runtime: torch-eager
    canvas_side: 256
    zones: {all: [[0, 0], [1, 0], [1, 1], [0, 1]]}
    lines: {middle: [[0.5, 0], [0.5, 1]]}
  yard:
    source: demo
    runtime: torch-eager
    canvas_side: 256
    blur: [person]
"""


@pytest.mark.usefixtures("one_torch_thread")
def test_zones_of_a_camera_are_in_its_metrics(tmp_path: Path) -> None:
    """Read while it runs, from a fleet as ``rcnn-live cameras`` has it."""
    (tmp_path / "cameras.yaml").write_text(CAMERAS)
    fleet = Fleet(load_config(tmp_path / "cameras.yaml"), lambda _: None)
    registry = CollectorRegistry()
    registry.register(CameraCollector(fleet.snapshots, fleet.models))
    deadline = time.monotonic() + 90
    try:
        while True:
            assert time.monotonic() < deadline
            assert not fleet.has_ended, [camera.status for camera in fleet.snapshots()]
            found = samples(registry)
            inside = found.get(("rcnn_live_zone_objects", "door", "all", "person", ""), 0)
            if inside >= 2:
                break
            fleet.pump()
            time.sleep(0.05)
    finally:
        fleet.stop()
    entered, left = (
        found[("rcnn_live_zone_changes_total", "door", "all", "person", kind)]
        for kind in ("entered", "left")
    )
    assert inside == entered - left
    assert not [key for key in found if key[1] == "yard"]


def samples(registry: CollectorRegistry) -> dict[tuple[str, ...], float]:
    return {
        (
            sample.name,
            sample.labels["camera"],
            sample.labels.get("zone", sample.labels.get("line", "")),
            sample.labels["label"],
            sample.labels.get("kind", sample.labels.get("direction", "")),
        ): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
        if "label" in sample.labels
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("zones: {a: [[0, 0], [1, 1], [1, 0], [0, 1]]}", "enclose an area"),
        ("zones: {a: [[0, 0], [1, 0.9], [1, 0], [0, 1]]}", "is no area"),
        ("lines: {a: [[0, 0], [0, 0]]}", "starts where it ends"),
        ("lines: {a: [[0, 0], [2, 0]]}", "less than or equal to 1"),
        ("blur: [person]\n    pixelate: [person]", "Give one of blur"),
    ],
)
def test_wrong_zones_are_a_sentence_with_their_line(
    tmp_path: Path, line: str, message: str
) -> None:
    file = tmp_path / "cameras.yaml"
    file.write_text(f"cameras:\n  door:\n    source: demo\n    {line}\n")
    with pytest.raises(UsageError, match=rf"cameras.yaml line \d: .*{message}"):
        load_config(file)
