"""The command line as a user meets it: outputs, exit codes, one sentence for each mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import av
import media
import pytest
import torch
from pieces import Run
from source_cases import byte_server
from torchvision.ops import box_iou

from models.lineage.systems import SYSTEMS, weights_of
from models.zoo import model_names

pytestmark = pytest.mark.timeout(400)  # the first export for the demo takes a minute or two


def recorded_times(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]


def test_a_file_goes_through_whole_with_its_own_times(rcnn_live: Run, tmp_path: Path) -> None:
    clip = media.variable_rate(tmp_path)
    code, _, err = rcnn_live(
        "run", clip.path, "--record", "out.mp4", "--events", "out.jsonl",
        "--trace", "trace.jsonl", "--summary", "s.json", "--runtime", "torch-eager",
    )  # fmt: skip
    assert code == 0, err
    events = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    summary = json.loads(Path("s.json").read_text())
    with av.open(str(clip.path)) as container:
        times = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    assert recorded_times(Path("out.mp4")) == times
    assert [event["index"] for event in events] == list(range(len(times)))
    assert [event["pts_seconds"] for event in events] == [round(time, 6) for time in times]
    assert summary["frames"] == {
        "captured": len(times),
        "emitted": len(times),
        "dropped": {},
        "dropped_before": {},
        "failed": 0,
    }
    assert {"model", "runtime", "device", "source", "fps", "latency_ms", "detections"} <= set(
        summary
    )
    assert {"total", "capture", "preprocess", "model", "postprocess", "render", "sinks"} <= set(
        summary["latency_ms"]
    )
    assert set(summary["latency_ms"]["total"]) == {"p50", "p95", "p99"}
    assert len(Path("trace.jsonl").read_text().splitlines()) == len(times)
    assert f"{len(times)} of {len(times)} frames, 0 dropped" in err


def test_one_thread_or_many_the_events_are_the_same_bytes(rcnn_live: Run) -> None:
    common = ("run", "demo", "--max-frames", 4, "--event-masks")
    assert rcnn_live(*common, "--events", "many.jsonl")[0] == 0
    assert rcnn_live(*common, "--events", "one.jsonl", "--single-thread")[0] == 0
    assert Path("many.jsonl").read_bytes() == Path("one.jsonl").read_bytes()
    assert '"mask"' in Path("one.jsonl").read_text()


def test_the_demo_s_people_are_found(rcnn_live: Run) -> None:
    """Every 50th frame through the embedded model: two people, each with a mask of some size."""
    code, out, err = rcnn_live("run", "demo", "--max-frames", 12, "--events", "-", "--quiet")
    assert code == 0, err
    events = [json.loads(line) for line in out.splitlines()]
    assert len(events) == 12
    assert all(len(event["detections"]) >= 2 for event in events)


def test_the_default_runtime_finds_what_pytorch_eager_finds(rcnn_live: Run) -> None:
    common = ("run", "demo", "--max-frames", 6)
    assert rcnn_live(*common, "--events", "default.jsonl", "--summary", "s.json")[0] == 0
    eager = (*common, "--events", "eager.jsonl", "--runtime", "torch-eager")
    assert rcnn_live(*eager)[0] == 0
    assert json.loads(Path("s.json").read_text())["runtime"] != "torch-eager"
    for default, expected in zip(
        *map(boxes_by_frame, ("default.jsonl", "eager.jsonl")), strict=True
    ):
        # bf16 decides otherwise about an uncertain one
        assert abs(len(default) - len(expected)) <= 1
        certain = expected[: len(default)][:2]
        assert box_iou(torch.tensor(certain), torch.tensor(default)).amax(1).min() > 0.85


def boxes_by_frame(events: str) -> list[list[list[float]]]:
    """Boxes (xyxy) of each line, best first."""
    lines = Path(events).read_text().splitlines()
    return [[row["box"] for row in json.loads(line)["detections"]] for line in lines]


def test_classes_keep_what_was_asked_for(rcnn_live: Run) -> None:
    code, out, err = rcnn_live(
        "run", "demo", "--max-frames", 1, "--events", "-", "--classes", "person, person"
    )
    assert code == 0, err
    assert {row["label"] for row in json.loads(out)["detections"]} == {"person"}


def test_an_older_recording_is_replaced(rcnn_live: Run) -> None:
    Path("out.mp4").write_bytes(b"older")
    assert rcnn_live("run", "demo", "--max-frames", 3, "--record", "out.mp4", "--quiet")[0] == 0
    assert len(recorded_times(Path("out.mp4"))) == 3


MISTAKES: dict[str, tuple[list[str], int, str]] = {
    "unknown model": (["demo", "--model", "mask_rcnn_persn"], 2, "mask_rcnn_person"),
    "missing file": (["no-such.mp4"], 2, "no-such.mp4"),
    "unknown scheme": (["rtps://cam/1"], 2, "rtsp"),
    "unknown option": (["demo", "--recrd", "x.mp4"], 2, "--record"),
    "wrong value": (["demo", "--max-frames", "0"], 2, "--max-frames"),
    "wrong choice": (["demo", "--policy", "wait"], 2, "drop-oldest"),
    "wrong pair": (["demo", "--input-option", "rate"], 2, "KEY=VALUE"),
    "unknown class": (["demo", "--classes", "persom"], 2, "person"),
    "no such folder": (["demo", "--record", "missing/out.mp4"], 2, "missing"),
    "unwritable": (["demo", "--events", "/proc/events.jsonl"], 2, "/proc/events.jsonl"),
    "unknown suffix": (["demo", "--record", "out.avi"], 2, ".mp4"),
    "no display": (["demo", "--window"], 2, "--record"),
    "no such weights": (["demo", "--weights", "none.pth"], 2, "none.pth"),
    "refused port": (["rtsp://user:hunter2@127.0.0.1:9/cam"], 1, "127.0.0.1:9"),
    "empty video": (["empty.mp4"], 1, "empty"),
    "audio only": (["audio_only.mp4"], 1, "audio"),
    "not a video": (["page.avi"], 1, "page"),
    "weights of another model": (
        ["demo", "--model", "fasterrcnn_resnet50_fpn", "--weights", "other.safetensors"],
        1,
        "fasterrcnn_resnet50_fpn",
    ),
    "damaged weights": (["demo", "--weights", "damaged.pth"], 1, "damaged.pth"),
    "source as output": (["clip.mp4", "--record", "clip.mp4"], 2, "is the source already"),
    "source behind a prefix": (
        ["faults:drop=0.1:file:clip.mp4", "--record", "clip.mp4"],
        2,
        "is the source already",
    ),
    "one file twice": (["demo", "--events", "a", "--trace", "a"], 2, "is --events already"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence(
    rcnn_live: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: str
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "damaged.pth").write_bytes(b"PK\3\4 and then nothing")
    (tmp_path / "page.avi").write_text("<!doctype html><html><body>Sign in</body></html>" * 200)
    media.audio_only(tmp_path).replace(tmp_path / "audio_only.mp4")
    media.constant_rate(tmp_path).path.replace(tmp_path / "clip.mp4")
    from models.zoo import EMBEDDED_WEIGHTS

    (tmp_path / "other.safetensors").symlink_to(EMBEDDED_WEIGHTS)
    before = {path: path.stat().st_size for path in tmp_path.iterdir()}

    arguments, code, fragment = MISTAKES[mistake]
    outputs = [] if "--record" in arguments else ["--record", "out.mp4"]
    outputs += [] if "--events" in arguments else ["--events", "out.jsonl"]
    got, out, err = rcnn_live("run", *arguments, *outputs, "--summary", "s.json")

    assert (got, out) == (code, "")
    (line,) = err.strip().splitlines()
    assert line.startswith("rcnn-live: ")
    assert line.endswith((".", "?", "?)"))
    assert fragment in line
    assert "hunter2" not in err
    assert {path: path.stat().st_size for path in tmp_path.iterdir()} == before


def test_debug_shows_the_traceback_but_no_password(rcnn_live: Run) -> None:
    code, _, err = rcnn_live("run", "rtsp://user:hunter2@127.0.0.1:9/cam", "--debug")
    assert code == 1
    assert "Traceback" in err
    assert "hunter2" not in err


def test_a_source_that_ends_at_once_leaves_nothing(rcnn_live: Run, tmp_path: Path) -> None:
    with byte_server(b"") as port:
        code, _, err = rcnn_live(
            "run",
            f"tcp://127.0.0.1:{port}",
            "--record",
            "out.mp4",
            "--summary",
            "s.json",
            "--quiet",
        )
    assert code == 1
    assert len(err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_help_and_models(rcnn_live: Run) -> None:
    code, out, _ = rcnn_live("run", "--help")
    assert code == 0
    assert "--record" in out
    code, out, _ = rcnn_live("models", "--names")
    assert code == 0
    lineage = [name for name in SYSTEMS if weights_of(name).is_file()]
    assert out.splitlines() == [*model_names(), *lineage]
    code, out, _ = rcnn_live("models")
    (row,) = (line for line in out.splitlines() if line.startswith("maskrcnn_resnet50_fpn_v2 "))
    for part in ("boxes, masks", "80", "46.4 M", "667.2", "box AP 47.4, mask AP 41.8 (COCO-val"):
        assert part in row  # torchvision counts a multiply-add as one operation
    code, out, _ = rcnn_live("models", "--json")
    tasks = {entry["name"]: entry["task"] for entry in json.loads(out)}
    assert tasks["lraspp_mobilenet_v3_large"] == "semantic segmentation"
    assert tasks["keypointrcnn_resnet50_fpn"] == "boxes, keypoints"


def test_help_does_not_wait_for_torch() -> None:
    code = (
        "import sys\nsys.argv = ['rcnn-live', '--help']\nfrom stream.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_python_m_stream_is_the_same_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "stream", "--version"], capture_output=True, text=True, check=True,
        cwd=Path(__file__).resolve().parents[1],
    )  # fmt: skip
    assert done.stdout.startswith("rcnn-live")
