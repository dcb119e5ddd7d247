"""A program that builds one engine with TensorRT-RTX and prints what came of it as JSON."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import tensorrt_rtx_bindings
from rich import print_json
from roi_align_stand_in import stand_in
from simulated_gpu import SimulatedGpu
from tensorrt_rtx import Order

from models.errors import ModelError

sys.modules["tensorrt"] = tensorrt_rtx_bindings

import export.tensorrt  # noqa: E402 - what it imports as tensorrt is chosen above
from export.tensorrt_progress import BuildProgress  # noqa: E402


def main(order: Order) -> dict[str, Any]:
    """See ``tensorrt_rtx.build``."""
    roi_aligns = stand_in() if order.has_roi_align else {}
    export.tensorrt.find_gpu = lambda *_: SimulatedGpu()
    if not order.is_checked:
        export.tensorrt.check_tensorrt = lambda _: None
    if order.is_interrupted:
        press_ctrl_c()
    try:
        engine = export.tensorrt.build_engine(
            Path(order.graph),
            Path(order.output),
            batch=order.batch,
            workspace_mb=order.workspace_mb,
        )
    except (ModelError, KeyboardInterrupt) as error:
        return {"kind": type(error).__name__, "error": str(error), "roi_aligns": roi_aligns}
    return {"engine": str(engine), "roi_aligns": roi_aligns}


def press_ctrl_c() -> None:
    """As soon as TensorRT has done a step, which takes no longer than it must."""
    begun = threading.Event()
    completed = BuildProgress.completed

    def seen(self: BuildProgress, phase: str, step: int) -> None:
        completed(self, phase, step)
        begun.set()
        self.is_cancelled.wait(20)  # or it is through before the key is pressed

    BuildProgress.completed = seen

    def press() -> None:
        if begun.wait(60):
            os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    asked["batch"] = tuple(asked["batch"])
    print_json(data=main(Order(**asked)), indent=None)
