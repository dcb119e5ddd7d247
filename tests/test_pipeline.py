"""Both pipelines: order, accounts, errors in every place, stops in every state."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from pieces import Collector, FailingStage, NumberedSource, OneBoxRuntime

from stream.bounded_queue import Policy
from stream.errors import PipelineError, SourceError, ThreadLeftBehind
from stream.pipeline import Pipeline
from stream.serial import SerialPipeline
from stream.stages import Emit, Stage, build_stages
from stream.threaded import STOP_SECONDS, ThreadedPipeline

KINDS = pytest.mark.parametrize("kind", [ThreadedPipeline, SerialPipeline])
STAGE_NAMES = ("first", "second", "third")


def run_to_end(pipeline: Pipeline, limit_seconds: float = 20) -> float:
    """Start, wait for the end, return the seconds it took."""
    began = time.monotonic()
    pipeline.start()
    while not pipeline.wait(0.05):
        assert time.monotonic() - began < limit_seconds, "the pipeline does not end"
    return time.monotonic() - began


def with_failure(stage: str, where: str, sink: Collector) -> list[Stage]:
    named = [FailingStage(name, where if name == stage else "never") for name in STAGE_NAMES]
    return [*named, Emit([sink])]


@KINDS
def test_a_file_passes_whole_and_in_order(kind: type[Pipeline]) -> None:
    source, sink, runtime = NumberedSource(30), Collector(), OneBoxRuntime()
    pipeline = kind(source, build_stages(runtime, [sink]))
    run_to_end(pipeline)
    pipeline.finish()
    counts = pipeline.ledger.counts()
    assert sink.indices == list(range(30))
    assert (counts.captured, counts.emitted, counts.dropped, counts.failed) == (30, 30, {}, 0)
    assert (sink.opened, sink.closed, runtime.closed) == (1, 1, True)
    assert pipeline.policy is Policy.BLOCK


@KINDS
def test_max_frames_ends_an_endless_source(kind: type[Pipeline]) -> None:
    sink = Collector()
    pipeline = kind(NumberedSource(None), build_stages(OneBoxRuntime(), [sink]), max_frames=7)
    run_to_end(pipeline)
    pipeline.finish()
    assert sink.indices == list(range(7))


@KINDS
def test_one_thread_opens_reads_and_closes_the_source(kind: type[Pipeline]) -> None:
    source = NumberedSource(5)
    run_to_end(kind(source, build_stages(OneBoxRuntime(), [Collector()])))
    assert [method for method, _ in source.calls][:1] == ["open"]
    assert source.calls[-1][0] == "close"
    assert len({thread for _, thread in source.calls}) == 1


@KINDS
@pytest.mark.parametrize("where", ["open", "process", "close"])
@pytest.mark.parametrize("stage", STAGE_NAMES)
def test_an_error_in_a_stage_ends_all_and_is_raised(
    kind: type[Pipeline], stage: str, where: str
) -> None:
    source, sink = NumberedSource(200), Collector()
    stages = with_failure(stage, where, sink)
    pipeline = kind(source, stages)
    assert run_to_end(pipeline) < STOP_SECONDS
    with pytest.raises(RuntimeError, match=f"{stage} failed in {where}"):
        pipeline.finish()
    counts = pipeline.ledger.counts()
    assert counts.in_flight == 0
    assert counts.failed == (1 if where == "process" else 0)
    assert sink.closed == 1  # the recording is finished whatever happened
    assert all(stage.closed == 1 for stage in stages[:-1])
    assert source.calls[-1][0] == "close"
    if where == "process":
        assert sink.indices == [0, 1, 2]  # what was ahead of the error still got through


@KINDS
def test_an_error_of_the_source_keeps_the_frames_before_it(kind: type[Pipeline]) -> None:
    sink = Collector()
    source = NumberedSource(50, fails_at=(10, SourceError("the camera is gone")))
    pipeline = kind(source, build_stages(OneBoxRuntime(), [sink]))
    run_to_end(pipeline)
    with pytest.raises(SourceError, match="the camera is gone"):
        pipeline.finish()
    assert sink.indices == list(range(10))
    assert pipeline.ledger.counts().in_flight == 0


@KINDS
def test_an_error_of_one_sink_still_closes_the_others(kind: type[Pipeline]) -> None:
    good, bad = Collector(), Collector(fails_at=2)
    pipeline = kind(NumberedSource(50), build_stages(OneBoxRuntime(), [good, bad]))
    run_to_end(pipeline)
    with pytest.raises(OSError, match="sink failed"):
        pipeline.finish()
    assert (good.closed, bad.closed) == (1, 1)
    assert pipeline.ledger.counts().failed == 1


@KINDS
def test_a_source_that_does_not_open_leaves_nothing_behind(kind: type[Pipeline]) -> None:
    class Unopenable(NumberedSource):
        def open(self):  # type: ignore[no-untyped-def]
            raise SourceError("no such camera")

    source, sink = Unopenable(), Collector()
    pipeline = kind(source, build_stages(OneBoxRuntime(), [sink]))
    run_to_end(pipeline)
    with pytest.raises(SourceError, match="no such camera"):
        pipeline.finish()
    assert sink.indices == []
    assert ("close", source.calls[-1][1]) == source.calls[-1]


@KINDS
def test_stop_in_the_middle_finishes_the_sinks(kind: type[Pipeline]) -> None:
    sink = Collector()
    pipeline = kind(
        NumberedSource(None, period_seconds=0.01), build_stages(OneBoxRuntime(), [sink])
    )
    pipeline.start()
    while len(sink.indices) < 5:
        pipeline.wait(0.02)
    pipeline.stop()
    pipeline.stop()
    began = time.monotonic()
    while not pipeline.wait(0.05):
        pass
    assert time.monotonic() - began < STOP_SECONDS
    pipeline.stop()  # legal after the end, too
    pipeline.finish()
    assert sink.closed == 1
    counts = pipeline.ledger.counts()
    assert counts.captured == counts.emitted + sum(counts.dropped.values())


@KINDS
def test_stop_before_the_first_frame(kind: type[Pipeline]) -> None:
    sink = Collector()
    pipeline = kind(NumberedSource(None), build_stages(OneBoxRuntime(), [sink]))
    pipeline.start()
    pipeline.stop()
    while not pipeline.wait(0.05):
        pass
    pipeline.finish()


def test_stop_gives_up_on_frames_that_would_take_too_long() -> None:
    sink = Collector(seconds=1.5)
    pipeline = ThreadedPipeline(NumberedSource(None), build_stages(OneBoxRuntime(), [sink]))
    pipeline.start()
    while not sink.indices:
        pipeline.wait(0.05)
    began = time.monotonic()
    pipeline.stop()
    while not pipeline.wait(0.05):
        pass
    assert time.monotonic() - began < STOP_SECONDS
    pipeline.finish()
    assert pipeline.ledger.counts().dropped_by_reason()["stopped"] >= 1
    assert sink.closed == 1


def test_a_reader_that_cannot_be_interrupted_is_named_and_left() -> None:
    source, sink = NumberedSource(None, hangs_at=3), Collector()
    pipeline = ThreadedPipeline(source, build_stages(OneBoxRuntime(), [sink]))
    pipeline.start()
    while len(sink.indices) < 3:
        pipeline.wait(0.02)
    began = time.monotonic()
    pipeline.stop()
    while not pipeline.wait(0.05):
        pass
    assert time.monotonic() - began < STOP_SECONDS + 1
    with pytest.raises(ThreadLeftBehind, match="capture did not stop within 5 s"):
        pipeline.finish()
    assert sink.closed == 1  # what could be finished is finished
    source.release.set()


def test_a_reader_that_is_left_behind_is_named_beside_an_error() -> None:
    source, sink = NumberedSource(None, hangs_at=3), Collector(fails_at=2)
    pipeline = ThreadedPipeline(source, build_stages(OneBoxRuntime(), [sink]))
    pipeline.start()
    while not pipeline.wait(0.05):
        pass
    with pytest.raises(ThreadLeftBehind, match=r"^sink failed capture did not stop") as caught:
        pipeline.finish()
    assert isinstance(caught.value.__cause__, OSError)
    source.release.set()


def test_no_thread_is_left() -> None:
    before = set(threading.enumerate())
    for stages in (
        build_stages(OneBoxRuntime(), [Collector()]),
        with_failure("second", "process", Collector()),
        with_failure("first", "open", Collector()),
    ):
        run_to_end(ThreadedPipeline(NumberedSource(100), stages))
    assert set(threading.enumerate()) == before


def test_threads_are_named_after_their_stages() -> None:
    names: list[str] = []

    class Nosy(Collector):
        def write(self, job):  # type: ignore[no-untyped-def]
            names.extend(thread.name for thread in threading.enumerate())

    run_to_end(ThreadedPipeline(NumberedSource(3), build_stages(OneBoxRuntime(), [Nosy()])))
    assert {"sinks"} <= set(names)
    assert {"preprocess", "model", "postprocess"} & set(names)


MODEL_SECONDS = 0.1


def test_a_live_source_faster_than_the_model_stays_fresh() -> None:
    """100 frames a second into a model of 10: the newest wins, the others are counted."""
    sink = Collector()
    source = NumberedSource(300, is_live=True, period_seconds=0.01)
    pipeline = ThreadedPipeline(source, build_stages(OneBoxRuntime(MODEL_SECONDS), [sink]))
    run_to_end(pipeline)
    pipeline.finish()
    counts = pipeline.ledger.counts()
    assert pipeline.policy is Policy.DROP_OLDEST
    assert counts.dropped_by_reason()["queue_full"] > 200
    assert counts.captured == 300 == counts.emitted + sum(counts.dropped.values())
    assert sink.indices == sorted(sink.indices)
    assert pipeline.meter.latency()["total"].p99 < 3 * MODEL_SECONDS * 1e3
    # fresh all the time, not only on average: the second half is no later than the first
    half = len(sink.ages_ms) // 2
    assert np.percentile(sink.ages_ms[half:], 75) < 3 * MODEL_SECONDS * 1e3


def test_a_live_source_with_a_slow_sink_stays_fresh() -> None:
    sink = Collector(seconds=MODEL_SECONDS)
    source = NumberedSource(200, is_live=True, period_seconds=0.01)
    pipeline = ThreadedPipeline(source, build_stages(OneBoxRuntime(), [sink]))
    run_to_end(pipeline)
    pipeline.finish()
    # of most: the machine may stand still for a moment
    assert np.percentile(sink.ages_ms, 75) < 3 * MODEL_SECONDS * 1e3


def test_the_user_overrides_the_policy_of_the_source() -> None:
    sink = Collector(seconds=0.01)
    source = NumberedSource(40, is_live=True, period_seconds=0.001)
    pipeline = ThreadedPipeline(source, build_stages(OneBoxRuntime(), [sink]), policy=Policy.BLOCK)
    run_to_end(pipeline)
    pipeline.finish()
    assert sink.indices == list(range(40))


def test_a_lost_frame_is_an_error() -> None:
    pipeline = SerialPipeline(NumberedSource(3), build_stages(OneBoxRuntime(), [Collector()]))
    run_to_end(pipeline)
    pipeline.ledger.captured()
    with pytest.raises(PipelineError, match="1 of 4 frames are unaccounted for"):
        pipeline.finish()


def test_nothing_is_rendered_when_nobody_looks() -> None:
    stages = build_stages(OneBoxRuntime(), [Collector()])
    assert [stage.name for stage in stages] == ["preprocess", "model", "postprocess", "sinks"]
