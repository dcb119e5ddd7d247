"""A screen that nobody sees: Xvfb, for the tests of windows and screen capture."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def xvfb(width: int, height: int) -> Iterator[str]:
    """Run one for the length of the block; yields its display, for example ":1"."""
    if not shutil.which("Xvfb"):
        pytest.skip("Xvfb is not installed")
    read_end, write_end = os.pipe()
    # -noreset: it would start anew when its last client leaves, and crash one that just comes
    command = ["Xvfb", "-noreset", "-displayfd", str(write_end)]
    command += ["-screen", "0", f"{width}x{height}x24"]
    with subprocess.Popen(command, pass_fds=[write_end], stderr=subprocess.DEVNULL) as server:
        os.close(write_end)
        try:
            with os.fdopen(read_end) as pipe:
                yield f":{pipe.readline().strip()}"
        finally:
            server.terminate()
