"""Opening sessions of ONNX Runtime, whose providers need libraries of NVIDIA's."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import io
from pathlib import Path

import onnxruntime as ort

from models.errors import ModelError
from models.runtimes.onnxruntime_gpu import PROVIDERS, Options

_LOG_NOTHING, _LOG_WARNINGS = 4, 2  # the second is ONNX Runtime's own choice
_BRINGS = {  # by how a library's name begins
    "libcuda.": "it comes with NVIDIA's driver",
    "libnvinfer.so.10": "pip install 'tensorrt<11'",
    "libnv": "install TensorRT of that version",
    "": "pip install 'onnxruntime-gpu[cuda,cudnn]'",
}


def load_libraries() -> None:
    """Load them out of NVIDIA's packages for Python, where ONNX Runtime does not look by itself.

    What is not there shows when a session is opened: see ``missing_library``.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # where it says what it did not find
        ort.preload_dlls()
    with contextlib.suppress(ImportError):
        importlib.import_module("tensorrt_libs")  # which loads TensorRT's


def open_session(
    model: bytes, options: ort.SessionOptions, providers: list[tuple[str, Options]], device: str
) -> ort.InferenceSession:
    """A session of the provider that was asked for, and of no other in its place.

    Args:
        model: an .onnx file.
        options: of the session.
        providers: those of the device, with their options.
        device: one of ``PROVIDERS``.

    Raises:
        ModelError: if its provider cannot be loaded.
        Exception: ONNX Runtime's own, for all else.
    """
    wanted = PROVIDERS[device][0]
    ort.set_default_logger_severity(_LOG_NOTHING)  # of what is a sentence here
    try:
        # without fallback, or it prints what went wrong and goes on with another provider
        session = ort.InferenceSession(model, options, providers=providers, enable_fallback=0)
    except Exception as error:
        if missing := missing_library(device):
            raise _load_error(wanted, missing) from error
        raise
    finally:
        ort.set_default_logger_severity(_LOG_WARNINGS)
    if wanted not in session.get_providers():
        raise _load_error(wanted, missing_library(device))
    return session


def _load_error(provider: str, missing: str | None) -> ModelError:
    reason = missing or "its libraries (CUDA, cuDNN, TensorRT) are missing or of another version"
    return ModelError(f"ONNX Runtime cannot load {provider}: {reason}; use --device cpu.")


def missing_library(device: str, folder: Path | None = None) -> str | None:
    """Which library keeps a provider from being loaded, and what brings it; None if none does.

    Args:
        device: ``cuda`` or ``tensorrt``; the CPU's is part of ONNX Runtime.
        folder: of the providers; None for where ONNX Runtime is installed.
    """
    folder = folder or Path(ort.__file__).parent / "capi"
    provider = folder / f"libonnxruntime_providers_{device}.so"
    if not provider.exists():  # another system, whose libraries have other names
        return None
    try:
        ctypes.CDLL(str(provider))
    except OSError as error:
        name = str(error).partition(":")[0]
        remedy = next(text for start, text in _BRINGS.items() if name.startswith(start))
        return f"{name} is not here ({remedy})"
    return None
