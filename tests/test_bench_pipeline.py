"""``scripts/bench/pipeline`` on a few frames: every contender goes through all of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[1] / "scripts" / "bench" / "pipeline"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_contender_finds_the_same(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    options = ("--frames", "4", "--rounds", "1", "--canvas-side", "128", "--device", "cpu")
    command = [sys.executable, str(PROGRAM), *options, "--runtime", "onnxruntime"]
    done = subprocess.run(
        [*command, "--json", str(figures)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(figures.read_text())
    assert (report["frames"], report["rounds"]) == (4, 1)
    contenders = report["contenders"]
    assert set(contenders) == {"rcnn-live", "torchvision loop", "supervision loop"}
    # two video readers and three resizers: an object near the least score may differ
    found = [row["objects_a_frame"] for row in contenders.values()]
    assert max(found) - min(found) <= 1
    assert min(found) > 0
    assert all(row["ratio_median"] > 0 for row in contenders.values())
    assert report["stages_alone_ms"].keys() >= {"capture", "model", "render", "sinks"}
    assert report["of_slowest_stage"]["ratio_median"] > 0
    assert "its slowest stage alone" in done.stdout
