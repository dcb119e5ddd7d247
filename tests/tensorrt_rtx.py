"""TensorRT itself, which builds engines here: the edition for RTX does so without a GPU.

It has the parser and the compiler of the other edition, and its API; its libraries are on the
ordinary index. Only RoIAlign, a plugin, asks for a GPU as soon as a graph is read: a plugin that
takes and gives the same stands in for it, and what an engine computes is not seen here.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import tensorrt_names

VERSION = "1.7.1.116"
LIBRARIES = f"tensorrt-rtx-cu13-libs=={VERSION}"
BINDINGS = f"tensorrt-rtx-cu13-bindings=={VERSION}"
LIBRARY = "libtensorrt_rtx.so"
CHILD = Path(__file__).with_name("tensorrt_rtx_child.py")


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """An engine to build.

    Attributes:
        graph: the .onnx file.
        output: folder for the engine.
        batch: fewest, usual, and most pictures.
        workspace_mb: as ``build_engine`` takes it.
        is_checked: whether our own check of what TensorRT takes comes first.
        has_roi_align: whether the plugin's place is taken.
        is_interrupted: whether Ctrl-C is pressed as soon as TensorRT is at work.
    """

    graph: str
    output: str
    batch: tuple[int, int, int] = (1, 1, 1)
    workspace_mb: int | None = None
    is_checked: bool = True
    has_roi_align: bool = True
    is_interrupted: bool = False


def fetch(folder: Path) -> list[Path]:
    """Where both packages lie; fetched if they are not there.

    Raises:
        Unavailable: if they cannot be.
    """
    if sys.platform != "linux":
        raise tensorrt_names.Unavailable("its wheels are for Linux")
    places = [
        tensorrt_names.wheel(LIBRARIES, folder, "tensorrt_rtx_libs/*.so.1"),
        tensorrt_names.wheel(BINDINGS, folder, "tensorrt_rtx_bindings/*.so"),
    ]
    link = places[0] / "tensorrt_rtx_libs" / LIBRARY  # the parser looks for it by this name
    if not link.exists():
        link.symlink_to(f"{LIBRARY}.1")
    return places


def build(order: Order, places: list[Path]) -> dict[str, Any]:
    """What came of it: ``engine``, or ``error`` and its ``kind``; and ``roi_aligns`` by name."""
    paths = [*map(str, places), str(tensorrt_names.ROOT), str(Path(__file__).parent)]
    done = subprocess.run(
        [sys.executable, str(CHILD), json.dumps(dataclasses.asdict(order))],
        env={
            **os.environ,
            "LD_LIBRARY_PATH": str(places[0] / "tensorrt_rtx_libs"),
            "PYTHONPATH": os.pathsep.join(paths),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
