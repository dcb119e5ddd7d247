"""A source that comes back: what it tells, when it tries again, and where its frames end up."""

from __future__ import annotations

import dataclasses
import gc
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces import Collector, NumberedSource, OneBoxRuntime

from stream.errors import (
    SourceDenied,
    SourceError,
    ThreadLeftBehind,
    UsageError,
)
from stream.frame import Frame
from stream.sources import FrameSource, ReconnectOptions, SourceState, SourceStatus
from stream.sources.backoff import Backoff, Pace
from stream.sources.base import SourceInfo
from stream.sources.reconnect import Reconnecting
from stream.sources.timing import LiveTimeline
from stream.stages import build_stages
from stream.threaded import ThreadedPipeline

QUICK = ReconnectOptions(first_delay_seconds=0.02, longest_delay_seconds=0.1, proven_seconds=0.001)
BROKE = SourceError("the camera broke the connection.")


class Unopenable(NumberedSource):
    """Fails to open with ``error``."""

    def __init__(self, error: Exception) -> None:
        super().__init__(is_live=True)
        self.error = error

    def open(self) -> SourceInfo:
        self._note("open")
        raise self.error


def live(frames: int, error: Exception = BROKE, **options: object) -> NumberedSource:
    """Breaks after so many frames."""
    return NumberedSource(None, is_live=True, fails_at=(frames, error), **options)  # type: ignore[arg-type]


def coming_back(
    *connections: FrameSource,
    options: ReconnectOptions = QUICK,
    read_timeout_seconds: float = 5.0,
) -> tuple[Reconnecting, list[SourceStatus]]:
    """One connection after the other, and all that is told of them."""
    left: Iterator[FrameSource] = iter(connections)
    source = Reconnecting(
        lambda: next(left),
        name="numbers",
        read_timeout_seconds=read_timeout_seconds,
        options=options,
    )
    told: list[SourceStatus] = []
    source.watch(told.append)
    return source, told


def read(source: FrameSource, count: int) -> list[Frame]:
    frames = [source.read() for _ in range(count)]
    assert all(frames)
    return [frame for frame in frames if frame]


def states(told: list[SourceStatus]) -> list[str]:
    return [status.state.value for status in told]


def test_frames_go_on_over_a_gap() -> None:
    source, told = coming_back(
        live(5, period_seconds=0.01), Unopenable(BROKE), Unopenable(BROKE), live(100)
    )
    with source:
        info = source.open()
        frames = read(source, 12)
    assert [frame.index for frame in frames] == list(range(12))
    assert [frame.image[0, 0, 0] for frame in frames] == [*range(5), *range(7)]  # of each source
    assert all(later.pts > earlier.pts for earlier, later in pairwise(frames))
    assert all(frame.time_base == info.time_base for frame in frames)
    gap = frames[5].captured_at - frames[4].captured_at
    assert [frame.gap_seconds for frame in frames] == [0.0] * 5 + [pytest.approx(gap)] + [0.0] * 6
    assert frames[5].pts_seconds - frames[4].pts_seconds == pytest.approx(gap, abs=0.002)
    assert frames[6].pts_seconds - frames[5].pts_seconds == pytest.approx(0.04, abs=0.002)
    assert states(told) == ["connecting", "live", *["reconnecting"] * 3, "live"]
    assert [status.attempt for status in told] == [1, 0, 1, 2, 3, 0]
    assert [status.reconnects for status in told] == [0, 0, 0, 0, 0, 1]
    assert told[2].reason == told[3].reason == str(BROKE)
    assert told[2].since == told[4].since < told[4].at
    assert told[2].next_attempt_in_seconds == 0 < told[3].next_attempt_in_seconds
    assert told[4].sentence() == "no signal: reconnecting, attempt 3"


def test_an_end_is_a_reason_to_connect_at_once() -> None:
    source, told = coming_back(
        NumberedSource(3, is_live=True, period_seconds=0.01), NumberedSource(9, is_live=True)
    )
    with source:
        source.open()
        read(source, 6)
    assert (told[2].state, told[2].next_attempt_in_seconds) == (SourceState.RECONNECTING, 0)
    assert "ended" in told[2].reason


def test_what_is_not_live_ends() -> None:
    source, told = coming_back(NumberedSource(3))
    with source:
        source.open()
        read(source, 3)
        assert source.read() is None
        assert source.read() is None
    assert states(told) == ["connecting", "live"]


def test_what_is_not_live_keeps_its_times() -> None:
    class Slides(NumberedSource):
        """A picture every 20 s, as fast as it is read."""

        def read(self) -> Frame | None:
            frame = super().read()
            return frame and dataclasses.replace(frame, pts=frame.pts * 500)

    source, told = coming_back(Slides(4))
    with source:
        source.open()
        assert [frame.pts_seconds for frame in read(source, 4)] == [0, 20, 40, 60]
        assert source.read() is None
    assert states(told) == ["connecting", "live"]


def test_the_first_connection_fails_at_once_or_is_waited_for() -> None:
    source, told = coming_back(Unopenable(BROKE))
    with source, pytest.raises(SourceError, match="broke the connection"):
        source.open()
    assert states(told) == ["connecting", "failed"]

    patient = ReconnectOptions(first_delay_seconds=0.02, waits_for_first=True)
    source, told = coming_back(Unopenable(BROKE), Unopenable(BROKE), live(9), options=patient)
    with source:
        source.open()
        assert read(source, 1)[0].gap_seconds == 0
    assert states(told) == ["connecting"] * 3 + ["live"]
    assert [status.attempt for status in told] == [1, 2, 3, 0]


def test_wrong_usage_is_waited_for_by_nobody() -> None:
    patient = ReconnectOptions(waits_for_first=True)
    source, _ = coming_back(Unopenable(UsageError("there is no such camera.")), options=patient)
    with source, pytest.raises(UsageError):
        source.open()


def test_attempts_may_be_limited() -> None:
    few = ReconnectOptions(first_delay_seconds=0.01, attempts=2)
    source, told = coming_back(live(2), Unopenable(BROKE), Unopenable(BROKE), options=few)
    with source:
        source.open()
        read(source, 2)
        with pytest.raises(SourceError):
            source.read()
    assert states(told)[-1] == "failed"


def test_silence_is_a_stall_and_then_a_new_connection() -> None:
    class Silent(NumberedSource):
        """Waits for the next frame until it is interrupted."""

        def read(self) -> Frame | None:
            if self.index == 3:
                self._interrupted.wait(30)
            return super().read()

    source, told = coming_back(Silent(None, is_live=True), live(9), read_timeout_seconds=0.2)
    with source:
        source.open()
        frames = read(source, 5)
    assert states(told) == ["connecting", "live", "stalled", "reconnecting", "live"]
    assert frames[3].gap_seconds >= 0.2


def test_a_reader_that_hears_nothing_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = NumberedSource(None, is_live=True, hangs_at=3)
    source, told = coming_back(deaf, live(9), read_timeout_seconds=0.2)
    monkeypatch.setattr(source, "_end_patience", 0.2)
    source.open()
    read(source, 5)
    assert (told[-1].state, told[-1].left_behind) == (SourceState.LIVE, 1)
    with pytest.raises(ThreadLeftBehind, match="did not let go"):
        source.close()
    deaf.release.set()
    source.close()
    while deaf.calls[-1][0] != "close":  # by the thread that opened it
        time.sleep(0.01)
    assert len({thread for _, thread in deaf.calls}) == 1


def test_a_reader_that_was_left_behind_is_forgotten_once_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deaf = NumberedSource(None, is_live=True, hangs_at=3)
    release, calls, in_memory = deaf.release, deaf.calls, weakref.ref(deaf)
    connections: list[FrameSource] = [deaf, live(3), live(9)]
    del deaf
    source = Reconnecting(
        lambda: connections.pop(0), name="numbers", read_timeout_seconds=0.2, options=QUICK
    )
    monkeypatch.setattr(source, "_end_patience", 0.2)
    with source:
        source.open()
        read(source, 5)
        assert source.status.left_behind == 1
        release.set()
        while calls[-1][0] != "close":
            time.sleep(0.01)
        read(source, 3)
        assert source.status.left_behind == 0
        gc.collect()
        assert in_memory() is None


@pytest.mark.parametrize("state", ["connecting", "reading", "waiting"])
def test_interrupt_is_heard_in_every_state(state: str) -> None:
    patient = ReconnectOptions(
        first_delay_seconds=60, longest_delay_seconds=60, waits_for_first=state == "connecting"
    )
    first: FrameSource = (
        Unopenable(BROKE) if state == "connecting" else live(2, period_seconds=0.01)
    )
    if state == "reading":
        first = NumberedSource(None, is_live=True, period_seconds=0.01)
    source, _ = coming_back(first, Unopenable(BROKE), options=patient)
    timer = threading.Timer(0.3, source.interrupt)
    timer.start()
    began = time.monotonic()
    with source:
        if state == "connecting":
            with pytest.raises(SourceError, match="interrupted"):
                source.open()
        else:
            source.open()
            while source.read() is not None:
                continue
            assert source.read() is None
    assert time.monotonic() - began < 5
    timer.join()


@pytest.mark.parametrize("waits_for_first", [True, False])
def test_a_stop_while_there_is_no_signal_is_no_failure(waits_for_first: bool) -> None:
    options = ReconnectOptions(
        first_delay_seconds=60, longest_delay_seconds=60, waits_for_first=waits_for_first
    )
    first = Unopenable(BROKE) if waits_for_first else live(2)
    source, told = coming_back(first, Unopenable(BROKE), Unopenable(BROKE), options=options)
    sink = Collector()
    pipeline = ThreadedPipeline(source, build_stages(OneBoxRuntime(), [sink]), observers=[sink])
    pipeline.start()
    while not told or told[-1].next_attempt_in_seconds < 20:
        assert not pipeline.wait(0.01)
    assert not pipeline.status.is_live
    pipeline.stop()
    while not pipeline.wait(0.05):
        continue
    pipeline.finish()
    assert pipeline.ledger.counts().in_flight == 0


def test_one_that_closes_its_connections_reads_with_named_threads() -> None:
    first, second = live(2), live(9)
    source, _ = coming_back(first, second)
    with source:
        source.open()
        read(source, 4)
    for connection in (first, second):
        assert connection.calls[-1][0] == "close"
        assert {thread for _, thread in connection.calls} == {"read numbers"}


def test_delays_double_up_to_a_limit_and_are_never_the_same() -> None:
    backoff = Backoff(ReconnectOptions(), random.Random(0))
    delays = [backoff.next_delay() for _ in range(60)]
    for number, delay in enumerate(delays):
        longest = min(30.0, 0.5 * 2 ** max(0, number - 1))
        assert longest / 2 <= delay <= longest
    assert len(set(delays)) == len(delays)
    backoff.prove()
    assert backoff.next_delay() == 0
    assert 0 < backoff.next_delay() <= 0.5


def test_a_connection_that_shows_one_picture_proves_nothing() -> None:
    slow = ReconnectOptions(first_delay_seconds=0.01, proven_seconds=60)
    source, told = coming_back(*(live(1) for _ in range(6)), options=slow)
    with source:
        source.open()
        read(source, 6)
    waits = [status.next_attempt_in_seconds for status in told if status.reason]
    assert all(waits)
    assert waits[-1] > waits[0]


def test_a_wrong_password_is_tried_rarely() -> None:
    backoff = Backoff(ReconnectOptions())
    assert backoff.next_delay(is_denied=True) == 30
    denied = SourceDenied("the camera wants a user and a password.")
    options = ReconnectOptions(longest_delay_seconds=0.2, first_delay_seconds=0.001)
    source, told = coming_back(live(2), Unopenable(denied), live(9), options=options)
    with source:
        source.open()
        read(source, 3)
    assert [status.next_attempt_in_seconds for status in told if "password" in status.reason] == [
        0.2
    ]


def test_a_slow_camera_may_be_silent_for_longer() -> None:
    pace = Pace(2.0)
    assert pace.limit_seconds() == 2.0
    for number in range(60):
        pace.note(number * 0.04)
    assert pace.limit_seconds() == 2.0
    pace.begin()
    for number in range(5):
        pace.note(number * 1.0)
    assert pace.limit_seconds() == pytest.approx(10.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ReconnectOptions(first_delay_seconds=0),
        lambda: ReconnectOptions(attempts=0),
        lambda: ReconnectOptions(longest_delay_seconds=float("nan")),
    ],
)
def test_options_that_cannot_be(make: Callable[[], object]) -> None:
    with pytest.raises(UsageError):
        make()


TICK = Fraction(1, 90_000)


def test_a_clock_that_is_set_leaves_no_hole() -> None:
    timeline = LiveTimeline(TICK)
    hour = 3600 * 90_000
    times = [0, 3000, hour + 6000, hour + 9000, 12_000, 15_000]
    placed = [timeline.place(pts, TICK, 0.04 * k)[0] for k, pts in enumerate(times)]
    assert placed == pytest.approx([0, 3000, 6600, 9600, 13_200, 16_200], abs=3)


def test_a_segment_that_comes_at_once_keeps_its_times() -> None:
    timeline = LiveTimeline(TICK)
    times = [3600 * k for k in range(150)]
    assert [timeline.place(pts, TICK, 1.0)[0] for pts in times] == times


@given(
    steps=st.lists(
        st.tuples(st.integers(-(10**9), 10**9), st.floats(0, 100), st.booleans()), max_size=30
    )
)
def test_times_always_increase(steps: list[tuple[int, float, bool]]) -> None:
    timeline = LiveTimeline(TICK)
    captured_at, placed, gaps = 0.0, [], []
    for pts, elapsed, is_new in steps:
        captured_at += elapsed
        if is_new:
            timeline.begin_connection()
        at, gap = timeline.place(pts, Fraction(1, 1000), captured_at)
        placed.append(at)
        gaps.append(gap)
    assert placed == sorted(set(placed))
    assert all(gap >= 0 for gap in gaps)
    assert not any(gap for gap, (_, _, is_new) in zip(gaps, steps, strict=True) if not is_new)
