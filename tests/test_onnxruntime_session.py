"""Libraries that ONNX Runtime's providers for NVIDIA's GPUs need: found, or named."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import onnxruntime as ort
import pytest
from test_onnxruntime_providers import small_graph

from models.errors import ModelError
from models.runtimes.onnxruntime_gpu import CPU, PROVIDERS
from models.runtimes.onnxruntime_session import (
    load_from_packages,
    missing_library,
    open_session,
)

CUDA = PROVIDERS["cuda"][0]
with_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


@pytest.fixture
def linked(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a provider that needs a library, and that library somewhere else."""

    def make(library: str) -> Path:
        here, there = tmp_path / "capi", tmp_path / "nvidia" / "cu99" / "lib"
        for folder in (here, there):
            folder.mkdir(parents=True)
        build = ["cc", "-shared", "-x", "c", "/dev/null", "-x", "none", "-o"]
        needed, provider = there / library, here / "libonnxruntime_providers_cuda.so"
        subprocess.run([*build, str(needed), f"-Wl,-soname,{library}"], check=True)
        subprocess.run([*build, str(provider), "-Wl,--no-as-needed", str(needed)], check=True)
        return here

    return make


@with_compiler
def test_a_library_that_is_missing_is_named(linked: Callable[[str], Path], tmp_path: Path) -> None:
    """By the system's own loader; where providers have other names, nobody knows."""
    assert missing_library("cuda", tmp_path) is None
    assert missing_library("cuda", linked("libcurand.so.98")) == "libcurand.so.98"


@with_compiler
def test_it_is_loaded_out_of_nvidia_s_packages(
    linked: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    providers = linked("libcurand.so.99")
    assert missing_library("cuda", providers) == "libcurand.so.99"
    assert not load_from_packages("libcurand.so.99")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_from_packages("libcurand.so.99")
    assert missing_library("cuda", providers) is None


@pytest.mark.parametrize(
    ("library", "remedy"),
    [
        ("libcurand.so.10", "pip install 'onnxruntime-gpu[cuda,cudnn]'"),
        ("libcuda.so.1", "it comes with NVIDIA's driver"),
        ("libnvinfer.so.10", "pip install 'tensorrt<11'"),
        ("libnvinfer.so.12", "install TensorRT of that version"),
    ],
)
def test_what_brings_it_is_said(
    library: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.runtimes.onnxruntime_session.missing_library", lambda _: library)
    with pytest.raises(ModelError) as raised:
        open_session(small_graph().SerializeToString(), ort.SessionOptions(), [(CPU, {})], "cuda")
    assert str(raised.value) == (
        f"ONNX Runtime cannot load {CUDA}: {library} is not here ({remedy}); use --device cpu."
    )
