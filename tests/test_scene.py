"""Tracks, zones and privacy through the whole pipeline, with the real model."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from pieces import Run

from stream import open_pipeline
from stream.privacy import LOWEST_SCORE, PrivacySettings, hiding
from stream.scene import SceneSettings
from stream.zones import Zone

# the demo's people are found at this size, too, in a fraction of the time
QUICK = ("--runtime", "torch-eager", "--canvas-side", "256", "--quiet")
pytestmark = pytest.mark.usefixtures("one_torch_thread")
WHOLE = "all=0,0 1,0 1,1 0,1"


def rows_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over the demo with everything on, in a folder of its own."""
    folder = tmp_path_factory.mktemp("scene")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as ``one_torch_thread``, which comes too late for this
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", [
            "rcnn-live", "run", "demo", *QUICK, "--max-frames", "40", "--track", "--zone", WHOLE,
            "--line", "middle=0.5,0 0.5,1", "--events", "e.jsonl", "--record", "r.mp4",
            "--summary", "s.json", "--no-hud",
        ])  # fmt: skip
        from stream.cli import main

        main()
    torch.set_num_threads(threads)
    return folder


def test_the_demo_s_people_keep_their_numbers(demo: Path) -> None:
    events = [row for row in rows_of(demo / "e.jsonl") if row.get("type", "frame") == "frame"]
    assert len(events) == 40
    lives: Counter[int] = Counter()
    for event in events:
        numbers = [row["track_id"] for row in event["detections"] if "track_id" in row]  # type: ignore[attr-defined]
        assert len(numbers) == len(set(numbers))
        lives.update(numbers)
    long = [number for number, frames in lives.items() if frames >= 20]
    assert len(long) >= 2  # astronaut and photographer, most of the time
    assert len(lives) <= 12


def test_zones_are_in_events_and_summary(demo: Path) -> None:
    events = [row for row in rows_of(demo / "e.jsonl") if row.get("type", "frame") == "frame"]
    last = events[-1]
    counted = last["counts"]["zones"]["all"]  # type: ignore[index]
    inside = sum(counted["inside"].values())
    assert inside == sum(counted["entered"].values()) - sum(counted["left"].values()) >= 2
    changes = [change for event in events for change in event.get("changes", [])]  # type: ignore[attr-defined]
    kinds = Counter(change["kind"] for change in changes if change["place"] == "all")
    assert kinds["entered"] == sum(counted["entered"].values())
    assert {change["label"] for change in changes} == {"person"}
    in_zone = [row for row in last["detections"] if row.get("zones") == ["all"]]  # type: ignore[attr-defined]
    assert in_zone
    assert json.loads((demo / "s.json").read_text())["zones"]["all"] == counted


def test_one_thread_gives_the_same(demo: Path, rcnn_live: Run, tmp_path: Path) -> None:
    code, _, error = rcnn_live(
        "run", "demo", *QUICK, "--max-frames", 12, "--track", "--zone", WHOLE,
        "--line", "middle=0.5,0 0.5,1", "--events", "e.jsonl", "--single-thread",
    )  # fmt: skip
    assert code == 0, error
    lines = (tmp_path / "e.jsonl").read_text().splitlines()
    assert len(lines) >= 12
    assert lines == (demo / "e.jsonl").read_text().splitlines()[: len(lines)]


def faces(image: np.ndarray, seen: np.ndarray) -> float:
    """How much fine detail a picture has where people are seen."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(np.abs(grey - cv2.blur(grey, (5, 5)))[seen].mean())


def test_nobody_can_be_recognised_in_a_recording_or_from_python() -> None:
    options = {"runtime": "torch-eager", "canvas_side": 256, "max_frames": 5}
    plain = list(open_pipeline("demo", **options))  # type: ignore[arg-type]
    hidden = list(
        open_pipeline("demo", privacy=PrivacySettings(("person",)), **options)  # type: ignore[arg-type]
    )
    for (frame, found), (anonymous, same) in zip(plain, hidden, strict=True):
        np.testing.assert_array_equal(found.boxes, same.boxes)
        inside = np.zeros(frame.image.shape[:2], bool)
        for x1, y1, x2, y2 in found.boxes.astype(int):
            height, width = y2 - y1, x2 - x1  # the middle of a box is inside of the mask
            inside[y1 + height // 3 : y2 - height // 3, x1 + width // 3 : x2 - width // 3] = True
        assert inside.any()
        assert faces(anonymous.image, inside) < 0.35 * faces(frame.image, inside)
        assert (frame.image == anonymous.image).all(axis=2).mean() > 0.4  # the rest is as it was


def test_hidden_people_are_hidden_in_the_recording(rcnn_live: Run, tmp_path: Path) -> None:
    """Also those that nobody asked to detect."""
    pictures = {}
    for name, options in {
        "plain": (),
        "pixelate": ("--pixelate", "person"),
        "all but": ("--blur-all-but", "person"),
    }.items():
        code, _, error = rcnn_live(
            "run", "demo", *QUICK, "--max-frames", 2, "--min-score", 0.999, "--no-hud",
            "--record", f"{name}.mp4", *options,
        )  # fmt: skip
        assert code == 0, error
        with av.open(str(tmp_path / f"{name}.mp4")) as container:
            pictures[name] = next(container.decode(video=0)).to_ndarray(format="rgb24")
    person = np.zeros(pictures["plain"].shape[:2], bool)
    ((_, found),) = open_pipeline("demo", runtime="torch-eager", canvas_side=256, max_frames=1)
    x1, y1, x2, y2 = found.boxes[0].astype(int)
    height, width = y2 - y1, x2 - x1
    person[y1 + height // 3 : y2 - height // 3, x1 + width // 3 : x2 - width // 3] = True
    wall = ~person
    wall[y1 - 20 : y2 + 20, x1 - 20 : x2 + 20] = False
    detail = {name: (faces(image, person), faces(image, wall)) for name, image in pictures.items()}
    assert detail["pixelate"][0] < 0.5 * detail["plain"][0]
    assert detail["all but"][0] > 0.8 * detail["plain"][0]
    assert detail["all but"][1] < 0.5 * detail["plain"][1]


def test_the_model_is_asked_for_what_trackers_and_privacy_need() -> None:
    assert SceneSettings().model_score(0.5) == 0.5
    assert SceneSettings(track=True).model_score(0.5) < 0.3
    zone = Zone("all", ((0, 0), (1, 0), (1, 1)))
    assert SceneSettings(zones=(zone,)).model_score(0.9) < 0.3
    assert SceneSettings(privacy=PrivacySettings(("person",))).model_score(0.5) == LOWEST_SCORE
    assert SceneSettings(track=True).model_score(0.05) == 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--zone", "door"), "--zone takes NAME=X,Y"),
        (("--zone", "door=0,0 1,1 1,0 0,1"), "is no area"),
        (("--zone", WHOLE, "--line", "all=0,0 1,1"), "are called all"),
        (("--line", "gate=0,0 1,1 0,1"), "--line gate needs a start and an end"),
        (("--blur", "person", "--pixelate", "person"), "Give one of blur, pixelate"),
        (("--blur", "cat"), "no class 'cat'"),
    ],
)
def test_wrong_options_are_a_sentence(
    rcnn_live: Run, options: tuple[str, ...], message: str
) -> None:
    code, _, error = rcnn_live("run", "demo", *QUICK, *options)
    assert code == 2
    assert len(error.splitlines()) == 1
    assert message in error


def test_nothing_to_hide_is_nothing() -> None:
    assert hiding() is None
    assert hiding(blur=("person",)) == PrivacySettings(("person",))
