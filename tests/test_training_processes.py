from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training_case import run, small_set, trainer_of

from models.errors import UsageError
from models.training.processes import LONGEST_WAIT, join_processes

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
    assert first["gathered"] == second["gathered"] == ["0", "of 0", "1", "of 1"]


@pytest.mark.slow
def test_the_command_trains_in_two_processes(tmp_path: Path) -> None:
    data, output = small_set(tmp_path, 8).images[0].parent.parent, tmp_path / "run"
    arguments = ["train", str(data), "-o", str(output), "--canvas-side", "96", "--epochs", "1"]
    arguments += ["--batch-size", "1", "--workers", "0", "--device", "cpu"]
    ended = torchrun("-m", "stream", *arguments)
    assert ended.returncode == 0, ended.stderr
    assert "on 2 x cpu" in ended.stderr
    assert ended.stderr.count("epoch 1/1") == 1  # the first process alone reports
    assert ended.stdout.count("\n") == ended.stdout.count("best: ") == 1
    assert {"best.safetensors", "last.safetensors", "state.pt", "tensorboard"} <= {
        path.name for path in output.iterdir()
    }


def test_alone_there_is_nothing_to_meet(tmp_path: Path) -> None:
    with join_processes("cpu") as processes:
        assert (processes.rank, processes.count, processes.is_first) == (0, 1, True)
        value = torch.tensor(3.0)
        assert processes.mean(value) is value
        assert (processes.any(True), processes.any(False)) == (True, False)
    trainer = trainer_of(small_set(tmp_path), processes=processes)
    assert len(run(trainer, steps=1)) == 1


@pytest.mark.slow
def test_a_run_in_two_processes_goes_on(tmp_path: Path) -> None:
    data = small_set(tmp_path, 8).images[0].parent.parent
    same = ["-m", "stream", "train", str(data), "--canvas-side", "96", "--epochs", "2"]
    same += ["--batch-size", "1", "--workers", "0", "--device", "cpu", "--no-tensorboard", "-o"]
    whole = torchrun(*same, str(tmp_path / "whole"))
    first = torchrun(*same, str(tmp_path / "parts"), "--max-steps", "4")
    assert first.stderr.count("to go on.") == 1
    second = torchrun(*same, str(tmp_path / "parts"), "--resume")
    ends = [
        next(line.split("  |  ")[:2] for line in run.stderr.splitlines() if "epoch 2/2" in line)
        for run in (whole, second)
    ]
    assert ends[0] == ends[1]
    alone = subprocess.run(
        [sys.executable, *same, str(tmp_path / "parts"), "--resume"],
        capture_output=True,
        text=True,
        timeout=110,
        cwd=TESTS.parent,
    )
    assert alone.returncode == 2
    assert "processes was 2, not 1" in alone.stderr


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """This process has a rank among four; what they would meet with."""
    asked: dict[str, object] = {}

    def meet(backend: str, **options: object) -> None:
        asked.update(backend=backend, **options)

    for name, value in {"WORLD_SIZE": "4", "RANK": "2", "LOCAL_RANK": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("torch.distributed.init_process_group", meet)
    monkeypatch.setattr("torch.distributed.destroy_process_group", lambda: None)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 2)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    monkeypatch.setattr("torch.cuda.set_device", lambda device: asked.update(device=device))
    return asked


def test_others_wait_for_a_long_validation(joined: dict[str, object]) -> None:
    with join_processes("cuda") as processes:
        assert (processes.rank, processes.count, processes.device) == (2, 4, "cuda:2")
    assert joined == {"backend": "nccl", "timeout": LONGEST_WAIT, "device": "cuda:2"}


def test_more_processes_than_gpus(
    joined: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "3")
    with pytest.raises(UsageError, match=r"There are 3 GPUs here.*--nproc-per-node 3"):
        join_processes("cuda").__enter__()
    assert joined == {}


def test_several_processes_on_a_mac(joined: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="--device cpu, not mps"):
        join_processes("mps").__enter__()
    assert joined == {}
