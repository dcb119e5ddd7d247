"""Real clips, and files that break players."""

from __future__ import annotations

import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from stream.errors import SourceError
from stream.sources import create_source

pytestmark = pytest.mark.real_data

# file -> frames that can be shown, or the words of the sentence that it ends in
AWKWARD: dict[str, int | str] = {
    "androidx_audio_only.mp4": "no video stream",
    "decord_corrupted.mp4": 48,
    "html_page_named_dot_avi.avi": "a web page",
    "lfs_pointer_fasterrcnn_resnet50_fpn_coco-258fb6c6.pth": "a git-lfs pointer",
    "mediabunny_cursed-vfr.mp4": 63,
    "mediabunny_hevc.ts": 120,
    "mediabunny_no-initial-keyframe.ts": 15,
    "mediabunny_rotate-buck-bunny.mp4": 45,
    "moviepy_no_duration.webm": 74,
    "moviepy_zero_bytes.webm": "is empty",
    "mozilla_invalid_userdata.mp4": "no whole picture",
    "torchcodec_odd_h_w_444.mp4": 25,
    "torchvision_hmdb51_non_utf8_metadata.avi": 83,
    "truncated_legacy_tar_resnet18-5c106cde.pth": "no video that FFmpeg can read",
}
VIDEO = {
    "intel_one-by-one-person-detection.mp4": 1394,
    "pedestrians_nomank.mp4": 341,
    "person-bicycle-car-detection.mp4": 459,  # of 467: its edit list hides the first 8
    "traffic_eagleshot.mp4": 312,
    "vtest_gautam.avi": 795,
    "vtest_gautam.mp4": 795,
}
TIMES_OUT_OF_ORDER = {"vtest_gautam.avi"}


def play(path: Path) -> list[int]:
    """The pts of every frame."""
    pts = []
    with create_source(str(path)) as source:
        info = source.open()
        while (frame := source.read()) is not None:
            assert frame.size == (info.width, info.height)
            pts.append(frame.pts)
    return pts


def test_every_file_has_its_expectation(shared: Path) -> None:
    assert {path.name for path in (shared / "data" / "awkward").iterdir()} == set(AWKWARD)
    assert {path.name for path in (shared / "data" / "video").iterdir()} == set(VIDEO)


@pytest.mark.parametrize("name", AWKWARD)
def test_an_awkward_file_plays_or_ends_in_a_sentence(shared: Path, name: str) -> None:
    expected = AWKWARD[name]
    path = shared / "data" / "awkward" / name
    began_at = time.monotonic()
    if isinstance(expected, str):
        with pytest.raises(SourceError, match=expected):
            play(path)
    else:
        pts = play(path)
        assert len(pts) == expected
        assert pts == sorted(set(pts))
    assert time.monotonic() - began_at < 30


@pytest.mark.slow
@pytest.mark.parametrize("name", VIDEO)
def test_a_clip_yields_all_its_frames_and_times(shared: Path, name: str) -> None:
    path = shared / "data" / "video" / name
    pts = play(path)
    assert len(pts) == VIDEO[name]
    assert pts == sorted(set(pts))
    if name not in TIMES_OUT_OF_ORDER:
        with av.open(str(path)) as container:
            packets = [packet for packet in container.demux(video=0) if not packet.is_discard]
        assert pts == sorted(packet.pts for packet in packets if packet.pts is not None)


def test_rotation_agrees_with_opencv_picture_by_picture(shared: Path) -> None:
    path = shared / "data" / "awkward" / "mediabunny_rotate-buck-bunny.mp4"
    capture = cv2.VideoCapture(str(path))
    with create_source(str(path)) as source:
        source.open()
        for _ in range(40):
            frame = source.read()
            read, expected = capture.read()
            assert read
            assert frame is not None
    capture.release()
    difference = np.abs(frame.image.astype(int) - expected[..., ::-1]).mean()
    assert difference < 3, "converters may round differently, but must agree on the picture"
