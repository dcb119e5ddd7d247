"""NVIDIA's package tensorrt, and what it says when it fails. Importing it needs the package."""

from __future__ import annotations

import logging

import tensorrt as trt

from models.errors import ModelError

_log = logging.getLogger(__name__)

VERSION: str = trt.__version__


class Log(trt.ILogger):  # type: ignore[misc]  # the package has no types
    """Keeps errors: TensorRT's calls only return that there was one.

    Attributes:
        errors: sentences, the oldest first.
    """

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.errors: list[str] = []

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        """TensorRT calls this, from threads of its own, too."""
        if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
            self.errors.append(msg.strip())
        _log.debug("%s", msg)

    def reason(self) -> str:
        """The first error in one line: those after it follow from it."""
        if not self.errors:
            return "it gives no reason"
        return self.errors[0].splitlines()[0].rstrip(".")


def load_plugins(log: Log) -> None:
    """Make known what TensorRT has beside its own layers, RoIAlign among it.

    Graphs cannot be read without them, nor engines be loaded.

    Raises:
        ModelError: if they cannot be loaded.
    """
    if not trt.init_libnvinfer_plugins(log, ""):
        raise ModelError(
            f"TensorRT {VERSION} cannot load its plugins: {log.reason()}; install the package "
            "tensorrt again, or use another --runtime."
        )
