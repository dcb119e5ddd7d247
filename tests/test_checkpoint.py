from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.checkpoint import Checkpoint
from models.errors import ModelError, UsageError

LFS_POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:258fb6c638df15964ddcdd1ae0748c5c7b52f2f2d1d9c9eb6f1bb5a1a3a1b9a0\nsize 167502836\n"
)


def tiny_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


def read_error(path: Path) -> str:
    """The message with which reading fails: one sentence, exit code 1."""
    with pytest.raises(ModelError) as raised:
        Checkpoint.read(path)
    return one_sentence(raised.value, path)


def one_sentence(error: ModelError, path: Path) -> str:
    message = str(error)
    assert error.exit_code == 1
    assert "\n" not in message
    assert str(path) in message
    assert ". " not in message.replace(str(path), "")
    return message


def assert_same(read: dict[str, Tensor], written: dict[str, Tensor]) -> None:
    assert read.keys() == written.keys()
    for name, tensor in written.items():
        torch.testing.assert_close(read[name], tensor, rtol=0, atol=0)


def test_safetensors_round_trip(tmp_path: Path) -> None:
    path, model = tmp_path / "m.safetensors", tiny_model()
    save_file(model.state_dict(), path, {"classes": json.dumps(["__background__", "cat"])})
    checkpoint = Checkpoint.read(path)
    assert_same(checkpoint.state, model.state_dict())
    assert checkpoint.class_names == ("__background__", "cat")


def test_safetensors_without_names(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file(tiny_model().state_dict(), path)
    assert Checkpoint.read(path).class_names is None


@pytest.mark.parametrize("nested", [False, True], ids=["plain", "nested"])
@pytest.mark.parametrize("zipped", [False, True], ids=["legacy", "zip"])
def test_pth_round_trip(tmp_path: Path, *, nested: bool, zipped: bool) -> None:
    path, state = tmp_path / "m.pth", tiny_model().state_dict()
    content = {"model": state, "epoch": 3} if nested else state
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert_same(Checkpoint.read(path).state, state)


def test_load_into_copies_the_weights(tmp_path: Path) -> None:
    path, model = tmp_path / "m.pth", tiny_model()
    torch.save(model.state_dict(), path)
    other = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    Checkpoint.read(path).load_into(other, "tiny")
    assert_same(other.state_dict(), model.state_dict())


def test_half_precision_weights_load_into_a_float_model(tmp_path: Path) -> None:
    path, model = tmp_path / "m.safetensors", tiny_model()
    save_file({name: value.half() for name, value in model.state_dict().items()}, path)
    other = tiny_model()
    Checkpoint.read(path).load_into(other, "tiny")
    assert {parameter.dtype for parameter in other.parameters()} == {torch.float32}


def test_missing_file_is_wrong_usage(tmp_path: Path) -> None:
    path = tmp_path / "absent.pth"
    with pytest.raises(UsageError, match=r"absent\.pth does not exist") as raised:
        Checkpoint.read(path)
    assert raised.value.exit_code == 2


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        Checkpoint.read(tmp_path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_lfs_pointer(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"m{suffix}"
    path.write_bytes(LFS_POINTER)
    assert "git lfs pull" in read_error(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_empty_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"m{suffix}"
    path.touch()
    assert "truncated" in read_error(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("noise", [b"<html><body>404</body></html>", bytes(range(256)) * 8])
def test_something_else(tmp_path: Path, suffix: str, noise: bytes) -> None:
    path = tmp_path / f"m{suffix}"
    path.write_bytes(noise)
    assert "truncated" in read_error(path)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_truncated_file(tmp_path: Path, kind: str, share: float) -> None:
    path = tmp_path / ("m.safetensors" if kind == "safetensors" else "m.pth")
    state = {"weight": torch.randn(64, 64), "bias": torch.randn(64)}
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert "truncated" in read_error(path)


class _Bomb:
    """Unpickling it would create a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("kind", ["zip", "legacy", "plain pickle"])
def test_code_in_a_pickle_does_not_run(tmp_path: Path, kind: str) -> None:
    path, target = tmp_path / "m.pth", tmp_path / "boom"
    content = {"weight": torch.zeros(1), "extra": _Bomb(target)}
    if kind == "plain pickle":
        path.write_bytes(pickle.dumps({"extra": _Bomb(target)}, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    message = read_error(path)
    assert not target.exists()
    assert "not safe to load" in message
    torch.load(path, weights_only=False) if kind != "plain pickle" else pickle.loads(
        path.read_bytes()
    )
    assert target.exists()  # the bomb was live


@pytest.mark.parametrize(
    "content",
    [
        torch.zeros(3),
        [torch.zeros(3)],
        {},
        {"epoch": 3},
        {"weight": torch.zeros(2), "epoch": 3},
        {"model": {"weight": torch.zeros(2), "note": "x"}},
        {1: torch.zeros(2)},
    ],
    ids=["tensor", "list", "empty", "no tensors", "mixed", "nested mixed", "number as name"],
)
def test_not_a_state_dict(tmp_path: Path, content: object) -> None:
    path = tmp_path / "m.pth"
    torch.save(content, path)
    assert "is not a state dict" in read_error(path)


def test_a_whole_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    torch.save(tiny_model(), path)
    assert "save model.state_dict() alone" in read_error(path)


def test_zip_that_is_no_checkpoint(tmp_path: Path) -> None:
    path, buffer = tmp_path / "m.pth", io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("readme.txt", "hello")
    path.write_bytes(buffer.getvalue())
    assert "truncated" in read_error(path)


@pytest.mark.parametrize("classes", ["not json", '"person"', "[1, 2]", '{"a": 1}'])
def test_class_names_that_are_none(tmp_path: Path, classes: str) -> None:
    path = tmp_path / "m.safetensors"
    save_file(tiny_model().state_dict(), path, {"classes": classes})
    assert "class names" in read_error(path)


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        ({"0.weight": None}, "1 tensors are missing, 0 are not part of it and 0 have"),
        ({"9.weight": torch.zeros(1)}, "0 tensors are missing, 1 are not part of it and 0 have"),
        ({"0.weight": torch.zeros(5, 3)}, "0 tensors are missing, 0 are not part of it and 1 have"),
    ],
    ids=["missing", "surplus", "other shape"],
)
def test_weights_of_another_model(
    tmp_path: Path, change: dict[str, Tensor | None], counts: str
) -> None:
    path, model = tmp_path / "m.pth", tiny_model()
    changed = {**model.state_dict(), **change}
    torch.save({name: value for name, value in changed.items() if value is not None}, path)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ModelError) as raised:
        Checkpoint.read(path).load_into(model, "tiny")
    message = one_sentence(raised.value, path)
    assert "weights of tiny" in message
    assert counts in message
    assert_same(model.state_dict(), before)


@pytest.mark.real_data
def test_real_lfs_pointer(shared: Path) -> None:
    (path,) = (shared / "data" / "awkward").glob("lfs_pointer_*.pth")
    assert "git lfs pull" in read_error(path)


@pytest.mark.real_data
def test_real_truncated_checkpoint(shared: Path) -> None:
    (path,) = (shared / "data" / "awkward").glob("truncated_*.pth")
    assert "truncated" in read_error(path)
