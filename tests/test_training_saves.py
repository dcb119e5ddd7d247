from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from torch import nn

from models import zoo
from models.checkpoint import Checkpoint
from models.errors import RcnnLiveError, UsageError
from models.training.saves import STATE, RunFolder, identity_of, save_weights
from models.training.settings import TrainSettings

NAMES = ("__background__", "cat")
IDENTITY = identity_of(TrainSettings(), data="pets", model="mask_rcnn_person")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run", IDENTITY)


def with_state(folder: RunFolder) -> RunFolder:
    folder.open(resume=False)
    folder.save_state({"progress": [1, 2, 3], "best": {"box AP": 0.5}, "weights": torch.ones(2)})
    return folder


def test_weights_carry_their_classes(tmp_path: Path) -> None:
    layer = nn.Linear(2, 3)
    save_weights(layer, NAMES, tmp_path / "w.safetensors")
    read = Checkpoint.read(tmp_path / "w.safetensors")
    assert read.class_names == NAMES
    assert torch.equal(read.state["weight"], layer.weight)
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


def test_half_the_size(tmp_path: Path) -> None:
    module = nn.BatchNorm1d(1000)
    save_weights(module, NAMES, tmp_path / "full.safetensors")
    save_weights(module, NAMES, tmp_path / "half.safetensors", half=True)
    full, half = ((tmp_path / f"{name}.safetensors").stat().st_size for name in ("full", "half"))
    assert half < 0.6 * full
    state = Checkpoint.read(tmp_path / "half.safetensors").state
    assert state["weight"].dtype == torch.float16
    assert state["num_batches_tracked"].dtype == torch.int64


def test_weights_are_readable_by_others(tmp_path: Path) -> None:
    save_weights(nn.Linear(1, 1), NAMES, tmp_path / "w.safetensors")
    assert (tmp_path / "w.safetensors").stat().st_mode & 0o444 == 0o444


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(nn.Linear(1, 1), NAMES, path)
    before = path.read_bytes()

    class Broken(nn.Module):
        def state_dict(self, *args: object, **kwargs: object) -> dict[str, object]:
            return {"weight": torch.ones(1), "not": "a tensor"}

    with pytest.raises(AttributeError):
        save_weights(Broken(), NAMES, path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_the_state_comes_back(folder: RunFolder) -> None:
    state = with_state(folder).open(resume=True)
    assert state is not None
    assert state["progress"] == [1, 2, 3]
    assert state["best"] == {"box AP": 0.5}
    assert torch.equal(state["weights"], torch.ones(2))


def test_a_run_is_not_overwritten(folder: RunFolder) -> None:
    with pytest.raises(UsageError, match=r"holds a training run: add --resume"):
        with_state(folder).open(resume=False)


def test_nothing_to_resume(folder: RunFolder) -> None:
    with pytest.raises(UsageError, match=r"holds no training run to resume"):
        folder.open(resume=True)


def test_another_run_is_not_resumed(folder: RunFolder) -> None:
    with_state(folder)
    other = identity_of(TrainSettings(epochs=3, lr=0.5), data="pets", model="mask_rcnn_person")
    with pytest.raises(UsageError) as caught:
        RunFolder(folder.path, other).open(resume=True)
    assert "(epochs was 10, not 3; lr was 0.0002, not 0.5)" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not a state", b"PK\x03\x04"])
def test_a_damaged_state_is_named(folder: RunFolder, content: bytes) -> None:
    with_state(folder)
    (folder.path / STATE).write_bytes(content)
    with pytest.raises(UsageError, match=r"state\.pt is damaged: start anew"):
        folder.open(resume=True)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot be made"):
        RunFolder(tmp_path / "file" / "run", IDENTITY).open(resume=False)


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_that_takes_no_files(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, resume: bool
) -> None:
    if resume:
        with_state(folder)

    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(UsageError, match=r"--output .*state\.pt cannot be written: Permission"):
        folder.open(resume=resume)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (RuntimeError("[enforce fail at inline_container.cc:868]\nunexpected pos"), "disk full"),
        (SafetensorError("Error while serializing: I/O error"), "disk full"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_full_disk_is_one_sentence(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    before = (with_state(folder).path / STATE).read_bytes()

    def fill(content: object, path: Path) -> None:
        path.write_bytes(b"some of it")
        raise error

    monkeypatch.setattr("torch.save", fill)
    with pytest.raises(RcnnLiveError, match=rf"state\.pt cannot be written: .*{reason}") as caught:
        folder.save_state({})
    assert "\n" not in str(caught.value)
    assert [path.name for path in folder.path.iterdir()] == [STATE]
    assert (folder.path / STATE).read_bytes() == before


def test_saved_weights_load_by_the_zoo(tmp_path: Path) -> None:
    model = zoo.build(zoo.EMBEDDED, num_classes=2)
    save_weights(model, NAMES, tmp_path / "w.safetensors")
    loaded = zoo.load(zoo.EMBEDDED, tmp_path / "w.safetensors")
    assert loaded.class_names == NAMES
