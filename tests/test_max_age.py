"""Frames that would be shown too late are given up before the model, and counted."""

from __future__ import annotations

import dataclasses

import pytest
from pieces import Collector, NumberedSource, OneBoxRuntime, Run

from stream.age_limit import AgeLimit
from stream.bounded_queue import Policy
from stream.errors import UsageError
from stream.frame import Frame
from stream.observer import Observer
from stream.pipeline import Pipeline
from stream.serial import SerialPipeline
from stream.stages import build_stages
from stream.threaded import ThreadedPipeline

KINDS = pytest.mark.parametrize("kind", [ThreadedPipeline, SerialPipeline])
STAGES = ("preprocess", "model", "postprocess", "sinks")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Drops(Observer):
    def __init__(self) -> None:
        self.dropped: list[tuple[int, str, str]] = []

    def frame_dropped(self, frame: Frame, stage: str, reason: str) -> None:
        self.dropped.append((frame.index, stage, reason))


def run_to_end(pipeline: Pipeline) -> None:
    pipeline.start()
    while not pipeline.wait(0.05):
        continue
    pipeline.finish()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def limit(clock: Clock, seconds: float = 0.5) -> AgeLimit:
    return AgeLimit(seconds, STAGES, "model", clock)


def test_the_time_still_needed_counts(clock: Clock) -> None:
    ages = limit(clock)
    assert not ages.rules_out("model", 99.6)  # 0.4 s old, and nothing known of the model
    ages.note("model", 0.2)
    ages.note("postprocess", 0.1)
    ages.note("preprocess", 9.0)  # behind it
    ages.note("sinks", 9.0)  # a frame is on time when it gets there
    assert not ages.rules_out("model", 99.9)
    assert ages.rules_out("model", 99.7)
    assert not ages.rules_out("preprocess", 0.0)
    assert not ages.rules_out("postprocess", 0.0)


def test_none_that_is_too_old_is_shown(clock: Clock) -> None:
    ages = limit(clock)
    assert ages.rules_out("sinks", 99.4)
    assert not ages.rules_out("sinks", 99.6)


def test_one_slow_frame_changes_nothing(clock: Clock) -> None:
    ages = limit(clock)
    for seconds in (0.1, 0.1, 30.0, 0.1):
        ages.note("model", seconds)
    assert not ages.rules_out("model", 99.9)


def test_a_model_that_is_too_slow_is_tried_once_a_second(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    ages = limit(clock)
    ages.note("model", 3.0)
    let_through = []
    for tenth in range(50):
        clock.now = 100 + tenth / 10
        let_through.append(not ages.rules_out("model", clock.now))
    assert 4 <= sum(let_through) <= 5
    assert len(caplog.records) == 1
    assert "at an age of 500 ms at most" in caplog.text
    for _ in range(20):
        ages.note("model", 0.1)
    assert not ages.rules_out("model", clock.now)


def test_a_model_that_was_slow_for_a_while_is_not_given_up(clock: Clock) -> None:
    ages = limit(clock)
    for _ in range(20):
        ages.note("model", 0.45)  # alone within the limit, and not with the age of any frame
    let_through = 0
    for tenth in range(50):
        clock.now = 100 + tenth / 10
        if not ages.rules_out("model", clock.now - 0.1):
            let_through += 1
            ages.note("model", 0.05)
        assert ages.rules_out("model", clock.now - 0.6)  # nothing is to be learned from that one
    assert 4 <= let_through <= 5
    for _ in range(20):
        ages.note("model", 0.05)
    assert not ages.rules_out("model", clock.now - 0.1)


@KINDS
def test_without_need_nothing_is_dropped(kind: type[Pipeline]) -> None:
    sink = Collector()
    run_to_end(kind(NumberedSource(30), build_stages(OneBoxRuntime(), [sink]), max_age_ms=60_000))
    assert sink.indices == list(range(30))


@KINDS
def test_what_cannot_be_shown_in_time_is_counted(kind: type[Pipeline]) -> None:
    """Frames that wait for their turn in a file's order are too old sooner or later."""
    sink, drops = Collector(), Drops()
    source = NumberedSource(60, is_live=True, period_seconds=0.005)
    pipeline = kind(
        source,
        build_stages(OneBoxRuntime(0.05), [sink]),
        policy=Policy.BLOCK,
        max_age_ms=1,
        observers=[drops],
    )
    run_to_end(pipeline)
    counts = pipeline.ledger.counts()
    assert sink.indices == []
    assert counts.captured == 60 == counts.dropped_by_reason()["too_old"]
    assert set(counts.dropped_by_stage()) <= {"model", "sinks"}
    assert len(drops.dropped) == 60


def test_a_frame_that_arrives_in_time_is_shown_in_time() -> None:
    sink = Collector()
    source = NumberedSource(60, is_live=True, period_seconds=0.01)
    pipeline = ThreadedPipeline(
        source, build_stages(OneBoxRuntime(0.03), [sink]), policy=Policy.BLOCK, max_age_ms=1000
    )
    run_to_end(pipeline)
    assert sink.indices
    assert max(sink.ages_ms) < 1000 + 500  # and what the machine was busy with in between


def test_a_gap_before_a_dropped_frame_is_told_by_the_next() -> None:
    class WithGaps(NumberedSource):
        def read(self) -> Frame | None:
            frame = super().read()
            return frame and dataclasses.replace(frame, gap_seconds=float(frame.index % 5 == 0))

    class Gaps(Collector):
        def __init__(self) -> None:
            super().__init__(seconds=0.02)
            self.gaps = 0.0

        def write(self, job) -> None:  # type: ignore[no-untyped-def]
            super().write(job)
            self.gaps += job.frame.gap_seconds

    sink = Gaps()
    source = WithGaps(101, is_live=True, period_seconds=0.005)
    pipeline = ThreadedPipeline(source, build_stages(OneBoxRuntime(), [sink]))
    run_to_end(pipeline)
    assert pipeline.ledger.counts().dropped_by_reason()["queue_full"] > 20
    assert sink.gaps == sum(index % 5 == 0 for index in range(sink.indices[-1] + 1))


def test_an_age_that_cannot_be(rcnn_live: Run) -> None:
    with pytest.raises(UsageError):
        AgeLimit(0, STAGES, "model")
    code, _, message = rcnn_live("run", "demo", "--max-age-ms", "0")
    assert code == 2
    assert "--max-age-ms" in message
