"""Which runtime an export gets, and what the user is told about it."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest
from runtime_cases import Exports

from models.errors import UsageError
from models.runtimes import openvino as openvino_module
from models.runtimes.exported import open_exported
from models.runtimes.files import open_file

# an export takes up to minutes where cores are busy
pytestmark = [pytest.mark.usefixtures("one_torch_thread"), pytest.mark.timeout(900)]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_auto_says_which_runtime_and_computes_as_fast_as_it_can(
    suffix: str, exports: Exports
) -> None:
    notes: list[str] = []
    with open_exported(exports.file(suffix), threads=1, notice=notes.append) as runtime:
        assert (runtime.name, runtime.precision) == ("openvino", openvino_module.best_precision())
    (note,) = notes
    assert note.startswith(f"masks{suffix} runs in openvino {runtime.precision} on cpu, 1 thread")
    assert note.endswith(f": the fastest for {suffix} files.")


@pytest.mark.slow
def test_auto_reports_what_failed_and_goes_on(
    exports: Exports, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_package(monkeypatch, "openvino")
    notes: list[str] = []
    with open_exported(exports.file(".onnx"), threads=1, notice=notes.append) as runtime:
        assert runtime.name == "onnxruntime"
    assert len(notes) == 2
    assert notes[0].startswith("openvino cannot be used: openvino is not installed here")
    assert "onnxruntime fp32 on cpu, 1 thread: the fastest that can be opened here" in notes[1]


@pytest.mark.slow
def test_auto_fails_if_none_opens(exports: Exports, monkeypatch: pytest.MonkeyPatch) -> None:
    without_package(monkeypatch, "openvino", "onnxruntime")
    notes: list[str] = []
    with pytest.raises(UsageError, match="openvino is not installed here"):
        open_exported(exports.file(".onnx"), notice=notes.append)
    assert [note.partition(" ")[0] for note in notes] == ["openvino", "onnxruntime"]


def without_package(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """As if these packages were not there."""
    importing = builtins.__import__

    def refuse(name: str, *more: Any) -> Any:
        if name in {f"models.runtimes.{runtime}" for runtime in names}:
            raise ImportError(f"No module named {name.rpartition('.')[2]!r}")
        return importing(name, *more)

    monkeypatch.setattr(builtins, "__import__", refuse)


@pytest.mark.slow
def test_a_runtime_that_was_asked_for_is_not_replaced(
    exports: Exports, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_package(monkeypatch, "openvino")
    with pytest.raises(UsageError, match=r"openvino is not installed .*'pip install openvino'"):
        open_exported(exports.file(".onnx"), runtime="openvino")


@pytest.mark.parametrize(
    ("runtime", "device", "words"),
    [
        ("openvino", "cuda", r"\.onnx files on cuda: use --runtime onnxruntime-tensorrt or onnxr"),
        ("onnxruntime-tensorrt", "cpu", r"\.onnx files on cpu: use --runtime openvino or onnxr"),
        ("tensorrt", "cpu", r"\.onnx files: use --runtime openvino or onnxruntime\.$"),
    ],
)
def test_a_runtime_that_reads_such_files_elsewhere(
    runtime: str, device: str, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.touch()
    with pytest.raises(UsageError, match=f"{runtime} does not run {words}"):
        open_exported(path, runtime=runtime, device=device)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "model.onnx"
    path.touch()
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UsageError, match=r"model\.onnx cannot be read: Permission denied\.$"):
        open_file(path)


def test_a_runtime_that_does_not_read_such_files(tmp_path: Path) -> None:
    path = tmp_path / "model.xml"
    path.touch()
    with pytest.raises(UsageError, match=r"onnxruntime does not run \.xml files: use --runtime op"):
        open_exported(path, runtime="onnxruntime")
