"""The window on a real, if unseen, X display: it shows the video and obeys the keyboard."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
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


def wait_for_picture(display: str, process: subprocess.Popen[str], colours: int) -> np.ndarray:
    """Until the screen shows at least so many colours."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stderr and process.stderr.read()
        picture = screenshot(display)
        if len(np.unique(picture.reshape(-1, 3), axis=0)) >= colours:
            return picture
        time.sleep(0.3)
    raise AssertionError("nothing was shown")


def wait_for(happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def snapshot_is_saved(folder: Path) -> bool:
    return any(path.stat().st_size > 10_000 for path in folder.glob("snapshot-*.png"))


def stands_still(display: str) -> bool:
    before = screenshot(display)
    time.sleep(2.0)
    return np.array_equal(screenshot(display), before)


def white_letters(display: str) -> int:
    return int((screenshot(display)[180:].min(axis=2) > 200).sum())


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
                first = wait_for_picture(display, process, 1000).astype(int)
                suit = (first[..., 0] > first[..., 2] + 60) & (first[..., 1] > first[..., 2])
                assert np.count_nonzero(suit) > 1000  # the astronaut's is orange, tinted or not
                # one key at a time: of two that come between two frames OpenCV reports the last
                press(display, "s")
                wait_for(lambda: snapshot_is_saved(tmp_path))
                press(display, "space")
                wait_for(lambda: stands_still(display))
                press(display, "q")
                assert process.wait(20) == 0
            finally:
                process.kill()


_LOSE_THE_SIGNAL = """
import cv2  # before PyAV, or its windows do not open: see stream/cli.py
import select, sys
sys.path[:0] = [{root!r}, {tests!r}]
from test_recording import picture_job
from fractions import Fraction
from stream.sinks.window import Window
from stream.sources import SourceState, SourceStatus
window = Window("rcnn-live", lambda: None)
window.write(picture_job(0, 0, Fraction(1, 1000), (320, 240)))
for line in sys.stdin:
    state = SourceState[line.strip()]
    window.source_changed(SourceStatus(state=state, attempt=3))
    while not select.select([sys.stdin], [], [], 0)[0]:
        window.pump()
"""


def test_it_says_that_there_is_no_signal_over_the_last_picture() -> None:
    code = _LOSE_THE_SIGNAL.format(root=str(ROOT), tests=str(ROOT / "tests"))
    with xvfb(320, 240) as display:
        environment = {**os.environ, "DISPLAY": display}
        environment.pop("WAYLAND_DISPLAY", None)
        with subprocess.Popen(
            [sys.executable, "-c", code],
            env=environment,
            stdin=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                tell(process, "LIVE")
                wait_for_picture(display, process, 2)
                without = white_letters(display)
                tell(process, "RECONNECTING")
                wait_for(lambda: white_letters(display) > without + 100)
                tell(process, "LIVE")
                wait_for(lambda: white_letters(display) == without)
            finally:
                process.kill()


def tell(process: subprocess.Popen[str], state: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{state}\n")
    process.stdin.flush()


def test_the_screen_is_a_source_of_the_whole_program(tmp_path: Path) -> None:
    """OpenCV's X11 library, loaded first, would bring the process down."""
    with xvfb(160, 120) as display:
        command = [sys.executable, "-m", "stream", "run", f"screen:{display}", "--max-frames", "3"]
        subprocess.run(
            [*command, "--events", "out.jsonl", "--quiet"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=True,
            timeout=200,
        )
    assert (tmp_path / "out.jsonl").read_text().count("\n") >= 1
