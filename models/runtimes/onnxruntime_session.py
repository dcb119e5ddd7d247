"""Opening sessions of ONNX Runtime, whose providers need libraries of NVIDIA's."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
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


def open_session(
    model: bytes, options: ort.SessionOptions, providers: list[tuple[str, Options]], device: str
) -> ort.InferenceSession:
    """A session of the provider that was asked for, and of no other in its place.

    Libraries that ONNX Runtime does not find are loaded out of NVIDIA's packages for Python.

    Args:
        model: an .onnx file.
        options: of the session.
        providers: those of the device, with their options.
        device: one of ``PROVIDERS``.

    Raises:
        ModelError: if its provider cannot be loaded.
        Exception: ONNX Runtime's own, for all else.
    """
    loaded: set[str] = set()
    while True:
        session, error = _attempt(model, options, providers)
        if session is not None and PROVIDERS[device][0] in session.get_providers():
            return session
        missing = missing_library(device)
        if missing is None and error is not None:
            raise error
        if missing is None or missing in loaded or not load_from_packages(missing):
            raise _load_error(PROVIDERS[device][0], missing) from error
        loaded.add(missing)


def _attempt(
    model: bytes, options: ort.SessionOptions, providers: list[tuple[str, Options]]
) -> tuple[ort.InferenceSession | None, Exception | None]:
    ort.set_default_logger_severity(_LOG_NOTHING)  # of what is a sentence here
    try:
        # without fallback, or it prints what went wrong and goes on with another provider
        return ort.InferenceSession(model, options, providers=providers, enable_fallback=0), None
    except Exception as error:  # noqa: BLE001 - the caller's
        return None, error
    finally:
        ort.set_default_logger_severity(_LOG_WARNINGS)


def load_from_packages(library: str) -> bool:
    """Whether one of NVIDIA's packages has a library and it could be loaded."""
    for package, pattern in (("nvidia", f"*/lib/{library}"), ("tensorrt_libs", library)):
        found = importlib.util.find_spec(package)
        for folder in (found.submodule_search_locations or ()) if found else ():
            for file in Path(folder).glob(pattern):
                with contextlib.suppress(OSError):
                    ctypes.CDLL(str(file))
                    return True
    return False


def _load_error(provider: str, missing: str | None) -> ModelError:
    reason = "its libraries (CUDA, cuDNN, TensorRT) are missing or of another version"
    if missing is not None:
        remedy = next(text for start, text in _BRINGS.items() if missing.startswith(start))
        reason = f"{missing} is not here ({remedy})"
    return ModelError(f"ONNX Runtime cannot load {provider}: {reason}; use --device cpu.")


def missing_library(device: str, folder: Path | None = None) -> str | None:
    """The first library without which a provider cannot be loaded, by the system's own loader.

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
        name, _, reason = str(error).partition(":")
        return name if "cannot open shared object" in reason else None
    return None
