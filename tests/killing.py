"""``rcnn-live run`` killed in the middle, and what is left of its recording and its events.

The run is the real program, its command line included, on a live source at its own pace. The
model's canvas is tiny, so that its speed is not what is measured.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import av
from brokers import content, until
from jsonschema import Draft202012Validator

from stream.cli import main
from stream.events.schema import SCHEMA_FILE

VALIDATOR = Draft202012Validator(json.loads(SCHEMA_FILE.read_text()))
BAR_SECONDS = 1.5  # of a recording, that a kill may cost
BAR_FRAMES = 3  # that it may cost however slowly they come: a fragment is written with the next one
START_SECONDS = 200.0  # until the first event, on a busy machine

# People, and patterns as fast as a camera and as slow as a model on a small machine
SOURCES = {
    "demo": "demo:live",
    "25 fps": "lavfi:testsrc2=size=320x240:rate=25,realtime",
    "5 fps": "lavfi:testsrc2=size=320x240:rate=5,realtime",
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run and the moment of its end.

    Attributes:
        source: one of ``SOURCES``.
        suffix: of the recording.
        segment: as ``--segment`` takes it; None for one file.
        seconds: from the first event to the kill.
    """

    source: str
    suffix: str
    segment: str | None
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Remains:
    """What was left.

    Attributes:
        files: of the recording.
        unopened: of these, how many cannot be played.
        frames: that can be.
        events: in the log.
        behind_seconds: from the arrival of the last frame that can be played to the kill.
        events_behind_seconds: from the arrival of the last frame with an event to the kill.
        wrong: what should not be, however busy the machine was, in sentences.
    """

    files: int
    unopened: int
    frames: int
    events: int
    behind_seconds: float
    events_behind_seconds: float
    wrong: tuple[str, ...]


def plans(times: int, seed: int) -> list[Plan]:
    """Every kind of recording in turn, the rest at random."""
    draw = random.Random(seed)
    kinds = [(suffix, segment) for segment in (None, "2s") for suffix in (".mp4", ".mkv")]
    return [
        Plan(
            source=draw.choice(list(SOURCES)),
            suffix=kinds[number % len(kinds)][0],
            segment=kinds[number % len(kinds)][1],
            seconds=draw.uniform(0.2, 6.0),
        )
        for number in range(times)
    ]


def kill(plan: Plan, folder: Path) -> Remains:
    """Run, kill and look; in an empty folder."""
    command = ["rcnn-live", "run", SOURCES[plan.source], "--quiet", "--record", f"out{plan.suffix}"]
    command += ["--runtime", "torch-eager", "--canvas-side", "64", "--events", "events.jsonl"]
    command += ["--segment", plan.segment] if plan.segment else []
    process = _server().Process(target=_run, args=(command, str(folder)), daemon=True)
    process.start()
    try:
        until(
            lambda: b'"index"' in content(folder / "events.jsonl") or not process.is_alive(),
            "it does not begin",
            START_SECONDS,
        )
        time.sleep(plan.seconds)
        said = content(folder / "log").decode()
        assert process.is_alive(), f"it ended with {process.exitcode}: {said}"
        died = time.time()
    finally:
        process.kill()
        process.join()
    return look(folder, plan, died)


def _server() -> ForkServerContext:
    """What gives processes that have imported PyTorch already, which takes longer than a run."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["stream.cli", "stream.run"])
    return server


def _run(command: list[str], folder: str) -> None:
    """As from the command line."""
    os.chdir(folder)
    log = os.open("log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 2)
    sys.argv = command
    main()


def look(folder: Path, plan: Plan, died: float) -> Remains:
    """What is left of a run that died at this UTC time."""
    wrong: list[str] = []
    events = _events((folder / "events.jsonl").read_text(), wrong)
    first_at, events_end = wall_time(events[0]), wall_time(events[-1])
    files = sorted(folder.glob(f"out*{plan.suffix}"))
    count, unopened, recording_end = 0, 0, first_at
    for file in files:
        begun_at = _in_name(file) if plan.segment else first_at
        times = _times(file, wrong)
        if times is None:
            unopened += 1
            if _is_too_much(events, begun_at):
                wrong.append(f"{file.name} of {events_end - begun_at:.2f} s does not open")
            continue
        count += len(times)
        recording_end = max(recording_end, begun_at + times[-1])
    if _is_too_much(events, recording_end):
        wrong.append(f"the recording ends {events_end - recording_end:.2f} s before the events")
    return Remains(
        files=len(files),
        unopened=unopened,
        frames=count,
        events=len(events),
        behind_seconds=died - recording_end,
        events_behind_seconds=died - events_end,
        wrong=tuple(wrong),
    )


def _is_too_much(events: list[dict[str, Any]], since: float) -> bool:
    """Whether all that came since is more than a kill may cost."""
    missing = [event for event in events if wall_time(event) > since]
    return len(missing) > BAR_FRAMES and wall_time(events[-1]) - since > BAR_SECONDS


def wall_time(event: dict[str, Any]) -> float:
    """UTC seconds since 1970."""
    return datetime.fromisoformat(event["time"]).timestamp()


def _events(text: str, wrong: list[str]) -> list[dict[str, Any]]:
    """Of frames, in order."""
    if not text.endswith("\n"):
        wrong.append("the last event is cut off")
    events = [json.loads(line) for line in text.splitlines()]
    for event in events:
        VALIDATOR.validate(event)
    frames = [event for event in events if "index" in event]
    indices = [frame["index"] for frame in frames]
    if indices != sorted(set(indices)):
        wrong.append("the events are out of order")
    return frames


def _in_name(file: Path) -> float:
    """UTC seconds of a segment's beginning, which its name tells."""
    stamp = file.stem.rpartition("-")[2]
    return datetime.strptime(stamp, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC).timestamp()


def _times(file: Path, wrong: list[str]) -> list[float] | None:
    """Of every picture in seconds; None if there is none. The last packet may be cut off."""
    times: list[float] = []
    try:
        with av.open(str(file)) as container:
            packets = list(container.demux(video=0))
            for number, packet in enumerate(packets):
                try:
                    times += [float(frame.time) for frame in packet.decode()]
                except av.InvalidDataError:
                    if number < len(packets) - 2:
                        wrong.append(f"{file.name}: packet {number} of {len(packets)} is damaged")
    except (av.FFmpegError, IndexError):
        return None
    if times != sorted(set(times)):
        wrong.append(f"{file.name}: its times are out of order")
    return times or None
