"""Frames to calibrate and prove with."""

from __future__ import annotations

from pathlib import Path

import cv2
import media
import numpy as np
import pytest

from export.frames import demo_frames, frame_size, load_frames
from models.errors import DataError, UsageError
from stream.sources import create_source


def load(source: Path | str, count: int = 4, phase: float = 0.5):  # type: ignore[no-untyped-def]
    return load_frames(Path(source), count, phase=phase, option="--verify")


def test_the_demo_shows_other_cuts_for_another_purpose() -> None:
    proof, calibration = load("demo", 6), load("demo", 6, phase=0.0)
    assert all(frame.dtype == np.uint8 and frame.shape[2] == 3 for frame in proof)
    assert not any(
        one.shape == other.shape and (one == other).all() for one in proof for other in calibration
    )
    assert all((a == b).all() for a, b in zip(proof, demo_frames(6), strict=True))


def test_a_video_s_frames_are_spread_over_it(tmp_path: Path) -> None:
    clip = media.variable_rate(tmp_path)
    frames = load(clip.path, 3)
    assert len(frames) == 3
    assert not (frames[0] == frames[2]).all()
    size = frame_size(clip.path, "--like")
    assert size == (frames[0].shape[1], frames[0].shape[0])
    assert not (load(clip.path, 3, phase=0.0)[0] == frames[0]).all()


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_video_is_turned_upright(tmp_path: Path, degrees: int) -> None:
    clip = media.rotated(tmp_path, degrees)
    assert frame_size(clip.path, "--like") == clip.size
    with create_source(str(clip.path)) as source:
        source.open()
        expected = source.read()
    assert expected is not None
    assert (load(clip.path, 1, phase=0.0)[0] == expected.image).all()


def test_a_folder_s_pictures(tmp_path: Path) -> None:
    for number in range(8):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((10, 20, 3), number, np.uint8))
    (tmp_path / "notes.txt").write_text("none")
    assert [int(frame[0, 0, 0]) for frame in load(tmp_path, 4)] == [1, 3, 5, 7]
    assert [int(frame[0, 0, 0]) for frame in load(tmp_path, 4, phase=0.0)] == [0, 2, 4, 6]
    assert len(load(tmp_path, 100)) == 8
    assert load(tmp_path / "3.png")[0].shape == (10, 20, 3)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--verify .* does not exist"):
        load(tmp_path / "none.mp4")
    with pytest.raises(DataError, match="no picture in it"):
        load(tmp_path)
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(DataError, match="cannot be read as a video"):
        load(tmp_path / "text.mp4")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(DataError, match="cannot be read as a picture"):
        load(tmp_path / "text.png")
