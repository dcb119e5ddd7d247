"""Clips of whole runs: from a real RTSP server, by the command line, by cameras.yaml; refusals."""

from __future__ import annotations

import json
from pathlib import Path

import av
import media
import numpy as np
import pytest
import rtsp_server
from brokers import until
from clip_cases import described, packets, played
from jsonschema import Draft202012Validator
from pieces import OneBoxRuntime, Run

from models.detections import Detections
from models.runtimes.base import Canvas
from stream.clip_options import clip_name
from stream.config import Config
from stream.config_load import load_config
from stream.errors import UsageError
from stream.events.schema import SCHEMA_FILE
from stream.fleet import Fleet
from stream.scene import SceneSettings
from stream.sinks.clip_trigger import ClipOptions
from stream.sinks.event_clips import EventClips
from stream.sinks.events import EventLog
from stream.sinks.raw_copy import RawCopy
from stream.sources import ReconnectOptions, SourceOptions, create_source
from stream.sources.tap import joined
from stream.stages import build_stages
from stream.threaded import ThreadedPipeline
from stream.zones import Zone

VALIDATOR = Draft202012Validator(json.loads(SCHEMA_FILE.read_text()))
SEEN = range(16, 31)  # numbers of the pictures with a person, of 48 that come again and again


class Sometimes(OneBoxRuntime):
    """Finds a person in some of the marked pictures."""

    def infer(self, canvas: Canvas) -> Detections:
        found = super().infer(canvas)
        is_warm_up = np.ptp(canvas.pixels) == 0
        return found.select(np.array([not is_warm_up and media.number_in(canvas.pixels) in SEEN]))


def test_clips_of_a_real_camera(tmp_path: Path) -> None:
    options = ClipOptions(
        classes=("person",), zones=("left",), folder=tmp_path / "clips",
        pre_seconds=0.3, post_seconds=0.5,
    )  # fmt: skip
    raw, log = RawCopy(tmp_path / "raw.mp4"), EventLog(str(tmp_path / "events.jsonl"))
    clips = EventClips("door", options)
    clips.watch([log])
    everywhere = Zone("left", ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)))
    with rtsp_server.rtsp_server(tmp_path) as server:
        source = create_source(
            server.url(user_info="admin:hunter22"),
            options=SourceOptions(tap=joined([clips.tap, raw.tap])),
            reconnect=ReconnectOptions(),
        )
        sinks = [clips, log, raw]
        stages = build_stages(
            Sometimes(), sinks, scene=SceneSettings(zones=(everywhere,)), min_score=0.5
        )
        with ThreadedPipeline(source, stages, observers=sinks) as pipeline:
            until(
                lambda: clips.statistics().written >= 3 or pipeline.wait(0),
                "there are no clips",
                60,
            )
        pipeline.finish()
    told = [one for one in described(options.folder) if one["state"] == "ended"]
    assert len(told) >= 3
    source_bytes = b"".join(one[3] for one in packets(tmp_path / "raw.mp4"))
    for one in told[1:3]:
        numbers = played(options.folder / one["video"])
        assert numbers[0] % 12 == 0  # a keyframe, a group before the event at the most
        assert numbers == [(numbers[0] + k) % 48 for k in range(len(numbers))]
        assert 0.3 <= one["event_seconds"] < 0.3 + 0.48 + 0.1
        assert (
            b"".join(packet[3] for packet in packets(options.folder / one["video"])) in source_bytes
        )
        assert {"person", "zone:left"} <= set(one["reasons"])
        assert one["classes"]["person"]["track_ids"]
        assert one["missed_packets"] == 0
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    of_clips = [event for event in events if event["type"] == "clip"]
    for event in of_clips:
        VALIDATOR.validate(event)
    assert [event["state"] for event in of_clips[:4]] == ["started", "ended"] * 2
    assert of_clips[1]["clip"] == of_clips[0]["clip"]
    assert "hunter22" not in (tmp_path / "events.jsonl").read_text()
    assert not any("hunter22" in path.read_text() for path in options.folder.glob("*.json"))


def people(path: Path) -> Path:
    """The first pictures of the demo, as a video."""
    demo = create_source("demo")
    size = demo.open()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = size.width, size.height, "yuv420p"
        for _ in range(12):
            frame = demo.read()
            assert frame is not None
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.image, format="rgb24")))
        container.mux(stream.encode(None))
    demo.close()
    return path


@pytest.mark.timeout(400)
def test_a_run_with_clips(rcnn_live: Run, tmp_path: Path) -> None:
    film = people(tmp_path / "people.mp4")
    code, _, err = rcnn_live(
        "run", film, "--record-on", "person", "--clip-folder", "out", "--keep", "1d",
        "--runtime", "torch-eager",
        "--events", "events.jsonl", "--summary", "summary.json",
    )  # fmt: skip
    assert code == 0, err
    (clip,) = Path("out").glob("people-*.mp4")
    assert [one[3] for one in packets(clip)] == [one[3] for one in packets(film)]
    events = [json.loads(line) for line in Path("events.jsonl").read_text().splitlines()]
    states = [event["state"] for event in events if event["type"] == "clip"]
    assert states == ["started", "ended"]
    assert json.loads(Path("summary.json").read_text())["clips"]["written"] == 1
    assert "clips: 1" in err
    code, _, err = rcnn_live("run", film, "--record-on", "zebra")
    assert code == 2
    assert "zebra" in err


@pytest.mark.parametrize("uri", ["shapes:size=97x65,frames=40", "pictures"])
def test_clips_of_what_has_no_packets(uri: str, tmp_path: Path) -> None:
    """The frames of the clip are those of the source, encoded, at their times."""
    if uri == "pictures":
        uri = str(media.picture_folder(tmp_path))
    plain = create_source(uri)
    with plain:
        info = plain.open()
        shown = {}
        while (frame := plain.read()) is not None:
            shown[frame.pts_seconds] = frame.image
    options = ClipOptions(
        classes=("person",), folder=tmp_path / "clips", pre_seconds=1, post_seconds=1
    )
    clips = EventClips("desk", options)
    source = create_source(uri, options=SourceOptions(tap=joined([clips.tap])))
    with ThreadedPipeline(source, build_stages(OneBoxRuntime(), [clips])) as pipeline:
        assert pipeline.wait(60)
    pipeline.finish()
    (clip,) = (tmp_path / "clips").glob("desk-*.mp4")
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        found = [(one.time, one.to_ndarray(format="rgb24")) for one in container.decode(stream)]
    assert len(found) == len(shown)
    for (seconds, image), (expected_seconds, expected) in zip(found, shown.items(), strict=True):
        assert seconds - found[0][0] == pytest.approx(expected_seconds, abs=0.002)
        height, width = expected.shape[:2]
        assert image.shape[:2] == (height + height % 2, width + width % 2)
        assert np.abs(image[:height, :width].astype(int) - expected).mean() < 12
    assert (info.width, len(found)) in {(97, 40), (128, 11)}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--record-on", "person", "--blur", "person"), "would show what is to be hidden"),
        (("--record-on", "person", "--single-thread"), "needs a thread: leave out --single-thread"),
        (("--record-on", "zone:door"), "there is no zone 'door', there are none"),
        (("--record-on", "zone:"), "give names of classes (person,dog) and of zones (zone:NAME)"),
        (("--record-on", "dog", "--classes", "person"), "add dog to the classes to keep"),
        (("--record-on", "person", "--max-clip", "soon"), "--max-clip 'soon': give a length"),
        (("--record-on", "person", "--clip-memory", "5s"), "--clip-memory '5s': give a size"),
        (("--record-on", "person", "--clip-folder", "no/where"), "create it first"),
        (("--pre", "3"), "--pre is for clips: give --record-on, too, such as person"),
        (("--keep", "1d"), "--keep is for a recording: give --record, too"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(
    rcnn_live: Run, arguments: tuple[str, ...], sentence: str
) -> None:
    code, _, err = rcnn_live("run", "demo", *arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert sentence in err
    assert not Path("clips").exists()


def config_of(folder: Path, clips: str, more: str = "") -> Config:
    file = folder / "cameras.yaml"
    file.write_text(
        "defaults: {min_free: 1GB}\ncameras:\n  door:\n    source: rtsp://10.0.0.5/stream\n"
        f"    zones: {{step: [[0.1, 0.6], [0.9, 0.6], [0.9, 1.0]]}}\n    record_on: {clips}\n{more}"
    )
    return load_config(file)


def test_clips_of_cameras_yaml(tmp_path: Path) -> None:
    config = config_of(
        tmp_path,
        "{classes: person, zones: [step], pre: 3, post: 7, longest: 1m, folder: 'clips/{name}'}",
        "    keep: 7d\n",
    )
    camera = config.cameras["door"]
    assert camera.record_on is not None
    assert camera.record_on.folder == str(tmp_path / "clips" / "{name}")
    options = camera.record_on.options(camera.recording(), tmp_path)
    assert (options.classes, options.zones) == (("person",), ("step",))
    assert (options.pre_seconds, options.post_seconds, options.longest_seconds) == (3, 7, 60)
    assert options.keep is not None
    assert (options.keep.seconds, options.min_free_bytes) == (7 * 86_400, 10**9)


@pytest.mark.timeout(400)
@pytest.mark.usefixtures("one_torch_thread")
def test_a_camera_of_many_writes_clips(tmp_path: Path) -> None:
    """Whatever a tiny canvas takes for a person, at any score."""
    film = people(tmp_path / "people.mp4")
    file = tmp_path / "cameras.yaml"
    file.write_text(
        "defaults: {runtime: torch-eager, canvas_side: 64, hud: false, score: 0.01}\n"
        f"cameras: {{door: {{source: '{film}', events: 'events.jsonl', "
        "record_on: {classes: person, folder: 'clips/{name}'}}}\n"
    )
    fleet = Fleet(load_config(file), lambda _: None)
    try:
        until(lambda: fleet.has_ended, "the film does not end", 200)
    finally:
        fleet.stop()
    (clip,) = (tmp_path / "clips" / "door").glob("door-*.mp4")
    assert [one[3] for one in packets(clip)] == [one[3] for one in packets(film)]
    (told,) = described(clip.parent)
    assert (told["source"], told["state"]) == ("door", "ended")
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    states = [json.loads(line).get("state") for line in lines]
    assert [state for state in states if state] == ["started", "ended"]


@pytest.mark.parametrize(
    ("clips", "more", "mistake"),
    [
        ("{folder: x}", "", "record_on: it needs classes or zones"),
        ("{classes: person}", "", "record_on has no folder"),
        ("{classes: person, folder: x, post: -1}", "", "post"),
        ("{classes: person, folder: x, longest: 5}", "", "longest"),
        ("{classes: person, folder: '{nam}'}", "", "allowed are {name} and {started}"),
        ("{classes: person, foldr: x}", "", "did you mean 'folder'"),
        ("{zones: stairs, folder: x}", "", "there is no zone 'stairs', there are step"),
        ("{classes: person, folder: x}", "    blur: [person]\n", "what is to be hidden"),
    ],
)
def test_mistakes_in_cameras_yaml(tmp_path: Path, clips: str, more: str, mistake: str) -> None:
    with pytest.raises(UsageError) as told:
        config_of(tmp_path, clips, more)
    assert mistake in str(told.value)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("video/street.mp4", "street"),
        ("rtsp://admin:se/cr@et@10.0.0.5:554/stream?token=abc", "10.0.0.5"),
        ("faults:drop=0.1:rtsp://u:p@cam.local/live", "cam.local"),
        ("http://[::1]:80/x.m3u8", "1"),
        ("…", "clip"),
    ],
)
def test_clips_are_called_after_their_source(source: str, name: str) -> None:
    assert clip_name(source) == name
