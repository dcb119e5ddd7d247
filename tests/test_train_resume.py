"""Runs of ``rcnn-live train`` that are stopped, resumed or limited."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from labelled import make_penn_fudan
from pieces import Run
from rich.console import Console
from training_case import SMALL, left, losses_in

from models.training.settings import TrainSettings

pytestmark = [
    pytest.mark.usefixtures("one_torch_thread"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard"),
]


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_saves(tmp_path: Path, number: signal.Signals) -> None:
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
        os.killpg(running.pid, number)  # as a terminal, torchrun and service managers do
        rest = running.stderr.read()
    assert running.returncode == 130
    assert "whole epochs; all is kept in" in rest
    assert rest.count("Ctrl-C again stops at once") == 1
    assert "Traceback" not in rest
    assert {"last.safetensors", "state.pt"} <= left(tmp_path / "run")
