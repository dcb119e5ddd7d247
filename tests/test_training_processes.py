from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training_case import run, small_set, trainer_of

from models.training.processes import join_processes

TESTS = Path(__file__).parent


def torchrun(*arguments: str, processes: int = 2) -> subprocess.CompletedProcess[str]:
    """Start processes that meet over gloo, without a GPU."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return subprocess.run(
        [*command, "--nproc-per-node", str(processes), *arguments],
        capture_output=True,
        text=True,
        timeout=110,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS.parent))),
            "OMP_NUM_THREADS": "1",
        },
    )


@pytest.mark.slow
def test_two_processes_train_one_model(tmp_path: Path) -> None:
    small_set(tmp_path)
    ended = torchrun(str(TESTS / "training_process.py"), str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    first, second = (
        torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)
    )
    assert sorted(first["drawn"] + second["drawn"]) == [0, 1, 2, 3]
    assert first["losses"] == second["losses"]  # both report the mean of both
    for name, value in first["weights"].items():
        torch.testing.assert_close(second["weights"][name], value, rtol=0, atol=0)
    assert first["any"] == second["any"] == [False, True]


@pytest.mark.slow
def test_the_command_trains_in_two_processes(tmp_path: Path) -> None:
    data, output = small_set(tmp_path, 8).images[0].parent.parent, tmp_path / "run"
    arguments = ["train", str(data), "-o", str(output), "--canvas-side", "96", "--epochs", "1"]
    arguments += ["--batch-size", "1", "--workers", "0", "--device", "cpu"]
    ended = torchrun("-m", "stream", *arguments)
    assert ended.returncode == 0, ended.stderr
    assert "on 2 x cpu" in ended.stderr
    assert ended.stderr.count("epoch 1/1") == 1  # the first process alone reports
    assert {"best.safetensors", "last.safetensors", "state.pt", "tensorboard"} <= {
        path.name for path in output.iterdir()
    }


def test_alone_there_is_nothing_to_meet(tmp_path: Path) -> None:
    with join_processes("cpu") as processes:
        assert (processes.rank, processes.count, processes.is_first) == (0, 1, True)
        value = torch.tensor(3.0)
        assert processes.mean(value) is value
        assert (processes.any(True), processes.any(False)) == (True, False)
        processes.wait()
    trainer = trainer_of(small_set(tmp_path), processes=processes)
    assert len(run(trainer, steps=1)) == 1
