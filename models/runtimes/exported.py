"""Opens what ``rcnn-live export`` made, in the runtime that was asked for or the fastest here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from models.errors import RcnnLiveError, UsageError
from models.runtimes.static import StaticRuntime, check_file

# Which runtimes read a kind of file, on which device, the fastest first
_READERS: dict[str, dict[str, tuple[str, ...]]] = {
    ".onnx": {
        "cuda": ("onnxruntime-tensorrt", "onnxruntime"),
        "cpu": ("openvino", "onnxruntime"),
    },
    ".xml": {"cpu": ("openvino",)},
    ".pt2": {"cuda": ("torch", "torch-compiled"), "cpu": ("torch", "torch-compiled")},
    ".engine": {"cuda": ("tensorrt",)},
}
SUFFIXES = tuple(_READERS)
_PACKAGES = {"onnxruntime-tensorrt": "onnxruntime-gpu", "torch-compiled": "torch"}

Notice = Callable[[str], None]


# Each is imported when it is asked for: none has to be installed, and some take seconds.


def _open_openvino(path: Path, **settings: Any) -> StaticRuntime:
    from models.runtimes.openvino import OpenVino

    del settings["device"]  # it has no other than the CPU
    return OpenVino(path, **settings)


def _open_onnxruntime(path: Path, **settings: Any) -> StaticRuntime:
    from models.runtimes.onnxruntime import OnnxRuntime

    return OnnxRuntime(path, **settings)


def _open_onnxruntime_tensorrt(path: Path, **settings: Any) -> StaticRuntime:
    from models.runtimes.onnxruntime import OnnxRuntime

    device = settings["device"].replace("cuda", "tensorrt")
    return OnnxRuntime(path, **settings | {"device": device})


def _open_torch(path: Path, **settings: Any) -> StaticRuntime:
    from models.runtimes.torch_static import TorchStatic

    return TorchStatic.of_file(path, **settings)


def _open_torch_compiled(path: Path, **settings: Any) -> StaticRuntime:
    from models.runtimes.torch_static import TorchStatic

    return TorchStatic.of_file(path, compiled=True, **settings)


def _open_tensorrt(path: Path, **settings: Any) -> StaticRuntime:
    from models.runtimes.tensorrt import TensorRt

    return TensorRt(path, **settings)


_OPENERS: dict[str, Callable[..., StaticRuntime]] = {
    "openvino": _open_openvino,
    "onnxruntime": _open_onnxruntime,
    "onnxruntime-tensorrt": _open_onnxruntime_tensorrt,
    "torch": _open_torch,
    "torch-compiled": _open_torch_compiled,
    "tensorrt": _open_tensorrt,
}


def open_exported(
    path: Path,
    *,
    runtime: str = "auto",
    device: str | None = None,
    min_score: float = 0.5,
    precision: str = "auto",
    threads: int = 0,
    notice: Notice | None = None,
) -> StaticRuntime:
    """An exported model, ready to run.

    Args:
        path: a file with one of ``SUFFIXES``.
        runtime: name of one, or ``auto`` for the fastest that works here.
        device: ``cpu``, ``cuda``, one GPU by its number, or ``auto`` for all that are here; None
            is the CPU, but for files that run on GPUs alone.
        min_score: objects have a higher one.
        precision: of the arithmetic; ``auto`` is the export's own if it is not fp32, else the
            fastest the runtime has here.
        threads: how many to compute on; 0 for all cores.
        notice: told in a sentence each which runtimes could not be opened, and which was chosen.

    Raises:
        UsageError: if there is no such file, or it cannot be run as asked.
        ModelError: if no runtime can open it.
    """
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise UsageError(f"{path} is no export: its name ends in none of {', '.join(SUFFIXES)}.")
    check_file(path)
    settings = {"min_score": min_score, "precision": precision, "threads": threads}
    places = _places(suffix, device)
    able = [pair for pair in places if runtime in ("auto", pair[0])]
    if not able:
        names, devices = (" or ".join(dict.fromkeys(each)) for each in zip(*places, strict=True))
        elsewhere = any(runtime in readers for readers in _READERS[suffix].values())
        where = f" on {devices}" if elsewhere else ""
        raise UsageError(
            f"{runtime} does not run {path.suffix} files{where}: use --runtime {names}."
        )
    if len(able) == 1 and runtime != "auto":
        return _open(*able[0], path, settings)
    return _open_fastest(able, path, settings, notice or (lambda _: None))


def _places(suffix: str, device: str | None) -> list[tuple[str, str]]:
    """Runtimes that read such files, each with its device.

    Raises:
        UsageError: if there is none on that device.
    """
    readers = _READERS[suffix]
    if device is None:
        device = "cpu" if "cpu" in readers else "cuda"
    if device == "auto":
        usable = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
        kinds = [kind for kind in readers if kind in usable] or list(readers)
        return [(name, kind) for kind in kinds for name in readers[kind]]
    if _kind(device) not in readers:
        raise UsageError(
            f"{suffix} files do not run on {device}: use --device {' or '.join(readers)}."
        )
    return [(name, device) for name in readers[_kind(device)]]


def _kind(device: str) -> str:
    return device.partition(":")[0]


def _open_fastest(
    places: list[tuple[str, str]], path: Path, settings: dict[str, Any], notice: Notice
) -> StaticRuntime:
    failures: list[RcnnLiveError] = []
    for name, device in places:
        try:
            opened = _open(name, device, path, settings)
        except RcnnLiveError as error:
            notice(f"{name} cannot be used: {error}")
            failures.append(error)
            continue
        why = "the fastest for" if not failures else "the fastest that can be opened here for"
        notice(
            f"{path.name} runs in {name} {opened.precision} on {opened.device}"
            f"{_cores(opened)}: {why} {path.suffix} files."
        )
        return opened
    raise failures[0]


def _cores(opened: StaticRuntime) -> str:
    if opened.device != "cpu":
        return ""
    return ", 1 thread" if opened.threads == 1 else f", {opened.threads} threads"


def _open(name: str, device: str, path: Path, settings: dict[str, Any]) -> StaticRuntime:
    try:
        return _OPENERS[name](path, device=device, **settings)
    except ImportError as error:
        raise UsageError(
            f"{name} is not installed here ({error}): 'pip install {_PACKAGES.get(name, name)}', "
            "or use another --runtime."
        ) from error
