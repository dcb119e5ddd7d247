"""Clips of events: which packets are in them, when they begin and end, and what is told of them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Collection
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import clip_cases
import cv2
import numpy as np
import pytest
from clip_cases import GROUP, described, feed, found, info, packets, played
from jsonschema import Draft202012Validator

from stream.events.schema import SCHEMA_FILE, EventForm
from stream.observer import ClipChange, Observer
from stream.scene import Scene
from stream.sinks.clip import DESCRIPTION_SUFFIX, THUMBNAIL_SIDE, THUMBNAIL_SUFFIX, beside
from stream.sinks.clip_trigger import ClipOptions, Confirmation, Trigger
from stream.sinks.event_clips import EventClips
from stream.sinks.segments import Limit
from stream.stages import Job

VALIDATOR = Draft202012Validator(json.loads(SCHEMA_FILE.read_text()))
Cut = Callable[..., list[Path]]


class Listener(Observer):
    def __init__(self) -> None:
        self.changes: list[ClipChange] = []

    def clip_changed(self, change: ClipChange) -> None:
        self.changes.append(change)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds with sound; a keyframe every 0.48 s."""
    return clip_cases.video(tmp_path_factory.mktemp("film") / "film.mp4")


@pytest.fixture
def cut(film: Path, tmp_path: Path) -> Cut:
    """Cuts clips out of the film; gives them in order."""

    def cut_out(
        seen: Collection[int], *, listener: Observer | None = None, **more: Any
    ) -> list[Path]:
        options = ClipOptions(classes=("person",), folder=tmp_path / "clips", **more)
        clips = EventClips("door", options)
        clips.watch([] if listener is None else [listener])
        clips.open(info(is_live=False))
        feed(clips, film, seen)
        clips.close()
        assert clips.statistics().trouble == ""
        return sorted((tmp_path / "clips").glob("*.mp4"))

    return cut_out


def test_a_clip_is_the_packets_from_the_keyframe_before_to_the_last_moment_after(
    film: Path, cut: Cut
) -> None:
    first, last = 150, 160  # frames with a person
    (clip,) = cut(range(first, last + 1), pre_seconds=1.5, post_seconds=1.0)
    begin, until = Fraction(first, 25) - Fraction(3, 2), Fraction(last, 25) + 1
    source, copied = packets(film), packets(clip)
    keyframes = [one for one in source if one[2]]
    start = [one for one in keyframes if one[0] <= begin][-1]
    expected = [one for one in source if start[1] <= one[1] <= until]
    assert [one[2:] for one in copied] == [one[2:] for one in expected]  # bit for bit
    assert copied[0][2]
    shifts = {(after[0] - one[0], after[1] - one[1])
              for after, one in zip(copied, expected, strict=True)}  # fmt: skip
    assert len(shifts) == 1  # every time is kept but for where it begins
    assert begin - Fraction(GROUP, 25) < start[0] <= begin
    assert abs(expected[-1][1] - until) <= Fraction(1, 25)


def test_the_sound_is_copied_at_its_times(film: Path, cut: Cut) -> None:
    (clip,) = cut(range(150, 161), pre_seconds=1.5, post_seconds=1.0)
    pictures, source = packets(clip), packets(film)
    start = next(one for one in source if one[3] == pictures[0][3])
    shift = start[0] - pictures[0][0]
    spoken = {data: pts for pts, _, _, data in packets(film, "audio")}
    sound = packets(clip, "audio")
    assert all(abs(spoken[data] - (pts + shift)) < Fraction(1, 1000) for pts, _, _, data in sound)
    expected = [data for pts, _, _, data in packets(film, "audio") if start[0] <= pts <= 7.4]
    assert [data for _, _, _, data in sound][-len(expected) :] == expected
    assert len(sound) - len(expected) <= 4  # between the first picture's decoding and its showing


def test_all_pictures_of_a_clip_can_be_seen(cut: Cut) -> None:
    (clip,) = cut(range(150, 161), pre_seconds=1.5, post_seconds=1.0)
    numbers = played(clip)
    assert numbers[0] == 108 % 64
    assert [(one - numbers[0]) % 64 for one in numbers[:78]] == [k % 64 for k in range(78)]


def test_the_sound_of_cameras_that_an_mp4_cannot_hold_goes_into_a_mov(tmp_path: Path) -> None:
    film = clip_cases.video(tmp_path / "film.mov", 100, codec="pcm_alaw")
    clips = EventClips("door", ClipOptions(classes=("person",), folder=tmp_path / "clips"))
    clips.open(info(is_live=False))
    feed(clips, film, range(100))
    clips.close()
    (clip,) = (tmp_path / "clips").glob("door-*.mov")
    sound = [b"".join(one[3] for one in packets(path, "audio")) for path in (film, clip)]
    assert sound[0] == sound[1]
    assert len(played(clip)) == 100


@pytest.mark.parametrize(("pause", "count"), [(40, 1), (49, 1), (56, 2), (80, 2)])
def test_sightings_within_post_are_one_clip_and_others_two(
    cut: Cut, pause: int, count: int
) -> None:
    again = 54 + pause
    made = cut([*range(50, 55), *range(again, again + 5)], pre_seconds=0.5, post_seconds=2.0)
    assert len(made) == count
    assert len(packets(made[-1])) >= (4 + 50 + (pause + 5 if count == 1 else 0))


@pytest.mark.parametrize(
    ("seen", "count"),
    [([100], 0), ([100, 101], 0), ([100, 102, 104], 1), ([100, 103, 106, 109], 0), ([], 0)],
)
def test_a_flicker_makes_no_clip(cut: Cut, seen: list[int], count: int) -> None:
    assert len(cut(seen, post_seconds=1.0)) == count


def test_an_event_at_the_very_start_and_one_at_the_very_end(film: Path, cut: Cut) -> None:
    first, last = cut([*range(5), *range(246, 250)], pre_seconds=3.0, post_seconds=1.0)
    source = [one[3] for one in packets(film)]
    assert [one[3] for one in packets(first)][:25] == source[:25]
    assert [one[3] for one in packets(last)] == source[-len(packets(last)) :]
    assert described(first.parent)[0]["event_seconds"] == 0
    assert len(packets(last)) >= 4 + 75


def test_a_long_event_goes_on_in_the_next_clip_without_a_hole(film: Path, cut: Cut) -> None:
    made = cut(range(20, 220), pre_seconds=0.2, post_seconds=0.4, longest_seconds=2.0)
    source = [one[3] for one in packets(film)]
    places = [[source.index(one[3]) for one in packets(clip)] for clip in made]
    assert len(made) >= 4
    assert all(place == list(range(place[0], place[-1] + 1)) for place in places)
    for one, following in itertools.pairwise(places):
        assert one[-1] - GROUP <= following[0] <= one[-1] + 1
        assert 50 <= len(one) <= 50 + 2 * GROUP
    assert places[-1][-1] >= 219 + 10 - 2


def test_what_is_told_of_a_clip(cut: Cut, tmp_path: Path) -> None:
    listener = Listener()
    (clip,) = cut(range(150, 161), pre_seconds=1.5, post_seconds=1.0, listener=listener)
    (told,) = described(clip.parent)
    assert clip.name == told["video"] == f"{told['clip']}.mp4"
    assert clip.name == "door-20270115T080004.320Z.mp4"
    assert told["start"] == "2027-01-15T08:00:04.320Z"
    assert told["seconds"] == pytest.approx(160 / 25 + 1 - 4.32, abs=0.25)  # B-frames
    assert "2027-01-15T08:00:07.400Z" <= told["end"] < "2027-01-15T08:00:07.700Z"
    assert told["event_seconds"] == pytest.approx(150 / 25 - 4.32, abs=0.001)
    assert told["best_seconds"] == pytest.approx(159 / 25 - 4.32, abs=0.001)
    assert told["reasons"] == ["person"]
    assert told["sightings"] == 11
    assert told["classes"] == {"person": {"best_score": 0.86, "most_at_once": 1, "track_ids": []}}
    assert told["missed_packets"] == 0
    VALIDATOR.validate(told)
    form = EventForm(identified=True)
    form.open(info(is_live=True))
    assert [change.state for change in listener.changes] == ["started", "ended"]
    for number, change in enumerate(listener.changes):
        event = form.of_clip(change, number)
        VALIDATOR.validate(json.loads(json.dumps(event)))
        assert event["clip"] == clip.stem
        assert not VALIDATOR.is_valid({**event, "reasons": "person"})
    picture = cv2.imread(str(beside(clip, THUMBNAIL_SUFFIX)))
    assert picture.shape == (96, 128, 3)
    assert max(picture.shape) <= THUMBNAIL_SIDE


def test_clips_that_need_not_be_kept_go_with_what_is_beside_them(cut: Cut) -> None:
    seen = [index for begin in (20, 100, 180) for index in range(begin, begin + 5)]
    (last,) = cut(seen, pre_seconds=0.2, post_seconds=0.5, keep=Limit(bytes=1))
    assert set(last.parent.iterdir()) == {
        last, beside(last, DESCRIPTION_SUFFIX), beside(last, THUMBNAIL_SUFFIX)
    }  # fmt: skip


def test_somebody_in_a_zone_counts_and_nobody_else() -> None:
    trigger = Trigger(ClipOptions(classes=("dog",), zones=("step",)))
    person = found(is_seen=True)
    tracked = type(person)(
        boxes=np.repeat(person.boxes, 2, 0),
        labels=np.array([1, 1], np.int64),
        scores=np.array([0.9, 0.8], np.float32),
        class_names=person.class_names,
        track_ids=np.array([4, 5], np.int64),
    )
    picture = av.VideoFrame(128, 96, "rgb24")
    picture.pts, picture.time_base = 0, Fraction(1, 25)
    frame = clip_cases.job(picture, 0, 1, is_seen=False).frame
    job = Job(frame, None, detections=tracked, scene=Scene(zones_of={5: ["step"], 4: ["road"]}))  # type: ignore[arg-type]
    sighting = trigger.look(job, 0, Fraction(0))
    assert sighting is not None
    assert sighting.reasons == ("zone:step",)
    assert sighting.found.track_ids is not None
    assert sighting.found.track_ids.tolist() == [5]
    job.detections, job.scene = found(is_seen=True, label=2), None
    dog = trigger.look(job, 0, Fraction(0))
    assert dog is not None
    assert dog.reasons == ("dog",)
    job.detections = found(is_seen=True)
    assert trigger.look(job, 0, Fraction(0)) is None


def test_a_sighting_before_the_connection_was_lost_confirms_none_after_it() -> None:
    confirmation, sighting = Confirmation(), object()
    for run, count in ((0, 1), (0, 2), (1, 1), (1, 2), (1, 3)):
        confirmation.note(run, Fraction(count), sighting)  # type: ignore[arg-type]
        assert bool(confirmation.confirmed()) == (count == 3)
