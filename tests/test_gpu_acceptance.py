"""scripts/gpu_acceptance, run on the CPU: the same way, but for the GPU's own clock and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.detections import Detections

REPO = Path(__file__).parents[1]
SCRIPT = REPO / "scripts" / "gpu_acceptance"
TINY = (
    *("--device", "cpu", "--models", "mask_rcnn_person", "--canvas", "192x256"),
    *("--rounds", "1", "--frames", "2", "--batch", "2"),
)
# imported at the start of the program, before anything else
WITHOUT = """
from importlib.machinery import PathFinder

finding = PathFinder.find_spec

def find_spec(cls, name, path=None, target=None):
    return None if name.partition(".")[0] in {names} else finding(name, path, target)

PathFinder.find_spec = classmethod(find_spec)
"""
ABSENT = {"av", "click", "onnx", "onnxruntime", "openvino", "pycocotools", "rich", "skimage"}

pytestmark = pytest.mark.timeout(600)


def run(
    *arguments: str, cwd: Path, absent: frozenset[str] = frozenset(), **settings: str
) -> subprocess.CompletedProcess[str]:
    (cwd / "sitecustomize.py").write_text(WITHOUT.format(names=set(absent) or "()"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(cwd), **settings}
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
    )


def report_in(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "gpu_acceptance.json").read_text())
    return found


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(("required", "code"), [("0", 0), ("1", 1)])
def test_without_a_gpu_it_says_so(required: str, code: int, tmp_path: Path) -> None:
    told = run(cwd=tmp_path, REQUIRE_GPU=required)
    assert told.returncode == code
    assert told.stderr == "Skipped: PyTorch finds no CUDA device here.\n"
    assert not (tmp_path / "gpu_acceptance.json").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--frames", "0"), "argument --frames: invalid count_of value: '0'"),
        (("--models", "fcos_resnet50_fpn"), "argument --models: invalid choice"),
        (("--precision", "fp61"), "argument --precision: invalid choice"),
        (("--output", "sitecustomize.py"), "--output sitecustomize.py takes no files: File exists"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_measured(
    arguments: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    told = run(*TINY, *arguments, cwd=tmp_path)
    assert told.returncode == 2
    assert words in told.stderr.splitlines()[-1]
    assert "Traceback" not in told.stderr


def test_a_model_that_cannot_be_measured_does_not_end_the_report(tmp_path: Path) -> None:
    told = run(*TINY, "--canvas", "0x0", "--output", "new/folder", cwd=tmp_path)
    assert told.returncode == 1
    assert told.stderr.startswith("Failed: models: mask_rcnn_person: error: OpenCV")
    assert len(told.stderr.splitlines()) == 1
    folder = tmp_path / "new" / "folder"
    assert "OpenCV" in report_in(folder)["models"]["mask_rcnn_person"]["failed"]
    assert (
        "**mask_rcnn_person failed**: error: OpenCV" in (folder / "gpu_acceptance.md").read_text()
    )


@pytest.mark.slow
def test_it_measures_what_is_there(tmp_path: Path) -> None:
    """Without anything but PyTorch, torchvision, NumPy, OpenCV and safetensors."""
    told = run(*TINY, "--runtimes", "torch", "onnxruntime", cwd=tmp_path, absent=frozenset(ABSENT))
    assert told.returncode == 0, told.stderr
    report = report_in(tmp_path)
    assert report["peak_tflops"] > 0
    assert {"torch", "torchvision", "numpy"} <= set(report["versions"])
    assert not {"onnx", "onnxruntime"} & set(report["versions"])
    model = report["models"]["mask_rcnn_person"]
    assert (model["canvas"], model["weights"]) == ([192, 256], "trained")
    assert model["objects"] > 0
    measured = model["contenders"]["torch"]
    assert 0 < measured["ms_p50"] <= measured["ms_p99"]
    assert measured["frames_per_second"] > 0
    assert measured["times_eager"] > 0
    assert measured["parity"]["matched"] == measured["parity"]["expected"] > 0
    assert measured["parity"]["box_px_max"] < 0.05
    assert "pycocotools" in measured["parity"]["gate"]["skipped"]
    assert "onnx" in model["contenders"]["onnxruntime"]["skipped"]
    assert report["targets"] == []  # they are a GPU's

    table = (tmp_path / "gpu_acceptance.md").read_text()
    assert table in told.stdout
    assert "| torchvision eager |" in table
    assert "| onnxruntime | skipped: No module named 'onnx" in table


@pytest.mark.slow
def test_what_is_skipped_is_a_failure_where_a_gpu_is_required(tmp_path: Path) -> None:
    told = run(*TINY, "--runtimes", "torch", "tensorrt", cwd=tmp_path, REQUIRE_GPU="1")
    assert told.returncode == 1
    assert "tensorrt: it computes on NVIDIA's GPUs alone" in told.stderr.splitlines()[-1]
    gate = report_in(tmp_path)["models"]["mask_rcnn_person"]["contenders"]["torch"]["parity"][
        "gate"
    ]
    assert gate["passed"]
    assert gate["ap50"]["mask"][0] > 0.5


# Judging


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPO / "scripts"))


def detections(boxes: list[list[float]]) -> Detections:
    return Detections(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.ones(len(boxes), np.int64),
        scores=np.full(len(boxes), 0.9, np.float32),
        class_names=("__background__", "thing"),
        masks=np.ones((len(boxes), 28, 28), np.float32),
    )


@pytest.mark.usefixtures("scripts")
def test_objects_that_are_not_found_again_are_counted() -> None:
    from acceptance_measure import agreement

    original = detections([[0, 0, 10, 10], [50, 50, 90, 90]])
    found = agreement([original, detections([])], [detections([[0, 0, 10, 12]])] * 2, 0.5)
    assert (found["expected"], found["matched"]) == (2, 1)
    assert found["box_px_max"] == found["box_px_mean"] == 2
    assert found["mask_iou_mean"] == 1
    assert agreement([original], [detections([])], 0.5)["matched"] == 0


def gpu_report(canvas: tuple[int, int] = (800, 1344)) -> dict[str, Any]:
    fast = {"ms_p50": 4.0, "frames_per_second": 300.0, "times_eager": 8.0, "batch": 8}
    slow = {"ms_p50": 9.0, "frames_per_second": 350.0, "times_eager": 3.0, "batch": 8}
    contenders = {"tensorrt": {"skipped": "it is not here"}, "torch-compiled": fast, "torch": slow}
    model = {"canvas": canvas, "contenders": contenders}
    return {"capability": "9.0", "models": {"maskrcnn_resnet50_fpn": model}}


@pytest.mark.usefixtures("scripts")
def test_targets_are_judged_by_the_best_runtime_of_each() -> None:
    from acceptance_report import targets

    judged = [
        (each["runtime"], each["measured"], each["reached"]) for each in targets(gpu_report())
    ]
    assert judged == [
        ("torch-compiled", 4.0, True),
        ("torch", 350.0, False),
        ("torch-compiled", 8.0, True),
    ]
    assert targets(gpu_report((128, 160))) == []


@pytest.mark.usefixtures("scripts")
def test_targets_of_which_nothing_was_measured_are_not_reached() -> None:
    from acceptance_report import targets

    report = gpu_report()
    contenders = report["models"]["maskrcnn_resnet50_fpn"]["contenders"]
    contenders.update({name: {"failed": "it broke", "batch": 8} for name in contenders})
    assert [each["reached"] for each in targets(report)] == [False] * 3
    assert {each["measured"] for each in targets(report)} == {None}
