"""What sinks write of events: one schema, whole lines, tables and results that can be scored."""

from __future__ import annotations

import csv
import json
import logging
import threading
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import brokers
import numpy as np
import pytest
from brokers import until
from jsonschema import Draft202012Validator
from pieces import NumberedSource, OneBoxRuntime
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from models.detections import UNTRACKED, Detections
from stream.errors import SinkError, UsageError
from stream.events.schema import SCHEMA_FILE, EventForm
from stream.frame import Frame, FrameTrace
from stream.sinks.coco_results import CocoResults
from stream.sinks.csv_objects import COLUMNS, CsvObjects
from stream.sinks.event_delivery import EventDelivery
from stream.sinks.rotation import LineFile, Rotation
from stream.sources.base import SourceInfo
from stream.sources.status import SourceState, SourceStatus
from stream.stages import Job, build_stages
from stream.threaded import ThreadedPipeline

VALIDATOR = Draft202012Validator(json.loads(SCHEMA_FILE.read_text()))
STATUS = SourceStatus(
    state=SourceState.RECONNECTING, at=50.0, attempt=3, reason="gone", next_attempt_in_seconds=1.5
)


def info(*, is_live: bool = False) -> SourceInfo:
    return SourceInfo(
        name="door",
        is_live=is_live,
        width=64,
        height=48,
        frame_rate=Fraction(25),
        time_base=Fraction(1, 1000),
        frame_count=None,
    )


def job(index: int, found: Detections | None = None, **more: Any) -> Job:
    image = np.full((48, 64, 3), 40 + index % 200, np.uint8)
    frame = Frame(image, index, "door", index * 40, Fraction(1, 1000), 100.0 + index, **more)
    detections = OneBoxRuntime().detect(image) if found is None else found
    return Job(frame, FrameTrace(frame.captured_at), detections=detections)


def nothing() -> Detections:
    return Detections.empty(("__background__", "person"))


# ── the schema ──


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(VALIDATOR.schema)


@pytest.mark.parametrize("identified", [False, True])
@pytest.mark.parametrize("is_live", [False, True])
def test_every_event_keeps_to_the_schema(identified: bool, is_live: bool) -> None:
    form = EventForm(masks=True, identified=identified)
    before = form.of_source(STATUS, 1)  # nothing is known of the source yet
    form.open(info(is_live=is_live))
    keypoints = Detections(
        boxes=np.array([[1, 2, 3, 4]], np.float32),
        labels=np.ones(1, np.int64),
        scores=np.array([1.0], np.float32),
        class_names=("__background__", "person"),
        keypoints=np.zeros((1, 17, 3), np.float32),
    )
    tracked = replace(keypoints, keypoints=None, track_ids=np.array([7]))
    untracked = replace(tracked, track_ids=np.array([UNTRACKED]))
    events = [
        before,
        form.of_source(STATUS, 2),
        form.of_frame(job(3), 3),
        form.of_frame(job(4, nothing()), 4),
        form.of_frame(job(5, keypoints), 5),
        form.of_frame(job(6, wall_time=1_800_000_000.25, gap_seconds=2.5), 6),
        form.of_frame(job(7, tracked), 7),
        form.of_frame(job(8, untracked), 8),
    ]
    for event in events:
        VALIDATOR.validate(json.loads(json.dumps(event)))
        assert event["schema"] == 1
        assert ("id" in event) == identified
    assert ("time" in events[2]) == (identified or is_live)
    assert events[5]["time"] == "2027-01-15T08:00:00.250Z"
    assert events[5]["time_is"] == "source"
    assert events[6]["detections"][0]["track_id"] == 7
    assert "track_id" not in events[7]["detections"][0]
    if identified:
        ids = [event["id"] for event in events]
        assert sorted(set(ids)) == ids


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"type": "other"},
        {"index": -1},
        {"box": [1, 2, 3]},
        {"score": 1.5},
        {"size": [64]},
        {"id": "7"},
        {"time": "yesterday"},
        {"pts_seconds": None},
    ],
)
def test_the_schema_refuses_what_is_no_event(change: dict[str, Any]) -> None:
    form = EventForm(identified=True)
    form.open(info())
    event = form.of_frame(job(0), 0)
    for name, value in change.items():
        (event["detections"][0] if name in ("box", "score") else event)[name] = value
    assert not VALIDATOR.is_valid(event)


def test_two_runs_have_no_id_in_common() -> None:
    runs = [EventForm(identified=True) for _ in range(100)]
    ids = {form.of_source(STATUS, 0)["id"] for form in runs}
    assert len(ids) == 100


# ── rotation ──


def test_a_large_file_is_begun_anew_between_lines(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text('{"an older":"run"}\n')
    file = LineFile(path, Rotation(max_bytes=1000))
    lines = [json.dumps({"number": number, "x": "y" * (number % 90)}) for number in range(200)]
    for line in lines:
        file.write(f"{line}\n".encode())
    file.close()
    older, *aside = file.put_aside()
    assert older.read_text() == '{"an older":"run"}\n'
    assert "".join(part.read_text() for part in [*aside, path]).splitlines() == lines
    assert len(aside) > 5
    assert all(800 < part.stat().st_size <= 1000 for part in aside)


def test_an_old_file_is_begun_anew_and_few_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    (tmp_path / "out-of-another.jsonl").write_text("not ours\n")
    file = LineFile(path, Rotation(max_age_seconds=0.05, keep=2))
    for number in range(8):
        file.write(f"{number}\n".encode())
        time.sleep(0.06)
    file.close()
    assert [part.read_text() for part in [*file.put_aside(), path]] == ["5\n", "6\n", "7\n"]
    assert (tmp_path / "out-of-another.jsonl").exists()


def test_a_line_that_is_too_long_gets_a_file_of_its_own(tmp_path: Path) -> None:
    file = LineFile(tmp_path / "a.jsonl", Rotation(max_bytes=10))
    for line in (b"1\n", b"x" * 50 + b"\n", b"2\n"):
        file.write(line)
    file.close()
    parts = [part.read_bytes() for part in [*file.put_aside(), tmp_path / "a.jsonl"]]
    assert parts == [b"1\n", b"x" * 50 + b"\n", b"2\n"]


@pytest.mark.parametrize(
    ("text", "rotation"),
    [
        ("100M", Rotation(max_bytes=100_000_000)),
        ("1h", Rotation(max_age_seconds=3600)),
        ("30min,5k,keep=3", Rotation(max_age_seconds=1800, max_bytes=5000, keep=3)),
        ("1d", Rotation(max_age_seconds=86_400)),
    ],
)
def test_rotations_are_written_in_words(text: str, rotation: Rotation) -> None:
    assert Rotation.parse(text, "--rotate-events") == rotation


@pytest.mark.parametrize("text", ["", "100", "0M", "1y", "keep=0", "5M;1h", "-5M"])
def test_a_rotation_that_makes_no_sense_is_one_sentence(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--rotate-events .* give a size \(100M\), an age"):
        Rotation.parse(text, "--rotate-events")


# ── tables and results ──


def test_a_table_has_a_row_an_object(tmp_path: Path) -> None:
    sink = CsvObjects(tmp_path / "out.csv")
    sink.open(info(is_live=True))
    for index in range(3):
        sink.write(job(index, nothing() if index == 1 else None, wall_time=1_800_000_000.0))
    sink.close()
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["index"] for row in rows] == ["0", "2"]
    assert rows[1] == {
        "source": "door", "index": "2", "pts_seconds": "0.08", "time": "2027-01-15T08:00:00.000Z",
        "label": "person", "score": "0.1647", "x1": "8.0", "y1": "8.0", "x2": "40.0",
        "y2": "40.0", "track_id": "", "zones": "",
    }  # fmt: skip


def test_no_cell_is_a_formula(tmp_path: Path) -> None:
    sink = CsvObjects(tmp_path / "out.csv")
    sink.open(info())
    one = job(0)
    one.frame = replace(one.frame, source_id="=HYPERLINK(1)")
    sink.write(one)
    sink.close()
    assert (tmp_path / "out.csv").read_text().splitlines()[1].startswith("'=HYPERLINK(1),0,")


def test_results_can_be_scored(tmp_path: Path) -> None:
    """Half of the objects are the truth's, which pycocotools has to find out."""
    path, generator = tmp_path / "out.coco.json", np.random.default_rng(0)
    sink = CocoResults(path)
    sink.open(info())
    truth: list[dict[str, Any]] = []
    for index in range(20):
        corner = generator.uniform(0, 20, 2)
        box = np.array([*corner, *(corner + generator.uniform(12, 24, 2))], np.float32)
        found = Detections(
            boxes=box[None],
            labels=np.ones(1, np.int64),
            scores=np.array([0.9], np.float32),
            class_names=("__background__", "person"),
            masks=np.ones((1, 28, 28), np.float32),
        )
        sink.write(job(index, found))
        width, height = (float(side) for side in box[2:] - box[:2])
        left = float(box[0]) if index % 2 else float(box[0]) + 40
        truth.append(
            {
                "id": index + 1, "image_id": index, "category_id": 1, "iscrowd": 0,
                "area": width * height, "bbox": [left, float(box[1]), width, height],
            }
        )  # fmt: skip
    assert not path.exists()  # half of a JSON array is none
    sink.close()
    labelled = COCO()
    labelled.dataset = {
        "images": [{"id": index, "width": 64, "height": 48} for index in range(20)],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": truth,
        "info": {},
    }
    labelled.createIndex()
    scores = COCOeval(labelled, labelled.loadRes(str(path)), "bbox")
    scores.evaluate()
    scores.accumulate()
    scores.summarize()
    assert scores.stats[8] == pytest.approx(0.5)  # recall
    (first, *_) = json.loads(path.read_text())
    assert first["segmentation"]["size"] == [48, 64]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_run_that_is_cut_leaves_the_older_results(tmp_path: Path) -> None:
    path = tmp_path / "out.coco.json"
    path.write_text("[]")
    sink = CocoResults(path)
    sink.open(info())
    sink.write(job(0))
    assert path.read_text() == "[]"
    sink.close()
    assert len(json.loads(path.read_text())) == 1


# ── delivery ──


def test_both_receivers_get_every_event_with_one_id(tmp_path: Path) -> None:
    with brokers.web_server() as one, brokers.web_server() as other:
        sink = EventDelivery([one.url(), other.url()], "door", folder=tmp_path, masks=True)
        sink.source_changed(STATUS)
        sink.open(info(is_live=True))
        for index in range(20):
            sink.write(job(index))
        until(lambda: len(one.taken) == len(other.taken) == 21, "some are missing")
        sink.close()
        sink.close()
    events = [json.loads(request.body) for request in one.taken]
    assert [request.body for request in one.taken] == [request.body for request in other.taken]
    assert [event["type"] for event in events] == ["source", *["frame"] * 20]
    assert [event["id"][-10:] for event in events] == [f"{number:010d}" for number in range(21)]
    for event in events:
        VALIDATOR.validate(event)
    assert [entry.delivered for _, entry in sink.statistics()] == [21, 21]


def test_empty_frames_may_be_left_out(tmp_path: Path) -> None:
    with brokers.web_server() as server:
        sink = EventDelivery([server.url() + "#empty=skip"], "door", folder=tmp_path)
        sink.open(info())
        for index in range(30):
            sink.write(job(index, None if index in (5, 6, 20) else nothing()))
        until(lambda: len(server.taken) == 6, "some are missing")
        sink.close()
    indices = [json.loads(request.body)["index"] for request in server.taken]
    assert indices == [0, 5, 6, 7, 20, 21]  # the first empty one says that nobody is there now


def test_a_receiver_that_hangs_slows_no_frame(tmp_path: Path) -> None:
    """A file's frames are never dropped, so a sink that waited would show in the time."""
    with brokers.silent_server() as (port, _):
        sink = EventDelivery([f"http://127.0.0.1:{port}/x"], "numbers", folder=tmp_path)
        pipeline = ThreadedPipeline(NumberedSource(300), build_stages(OneBoxRuntime(), [sink]))
        began = time.monotonic()
        with pipeline:
            while not pipeline.wait(0.05):
                assert time.monotonic() - began < brokers.SECONDS
        pipeline.finish()
        assert pipeline.meter.latency()["sink deliver"].p50 < 50  # ms
    ((_, left),) = sink.statistics()
    assert (left.delivered, left.waiting, left.lost) == (0, 300, 0)


def test_the_same_source_twice_is_one_sentence(tmp_path: Path) -> None:
    url = f"mqtt://127.0.0.1:{brokers.free_port()}/t"
    first = EventDelivery([url], "door", folder=tmp_path)
    first.open(info())
    with pytest.raises(SinkError, match="Another rcnn-live delivers the same source"):
        EventDelivery([url], "door", folder=tmp_path).open(info())
    EventDelivery([url], "yard", folder=tmp_path).close()
    other = EventDelivery([url], "yard", folder=tmp_path)
    other.open(info())
    other.close()
    first.close()


def test_a_receiver_that_is_given_twice_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--events mqtt://host/t is given twice"):
        EventDelivery(["mqtt://host/t", "mqtt://u:p@host/t#empty=skip"], "door", folder=tmp_path)


def test_no_password_is_in_a_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    url = f"mqtt://user:s3cret@127.0.0.1:{brokers.free_port()}/t"
    with caplog.at_level(logging.DEBUG):
        sink = EventDelivery([url], "door", folder=tmp_path)
        sink.open(info())
        sink.write(job(0))
        ((name, _),) = sink.statistics()
        threads = [thread.name for thread in threading.enumerate()]
        sink.close()
    files = [file.name for file in tmp_path.iterdir()]
    assert "s3cret" not in " ".join([caplog.text, name, *files, *threads])
    assert f"deliver {name}" in threads
