"""``rcnn-live train`` as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from labelled import coco_content, make_coco, make_penn_fudan, make_yolo, write_coco
from pieces import Run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_case import SMALL, left, losses_in

from models import zoo
from models.data.penn_fudan import PennFudan
from models.training import command

pytestmark = [
    pytest.mark.usefixtures("one_torch_thread"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard"),
]


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
    code, out, err = rcnn_live(
        "run", pictures, *weights, "--events", "-", "--quiet", "--runtime", "torch-eager"
    )
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


def test_of_equals_the_later_one_is_the_best(rcnn_live: Run, tmp_path: Path) -> None:
    data = make_penn_fudan(tmp_path / "People", 5)
    for mask in PennFudan.open(data).split()[1].masks:  # nothing there to be found: AP is 0
        assert cv2.imwrite(str(mask), np.zeros((96, 128), np.uint8))
    code, out, err = rcnn_live("train", data, *SMALL, "--no-tensorboard", "-o", "run")
    assert code == 0, err
    assert out.startswith("best: box AP@0.5 0.000")
    assert Path("run/best.safetensors").read_bytes() == Path("run/last.safetensors").read_bytes()


def test_the_seed_decides_what_new_predictors_are(rcnn_live: Run, tmp_path: Path) -> None:
    content = coco_content(4, names=("cat", "dog"))
    data = tmp_path / "data"
    write_coco(data / "annotations" / "instances.json", data / "images", content)
    losses = []
    for run, seed in enumerate((1, 1, 2)):
        torch.manual_seed(run)  # whatever came before
        flags = (*SMALL, "--augment", "none", "--epochs", 1, "--no-tensorboard")
        code, _, err = rcnn_live("train", data, *flags, "--seed", seed, "-o", f"run{run}")
        assert code == 0, err
        losses.append(losses_in(err))
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize(
    ("data", "name"),
    [("some/People", "People"), ("some/pets/data.yaml", "pets"), (".", "here"), ("a.json", "a")],
)
def test_a_runs_own_folder(
    data: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert command._name_of(Path(data)) == name


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
        (("People", "--model", "grid_shapes"), "'rcnn-live lineage --system grid_shapes --data"),
        (("People", "--epochs", 0), "Invalid value for '--epochs'"),
        (("People", "--seed", 2**70), "Invalid value for '--seed'"),
        (("People", "--lr", "nan"), "--lr is nan: it must be a finite number"),
        (("People", "--ema-decay", "nan"), "--ema-decay is nan: it must be a finite number"),
        (("Boxes",), "learns masks, and the data has none"),
        (("Boxes", "--copy-paste", 0.5, "--model", "fasterrcnn_resnet50_fpn", "--from-scratch"),
         "Copy-paste needs objects with masks"),
        (("People", "--weights", "some.pth", "--from-scratch"), "exclude each other: leave out"),
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
