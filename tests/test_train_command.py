"""``rcnn-live train`` as a user meets it."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from labelled import coco_content, make_coco, make_penn_fudan, make_yolo, write_coco
from pieces import Run
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from models import zoo
from models.data.penn_fudan import PennFudan
from models.training import command
from models.training.settings import TrainSettings

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


def test_a_limit_at_the_end_is_none(rcnn_live: Run, tmp_path: Path) -> None:
    data = make_penn_fudan(tmp_path / "People", 5)
    same = ("train", data, *SMALL, "--no-tensorboard", "-o", "run")
    code, out, err = rcnn_live(*same, "--max-steps", 4)
    assert (code, len(losses_in(err))) == (0, 2), err
    assert out.startswith("best: ")
    again = rcnn_live(*same, "--resume")  # there is nothing left to do
    assert (again[0], again[1], losses_in(again[2])) == (0, out, [])


def test_of_equals_the_later_one_is_the_best(rcnn_live: Run, tmp_path: Path) -> None:
    data = make_penn_fudan(tmp_path / "People", 5)
    for mask in PennFudan.open(data).split()[1].masks:  # nothing there to be found: AP is 0
        assert cv2.imwrite(str(mask), np.zeros((96, 128), np.uint8))
    code, out, err = rcnn_live("train", data, *SMALL, "--no-tensorboard", "-o", "run")
    assert code == 0, err
    assert out.startswith("best: box AP@0.5 0.000")
    assert Path("run/best.safetensors").read_bytes() == Path("run/last.safetensors").read_bytes()


def test_a_stop_during_validation_saves_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from models.training import session

    data, evaluate, stopped = make_penn_fudan(tmp_path / "People", 5), session.evaluate, []

    def ask(*arguments: object, **options: object) -> object:
        stopped.append("here")
        return evaluate(*arguments, **options)  # type: ignore[arg-type]

    def run(output: str, *, resume: bool = False) -> tuple[session.TrainOutcome, str]:
        request = session.TrainRequest(
            data=data, output=tmp_path / output, device="cpu", workers=0, canvas_side=96,
            tensorboard=False, resume=resume, settings=TrainSettings(epochs=1, batch_size=2),
        )  # fmt: skip
        console = Console(file=io.StringIO(), width=200)
        outcome = session.train(request, console, stop=lambda: bool(stopped))
        assert isinstance(console.file, io.StringIO)
        return outcome, console.file.getvalue()

    whole, said = run("whole")
    monkeypatch.setattr(session, "evaluate", ask)
    outcome, first = run("parts")
    assert (outcome.finished, outcome.epochs, outcome.best) == (False, 0, {})
    assert losses_in(first) == []
    assert left(tmp_path / "parts") == {"last.safetensors", "state.pt"}
    monkeypatch.undo()
    stopped.clear()
    outcome, second = run("parts", resume=True)
    assert outcome == whole
    assert losses_in(second) == losses_in(said)


def test_a_limit_that_is_reached_already(rcnn_live: Run, tmp_path: Path) -> None:
    data = make_penn_fudan(tmp_path / "People", 5)
    same = ("train", data, *SMALL, "--no-tensorboard", "-o", "run", "--max-steps", 1)
    assert rcnn_live(*same)[0] == 0
    before = torch.load("run/state.pt", weights_only=True)["trainer"]["progress"]
    assert rcnn_live(*same, "--resume")[0] == 0
    assert torch.load("run/state.pt", weights_only=True)["trainer"]["progress"] == before


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (("--validation-count", 3), "pictures was 6 and 2 held out, not 5 and 3 held out"),
        (("--from-scratch",), "from_scratch was False, not True"),
    ],
)
def test_another_run_is_not_resumed(
    rcnn_live: Run, tmp_path: Path, other: tuple[object, ...], sentence: str
) -> None:
    data = make_penn_fudan(tmp_path / "People", 8)
    same = ("train", data, *SMALL, "--no-tensorboard", "-o", "run", "--max-steps", 1)
    assert rcnn_live(*same)[0] == 0
    code, _, err = rcnn_live(*same, "--resume", *other)
    assert code == 2
    assert sentence in err


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
    assert rest.count("Ctrl-C again stops at once") == 1
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
