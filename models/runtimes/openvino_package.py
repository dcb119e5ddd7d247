"""The package ``openvino`` without its telemetry, which reports to its maker unless told not to.

Import it from here, never directly.
"""

from __future__ import annotations

import sys

# with this one missing, OpenVINO takes a stand-in of its own that does nothing
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino as ov  # noqa: E402
from openvino.preprocess import PrePostProcessor  # noqa: E402

__all__ = ["PrePostProcessor", "ov"]
