"""The window on a real, if unseen, X display: it shows the video and obeys the keyboard."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from xvfb import xvfb

from stream.sources import create_source

ROOT = Path(__file__).resolve().parents[1]


def screenshot(display: str) -> np.ndarray:
    with create_source(f"screen:{display}") as screen:
        screen.open()
        frame = screen.read()
    assert frame is not None
    return frame.image


def wait_for_picture(display: str, process: subprocess.Popen[str]) -> np.ndarray:
    """Until the screen shows more than a plain colour."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stderr and process.stderr.read()
        picture = screenshot(display)
        if len(np.unique(picture.reshape(-1, 3), axis=0)) > 1000:
            return picture
        time.sleep(0.3)
    raise AssertionError("nothing was shown")


def press(display: str, key: str) -> None:
    search = ["xdotool", "search", "--name", "rcnn-live", "windowfocus", "key", key]
    subprocess.run(search, env={**os.environ, "DISPLAY": display}, check=True, timeout=20)


def test_it_shows_pauses_saves_and_quits(tmp_path: Path) -> None:
    if not shutil.which("xdotool"):
        pytest.skip("xdotool is not installed")
    with xvfb(900, 520) as display:
        environment = {**os.environ, "DISPLAY": display, "PYTHONPATH": str(ROOT)}
        environment.pop("WAYLAND_DISPLAY", None)
        command = [sys.executable, "-m", "stream", "run", "demo:live", "--window", "--quiet"]
        with subprocess.Popen(
            command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                first = wait_for_picture(display, process).astype(int)
                suit = (first[..., 0] > first[..., 2] + 60) & (first[..., 1] > first[..., 2])
                assert np.count_nonzero(suit) > 1000  # the astronaut's is orange, tinted or not
                press(display, "s")
                press(display, "space")
                time.sleep(1.0)
                paused = screenshot(display)
                time.sleep(1.0)
                assert np.array_equal(screenshot(display), paused)
                press(display, "q")
                assert process.wait(20) == 0
            finally:
                process.kill()
    (snapshot,) = tmp_path.glob("snapshot-*.png")
    assert snapshot.stat().st_size > 10_000


def test_the_screen_is_a_source_of_the_whole_program(tmp_path: Path) -> None:
    """OpenCV's X11 library, loaded first, would bring the process down."""
    with xvfb(160, 120) as display:
        command = [sys.executable, "-m", "stream", "run", f"screen:{display}", "--max-frames", "3"]
        subprocess.run(
            [*command, "--events", "out.jsonl", "--quiet"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=True,
            timeout=60,
        )
    assert (tmp_path / "out.jsonl").read_text().count("\n") >= 1
