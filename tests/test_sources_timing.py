"""Repaired presentation times, and when the packet of a picture came."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.sources.timing import ArrivalTimes, PtsRepair

MILLISECOND = Fraction(1, 1000)


@pytest.mark.parametrize(
    ("decoded", "repaired"),
    [
        ([0, 40, 81, 120], [0, 40, 81, 120]),
        ([None, None, None], [0, 40, 80]),
        ([7, None, 90], [7, 47, 90]),
        ([100, 60, 80, 300], [100, 140, 180, 300]),
        ([5, 5], [5, 45]),
        ([-80, -40, 0], [-80, -40, 0]),
    ],
)
def test_only_what_is_wrong_is_repaired(decoded: list[int | None], repaired: list[int]) -> None:
    repair = PtsRepair(MILLISECOND, Fraction(25))
    assert [repair.next(pts, None) for pts in decoded] == repaired


def test_the_duration_of_the_frame_before_counts() -> None:
    repair = PtsRepair(MILLISECOND, Fraction(25))
    assert [repair.next(0, 100), repair.next(None, 10), repair.next(None, None)] == [0, 100, 110]


@given(
    pts=st.lists(st.none() | st.integers(-(2**62), 2**62), max_size=30),
    durations=st.lists(st.none() | st.integers(0, 10**6), min_size=30, max_size=30),
    rate=st.none() | st.fractions(Fraction(1, 1000), 10**6),
    time_base=st.fractions(Fraction(1, 10**6), 10),
)
def test_times_always_increase(
    pts: list[int | None],
    durations: list[int | None],
    rate: Fraction | None,
    time_base: Fraction,
) -> None:
    repair = PtsRepair(time_base, rate)
    repaired = [repair.next(*frame) for frame in zip(pts, durations, strict=False)]
    assert repaired == sorted(set(repaired))


def test_arrivals_are_found_in_any_order() -> None:
    arrivals = ArrivalTimes()
    for pts, arrived_at in ((0, 1.0), (80, 1.1), (40, 1.2)):
        arrivals.note(pts, arrived_at)
    assert [arrivals.take(pts) for pts in (0, 40, 80)] == [1.0, 1.2, 1.1]


def test_an_unknown_arrival_is_the_latest_and_memory_is_bounded() -> None:
    arrivals = ArrivalTimes()
    for pts in range(10_000):
        arrivals.note(pts, float(pts))
    assert arrivals.take(None) == arrivals.take(3) == 9999.0
    assert arrivals.take(9990) == 9990.0
