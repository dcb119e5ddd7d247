"""``rcnn-live train`` as a user meets it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from labelled import make_coco, make_penn_fudan, make_yolo
from pieces import Run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from models import zoo

SMALL = ("--canvas-side", 96, "--epochs", 2, "--batch-size", 2, "--workers", 0, "--device", "cpu")

pytestmark = [
    pytest.mark.usefixtures("one_torch_thread"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard"),
]


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def losses_in(text: str) -> list[float]:
    """The total loss of each epoch that a line tells of."""
    lines = [line for line in text.splitlines() if "loss " in line]
    return [float(line.split("loss ")[1].split()[0]) for line in lines]


def test_penn_fudan(rcnn_live: Run, tmp_path: Path) -> None:
    data = make_penn_fudan(tmp_path / "People", 8)
    code, out, err = rcnn_live("train", data, *SMALL)
    assert code == 0, err
    folder = Path("runs/mask_rcnn_person-People")
    assert left(folder) == {"best.safetensors", "last.safetensors", "state.pt", "tensorboard"}
    assert "6 pictures to learn from, 2 to validate" in err
    assert len(losses_in(err)) == 2
    assert "mask AP@0.5" in err
    assert out.startswith("best: box AP@0.5 ")
    assert out.rstrip().endswith("in runs/mask_rcnn_person-People/best.safetensors")
    assert zoo.load(zoo.EMBEDDED, folder / "best.safetensors").class_names == (
        "__background__",
        "person",
    )


def test_what_it_leaves_can_be_evaluated_and_run(rcnn_live: Run, tmp_path: Path) -> None:
    data = make_coco(tmp_path / "Animals", 8)
    code, _, err = rcnn_live("train", data, *SMALL, "-o", "run", "--no-tensorboard")
    assert code == 0, err
    assert left(Path("run")) == {"best.safetensors", "last.safetensors", "state.pt"}
    weights = ("--weights", "run/best.safetensors", "--canvas-side", 96)
    code, out, err = rcnn_live("eval", data, *weights, "--json", "-")
    assert code == 0, err
    assert json.loads(out)["scores"].keys() == {"box", "mask"}
    pictures = data / "images"
    code, out, err = rcnn_live("run", pictures, *weights, "--events", "-", "--quiet")
    assert code == 0, err
    assert len(out.splitlines()) == 8


def test_yolo_has_parts_of_its_own(rcnn_live: Run, tmp_path: Path) -> None:
    data = make_yolo(tmp_path / "yolo", 3)
    code, _, err = rcnn_live("train", data / "data.yaml", *SMALL, "--max-steps", 1)
    assert code == 0, err
    assert "3 pictures to learn from, 3 to validate" in err
    assert "Stopped after 0 whole epochs" in err


def test_keypoints(rcnn_live: Run, tmp_path: Path) -> None:
    data = make_coco(tmp_path / "pose", 4, keypoints=True)
    code, _, err = rcnn_live(
        "train", data, *SMALL, "--model", "keypointrcnn_resnet50_fpn", "--from-scratch",
        "--max-steps", 1, "--no-tensorboard", "-o", "run",
    )  # fmt: skip
    assert code == 0, err
    weights = zoo.load("keypointrcnn_resnet50_fpn", Path("run/last.safetensors"))
    assert weights.module.roi_heads.keypoint_predictor.kps_score_lowres.out_channels == 3


def test_a_stopped_run_goes_on(rcnn_live: Run, tmp_path: Path) -> None:
    data = make_penn_fudan(tmp_path / "People", 8)
    same = ("train", data, *SMALL, "--no-tensorboard")
    code, out, whole = rcnn_live(*same, "-o", "whole")
    assert code == 0, whole
    code, _, first = rcnn_live(*same, "-o", "parts", "--max-steps", 4)
    assert code == 0, first
    assert "repeat the command with --resume to go on" in first
    code, resumed_out, second = rcnn_live(*same, "-o", "parts", "--resume")
    assert code == 0, second
    assert losses_in(first + second)[-1] == losses_in(whole)[-1]
    assert resumed_out.split(" in ")[0] == out.split(" in ")[0]


def test_an_existing_run_is_not_overwritten(rcnn_live: Run, tmp_path: Path) -> None:
    data = make_penn_fudan(tmp_path / "People", 4)
    arguments = ("train", data, *SMALL, "--max-steps", 1, "-o", "run", "--no-tensorboard")
    assert rcnn_live(*arguments)[0] == 0
    code, _, err = rcnn_live(*arguments)
    assert (code, err) == (
        2,
        "rcnn-live: run holds a training run: add --resume to go on with it, or give another "
        "--output.\n",
    )
    code, _, err = rcnn_live(*arguments, "--resume", "--lr", 0.1)
    assert code == 2
    assert "lr was 0.0002, not 0.1" in err


def test_ctrl_c_saves(tmp_path: Path) -> None:
    data = make_penn_fudan(tmp_path / "People", 4)
    command = [sys.executable, "-m", "stream", "train", str(data), "-o", str(tmp_path / "run")]
    command += ["--canvas-side", "96", "--epochs", "500", "--batch-size", "1", "--device", "cpu"]
    command += ["--evaluate-every", "1000", "--workers", "1", "--no-tensorboard"]
    running = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parent.parent,
    )
    with running:
        assert running.stderr is not None
        for line in running.stderr:
            if line.startswith("epoch 1/"):
                break
        os.killpg(running.pid, signal.SIGINT)  # the whole group, as a terminal does
        rest = running.stderr.read()
    assert running.returncode == 130
    assert "whole epochs; all is kept in" in rest
    assert "Traceback" not in rest
    assert {"last.safetensors", "state.pt"} <= left(tmp_path / "run")


def test_tensorboard_tells_losses_scores_and_pictures(rcnn_live: Run, tmp_path: Path) -> None:
    data = make_penn_fudan(tmp_path / "People", 8)
    code, _, err = rcnn_live("train", data, *SMALL, "-o", "run")
    assert code == 0, err
    events = EventAccumulator("run/tensorboard")
    events.Reload()
    tags = events.Tags()
    parts = {"loss_classifier", "loss_box_reg", "loss_mask", "total"}
    assert {f"loss/{part}" for part in parts} | {"lr", "validation/mask AP"} <= set(tags["scalars"])
    assert len(events.Scalars("loss/total")) == 6
    assert [point.step for point in events.Scalars("validation/box AP")] == [3, 6]
    assert {"training/0", "training/3", "validation/0"} <= set(tags["images"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("absent",), "absent does not exist; name a COCO annotation file"),
        (("People", "--model", "retinanet_resnet50_fpn"), "is a single-stage detector"),
        (("People", "--model", "mask_rcnn_persn"), "did you mean mask_rcnn_person"),
        (("People", "--resume"), "holds no training run to resume: leave out --resume"),
        (("People", "--validation-count", 4), "cannot be held out for validation"),
        (("People", "--weights", "absent.pth"), "weights file absent.pth does not exist"),
        (("People", "--epochs", 0), "Invalid value for '--epochs'"),
        (("Boxes",), "learns masks, and the data has none"),
        (("Boxes", "--copy-paste", 0.5, "--model", "fasterrcnn_resnet50_fpn", "--from-scratch"),
         "Copy-paste needs objects with masks"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_sentence(
    rcnn_live: Run, tmp_path: Path, arguments: tuple[object, ...], sentence: str
) -> None:
    make_penn_fudan(tmp_path / "People", 4)
    make_coco(tmp_path / "Boxes", 4, masks=False)
    code, out, err = rcnn_live("train", *arguments, "--no-tensorboard", "--device", "cpu")
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.startswith("rcnn-live: ")
    assert err.count("\n") == 1


def test_a_set_without_objects_is_refused(rcnn_live: Run, tmp_path: Path) -> None:
    data = make_penn_fudan(tmp_path / "Nobody", 4)
    for mask in (data / "PedMasks").iterdir():
        cv2.imwrite(str(mask), np.zeros((96, 128), np.uint8))
    code, _, err = rcnn_live("train", data)
    assert code == 1
    assert "has no object: check its labels" in err


def test_the_help_loads_no_torch() -> None:
    code = "import sys, stream.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
