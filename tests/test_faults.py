"""Sources that are broken on purpose, and recorded runs that are played again."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from pathlib import Path

import media
import numpy as np
import pytest
from pieces import Collector, NumberedSource, OneBoxRuntime, Run
from test_max_age import run_to_end

from stream.errors import SourceError, UsageError
from stream.frame import Frame
from stream.sinks.trace import TraceLog
from stream.sources import ReconnectOptions, SourceStatus, create_source
from stream.sources.faults import FaultPlan, Faulty
from stream.stages import build_stages
from stream.threaded import ThreadedPipeline

PICTURES = "lavfi:testsrc2=size=96x64:rate=50:duration=4"


def frames_of(spec: str, uri: str = PICTURES) -> list[Frame]:
    with create_source(f"faults:{spec}:{uri}") as source:
        source.open()
        return list(iter(source.read, None))


def numbers_of(spec: str, count: int = 60) -> list[int]:
    """What is seen of a source of numbered frames."""
    with Faulty(NumberedSource(count), FaultPlan.parse(spec)) as source:
        source.open()
        return [int(frame.image[0, 0, 0]) for frame in iter(source.read, None)]


def assert_contract(frames: list[Frame]) -> None:
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert all(after.pts > before.pts for before, after in pairwise(frames))


def test_frames_are_lost() -> None:
    assert 10 < len(numbers_of("drop=0.5")) < 50
    assert numbers_of("drop=1") == []
    assert_contract(frames_of("drop=0.5"))


def test_frames_are_shown_again() -> None:
    seen = numbers_of("repeat=0.5")
    assert len(seen) == 60
    assert 10 < sum(before == after for before, after in pairwise(seen)) < 50


def test_the_same_faults_again_and_others_with_another_seed() -> None:
    assert numbers_of("drop=0.5") == numbers_of("drop=0.5") != numbers_of("drop=0.5,seed=1")
    # another fault does not move those of the first
    assert len(numbers_of("drop=0.5,repeat=0.5")) == len(numbers_of("drop=0.5"))


def test_damaged_packets_are_dropped_until_the_next_keyframe_and_counted() -> None:
    with create_source(f"faults:corrupt=0.05:{PICTURES}") as source:
        source.open()
        frames = list(iter(source.read, None))
        assert source.corrupt_packets == 200 - len(frames) > 5
    assert frames
    assert_contract(frames)


def test_a_whole_link_shows_what_was_sent() -> None:
    sent = frames_of("seed=1")
    arrived = frames_of("corrupt=0.000001")
    assert len(sent) == len(arrived) == 200
    worst = max(
        float(np.abs(one.image.astype(int) - other.image).mean())
        for one, other in zip(sent, arrived, strict=True)
    )
    assert worst < 5


def test_the_size_changes_and_changes_back() -> None:
    frames = frames_of("resize=0.1")
    assert {frame.size for frame in frames} == {(96, 64), (48, 32)}
    assert_contract(frames)


@pytest.mark.parametrize("seconds", [7.0, -7.0])
def test_the_clock_jumps(seconds: float) -> None:
    frames = frames_of(f"jump=0.02/{seconds}")
    assert_contract(frames)
    steps = [after.pts_seconds - before.pts_seconds for before, after in pairwise(frames)]
    assert (max(steps) > 6) == (seconds > 0)  # one that runs backwards is repaired, as everywhere


def test_nothing_comes_for_a_while() -> None:
    began = time.monotonic()
    frames = frames_of("stall=0.05/0.1")
    assert len(frames) == 200
    assert time.monotonic() - began > 0.2


def test_frames_come_all_at_once() -> None:
    with Faulty(NumberedSource(30, period_seconds=0.01), FaultPlan.parse("burst=1/10")) as source:
        source.open()
        frames, read_at = [], []
        while (frame := source.read()) is not None:
            frames.append(frame)
            read_at.append(time.monotonic())
    assert len(frames) == 30
    assert sum(after - before > 0.05 for before, after in pairwise(read_at)) <= 3
    assert read_at[9] - read_at[0] < frames[9].captured_at - frames[0].captured_at


def test_every_frame_is_late() -> None:
    began = time.monotonic()
    numbers_of("slow=0.02", count=10)
    assert time.monotonic() - began > 0.2


def test_a_broken_connection_comes_back(tmp_path: Path) -> None:
    spec = "faults:disconnect=0.1:lavfi:testsrc2=size=96x64:rate=50,realtime"
    with create_source(spec) as source:
        source.open()
        with pytest.raises(SourceError, match="disconnected"):
            list(iter(source.read, None))
    told: list[SourceStatus] = []
    quick = ReconnectOptions(first_delay_seconds=0.01, longest_delay_seconds=0.02)
    with create_source(spec, reconnect=quick) as source:
        source.watch(told.append)
        source.open()
        frames = [source.read() for _ in range(60)]
    assert_contract([frame for frame in frames if frame])
    assert told[-1].reconnects >= 1
    gaps = sum(frame.gap_seconds > 0 for frame in frames if frame)
    assert gaps == max(status.reconnects for status in told)


def test_a_hanging_reader_hears_no_interruption() -> None:
    source = Faulty(NumberedSource(3), FaultPlan.parse("hang=1/0.3"))
    source.open()
    source.interrupt()
    source.read()
    began = time.monotonic()
    source = Faulty(NumberedSource(1), FaultPlan.parse("hang=1/0.3"))
    source.open()
    source.read()
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("faults:dorp=0.1:demo", "did you mean drop"),
        ("faults:drop=2:demo", "a probability from 0 to 1, not '2'"),
        ("faults:drop=1/2:demo", "a probability from 0 to 1, not '1/2'"),
        ("faults:stall=0.1:demo", "a probability from 0 to 1 and seconds, such as 0.01/3"),
        ("faults:burst=x/3:demo", "and frames"),
        ("faults:slow=-1:demo", "seconds from 0 to 3600"),
        ("faults:seed=half:demo", "a whole number"),
        ("faults::demo", "what is to go wrong"),
        ("faults:drop=0.1:", "source is empty"),
        ("replay:nothing.jsonl", "replay:TRACE.jsonl:FILE"),
        ("replay:nothing.jsonl:demo", "cannot be read"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(rcnn_live: Run, uri: str, words: str) -> None:
    code, _, message = rcnn_live("run", uri)
    assert code == 2
    assert words in message
    assert "Traceback" not in message


def test_a_trace_without_arrivals_is_refused(tmp_path: Path) -> None:
    trace = tmp_path / "old.jsonl"
    trace.write_text('{"index":0,"pts_seconds":0.0}\n')
    with pytest.raises(UsageError, match="no trace with arrival times"):
        create_source(f"replay:{trace}:demo")
    trace.write_text("")
    with pytest.raises(UsageError, match="holds no frames"):
        create_source(f"replay:{trace}:demo")


def test_a_recorded_run_is_played_again(tmp_path: Path) -> None:
    """The drops of a live run whose frames came in two bursts, once more from a file."""
    count, trace = 24, tmp_path / "trace.jsonl"

    class TwoBursts(NumberedSource):
        def read(self) -> Frame | None:
            if self.index == count // 2:
                time.sleep(0.6)
            return super().read()

    pace = 0.1
    sinks = [Collector(pace), TraceLog(str(trace))]
    live = ThreadedPipeline(
        TwoBursts(count, is_live=True), build_stages(OneBoxRuntime(), sinks), observers=sinks
    )
    run_to_end(live)
    rows = [json.loads(line) for line in trace.read_text().splitlines()]
    assert sorted(row["index"] for row in rows) == list(range(count))
    dropped = [row for row in rows if "dropped_before" in row]
    assert len(dropped) == sum(live.ledger.counts().dropped.values()) > count // 2
    assert all(row["reason"] == "queue_full" for row in dropped)

    clip = media.constant_rate(tmp_path)
    seen = Collector(pace)
    again = ThreadedPipeline(
        create_source(f"replay:{trace}:{clip.path}"), build_stages(OneBoxRuntime(), [seen])
    )
    run_to_end(again)
    assert again.ledger.counts().captured == count
    assert abs(len(seen.indices) - len(sinks[0].indices)) <= 3  # type: ignore[attr-defined]
    assert any(index < count // 2 for index in seen.indices)
