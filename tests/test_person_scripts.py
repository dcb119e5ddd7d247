"""The embedded model's recipe and its measurement, run as they are on a miniature of the data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from labelled import coco_content, make_penn_fudan, write_coco
from torchvision.models import mobilenet_v2

from models import zoo

REPO = Path(__file__).parents[1]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    make_penn_fudan(tmp_path / "PennFudanPed", 4)
    everyday = tmp_path / "coco128"
    content = coco_content(18)
    content["images"].append({**content["images"][0], "id": 18, "file_name": "18.png"})  # nobody
    write_coco(everyday / "annotations" / "instances_val2017.json", everyday / "images", content)
    return tmp_path


def ended_script(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, REPO / "scripts" / name, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=110,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def script(name: str, *arguments: object) -> str:
    ended = ended_script(name, *arguments)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.slow
def test_the_recipe_gives_weights_for_the_zoo(data: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(mobilenet_v2(weights=None).state_dict(), tmp_path / "body.pth")
    weights = tmp_path / "person.safetensors"
    told = script(
        "train_person", "--data", data, "--body", tmp_path / "body.pth", "-o", weights,
        "--epochs", 1,
    )  # fmt: skip
    assert told.count("epoch 1/1  loss ") == 2  # stages
    assert weights.stat().st_size <= 12e6
    assert zoo.load(zoo.EMBEDDED, weights).class_names == ("__background__", "person")


@pytest.mark.slow
def test_the_measurement_says_what_the_card_says(data: Path, tmp_path: Path) -> None:
    told = script(
        "evaluate_person", "--data", data, "--canvas-side", 96, 128, "--demo-frames", 2,
        "--json", tmp_path / "figures.json",
    )  # fmt: skip
    assert told.count("GFLOPs at 4:3") == 2
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures.keys() == {"96", "128"}
    assert figures["96"]["gflops"]["backbone"] < figures["128"]["gflops"]["backbone"]
    assert figures["96"]["scores"].keys() == {"Penn-Fudan test", "coco128 held out"}
    assert figures["96"]["scores"]["Penn-Fudan test"].keys() >= {"box AP@0.5", "mask AP@0.5", "ms"}
    assert 0 <= figures["128"]["demo_share"] <= 1


@pytest.mark.parametrize(
    ("name", "more", "code", "sentence"),
    [
        ("train_person", ("--body", "{0}", "-o", "{0}/person.safetensors"), 2, "does not exist"),
        ("train_person", ("--body", "{0}/b.pth", "-o", "{0}/p"), 1, "not a readable weights file"),
        ("evaluate_person", (), 1, "has no pictures"),
        ("evaluate_person", ("--json", "{0}/no/out.json"), 2, "does not exist, create it first"),
    ],
)
def test_a_mistake_is_one_sentence(
    tmp_path: Path, name: str, more: tuple[str, ...], code: int, sentence: str
) -> None:
    (tmp_path / "b.pth").write_bytes(b"no weights")
    ended = ended_script(name, "--data", tmp_path, *(part.format(tmp_path) for part in more))
    assert (ended.returncode, ended.stdout) == (code, "")
    assert sentence in ended.stderr
    assert ended.stderr.startswith(f"{name}: ")
    assert ended.stderr.count("\n") == 1
