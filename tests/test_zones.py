from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.detections import UNTRACKED, Detections
from stream.errors import UsageError
from stream.tracking import LOST_SECONDS
from stream.zone_counts import SETTLE_SECONDS, Change, ZoneCounter
from stream.zones import Line, Zone, parse_line, parse_zone

SIZE = (200, 100)  # (width, height) px
NAMES = ("__background__", "person", "car")
LEFT_HALF = Zone("left half", ((0, 0), (0.5, 0), (0.5, 1), (0, 1)))
BELOW = Line("below", (0.25, 0.5), (0.75, 0.5))  # at half the height, over the middle half

LOW = Zone("low", ((0, 0.5), (1, 0.5), (1, 1), (0, 1)))


def at(*feet: tuple[int, float, float], label: int = 1) -> Detections:
    """Objects by track id and feet in px."""
    boxes = [[x - 5, y - 20, x + 5, y] for _, x, y in feet]
    return Detections(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.full(len(feet), label),
        scores=np.full(len(feet), 0.9, np.float32),
        class_names=NAMES,
        track_ids=np.array([track_id for track_id, _, _ in feet], np.int64),
    )


def walk(
    counter: ZoneCounter,
    way: Sequence[tuple[float, float]],
    *,
    rate: float = 25,
    start: float = 0.0,
) -> list[Change]:
    changes: list[Change] = []
    for k, (x, y) in enumerate(way):
        changes += counter.update(at((1, x, y)), SIZE, start + k / rate)
    return changes


def straight(*corners: tuple[float, float], steps: int = 25) -> list[tuple[float, float]]:
    """A way through corners, ``steps`` frames from each to the next."""
    way: list[tuple[float, float]] = []
    for before, after in pairwise(corners):
        ends = zip(before, after, strict=True)
        way += zip(*(np.linspace(a, b, steps).tolist() for a, b in ends), strict=True)
    return way


def kinds(changes: Sequence[Change]) -> list[str]:
    return [change.kind for change in changes]


def test_in_and_out_of_a_zone() -> None:
    counter = ZoneCounter([LEFT_HALF])
    changes = walk(counter, straight((150, 50), (50, 50), (150, 50)))
    assert kinds(changes) == ["entered", "left"]
    entered, left = changes
    assert (entered.place, entered.track_id, entered.label) == ("left half", 1, "person")
    # feet are over the border at 100 px in the middle of each second
    assert entered.at_seconds == pytest.approx(0.5 + SETTLE_SECONDS, abs=0.09)
    assert left.at_seconds == pytest.approx(1.5 + SETTLE_SECONDS, abs=0.09)
    assert counter.counts.as_json()["zones"] == {
        "left half": {"inside": {}, "entered": {"person": 1}, "left": {"person": 1}}
    }


def test_who_is_inside_now() -> None:
    counter = ZoneCounter([LEFT_HALF])
    before = counter.counts
    for k in range(10):
        counter.update(
            at((1, 20, 50), (2, 60, 90), (3, 150, 50), (UNTRACKED, 30, 30)), SIZE, k / 25
        )
    assert counter.counts.zones["left half"].inside == {"person": 2}
    assert [counter.zones_of(number) for number in (1, 2, 3, 4)] == [
        ["left half"], ["left half"], [], []
    ]  # fmt: skip
    assert before.zones["left half"].inside == {}  # a snapshot stays what it was


def test_an_object_that_is_missed_for_a_moment_stays_inside_and_a_lost_one_leaves() -> None:
    counter = ZoneCounter([LEFT_HALF])
    assert kinds(walk(counter, [(20, 50)] * 25)) == ["entered"]
    assert counter.update(at(), SIZE, 1.0 + LOST_SECONDS * 0.9) == ()
    assert counter.counts.zones["left half"].inside == {"person": 1}
    assert kinds(counter.update(at(), SIZE, 1.1 + LOST_SECONDS)) == ["left"]
    assert counter.counts.zones["left half"].inside == {}
    assert not counter.zones_of(1)


@pytest.mark.parametrize("rate", [2, 5, 25, 60])
def test_a_line_is_crossed_in_downwards_and_out_upwards(rate: int) -> None:
    counter = ZoneCounter(lines=[BELOW])
    down, up = (
        straight((100, 20), (100, 90), steps=rate),
        straight((100, 90), (100, 20), steps=rate),
    )
    still = [(100.0, 90.0)] * rate
    changes = walk(counter, [*down, *still, *up, *[(100.0, 20.0)] * rate], rate=rate)
    assert kinds(changes) == ["in", "out"]
    assert counter.counts.as_json()["lines"] == {
        "below": {"in": {"person": 1}, "out": {"person": 1}}
    }


def test_the_other_way_round_a_line_counts_the_other_way() -> None:
    counter = ZoneCounter(lines=[Line("above", BELOW.end, BELOW.start)])
    assert kinds(walk(counter, straight((100, 20), (100, 90)))) == ["out"]


def test_who_walks_around_a_line_has_not_crossed_it() -> None:
    counter = ZoneCounter(lines=[BELOW])
    around = straight((100, 20), (180, 20), (180, 90), (100, 90))
    assert walk(counter, around) == []
    assert kinds(walk(counter, straight((100, 90), (100, 20)), start=10)) == ["out"]


def test_a_fast_object_seen_on_both_sides_only_has_crossed() -> None:
    counter = ZoneCounter(lines=[BELOW])
    assert kinds(walk(counter, [(100, 10), (100, 95), (100, 95)], rate=3)) == ["in"]


def test_hidden_while_it_crosses() -> None:
    counter = ZoneCounter(lines=[BELOW])
    walk(counter, straight((100, 10), (100, 45)))
    for k in range(25):
        counter.update(at(), SIZE, 1 + k / 25)
    assert kinds(walk(counter, straight((100, 55), (100, 80)), start=2.1)) == ["in"]


@pytest.mark.parametrize("places", [{"lines": [BELOW]}, {"zones": [LOW]}])
def test_trembling_on_the_border_is_nothing(places: dict[str, list[Zone] | list[Line]]) -> None:
    counter = ZoneCounter(**places)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    walk(counter, [(100, 30)] * 10)
    trembling = [(100.0, 50 + 6 * (-1) ** k + rng.normal(0, 1)) for k in range(200)]
    assert walk(counter, trembling, start=1) == []


def test_classes_are_counted_apart_and_leave_as_what_they_came() -> None:
    counter = ZoneCounter([LEFT_HALF])
    for k in range(10):
        counter.update(at((1, 20, 50)), SIZE, k / 25)
    for k in range(10, 20):
        counter.update(at((2, 20, 50), label=2), SIZE, k / 25)
    assert counter.counts.zones["left half"].inside == {"person": 1, "car": 1}
    for k in range(20, 40):  # the vote on track 1 has changed
        counter.update(at((1, 150, 50), label=2), SIZE, k / 25)
    tally = counter.counts.zones["left half"]
    assert (tally.inside, tally.left) == ({"car": 1}, {"person": 1})


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(1, 4), st.integers(0, 200), st.integers(0, 100)), max_size=4,
                 unique_by=lambda row: row[0]),
        max_size=60,
    ),
    st.sampled_from([0.05, 0.3, 1.5]),
)  # fmt: skip
def test_entered_less_left_is_inside(
    frames: list[list[tuple[int, int, int]]], period_seconds: float
) -> None:
    counter = ZoneCounter([LEFT_HALF], [BELOW])
    balance = 0
    for k, rows in enumerate(frames):
        for change in counter.update(at(*rows), SIZE, k * period_seconds):
            balance += {"entered": 1, "left": -1}.get(change.kind, 0)
        tally = counter.counts.zones["left half"]
        inside = sum(tally.inside.values())
        assert inside == balance == sum(tally.entered.values()) - sum(tally.left.values())
        assert 0 <= inside == sum(bool(counter.zones_of(number)) for number in range(1, 5))


def test_memory_does_not_grow() -> None:
    counter = ZoneCounter([LEFT_HALF], [BELOW])
    for k in range(1000):
        counter.update(at((k // 4 + 1, 50, 50)), SIZE, k * 0.5)
    assert all(len(place._sides) <= 3 for place in (*counter._zones, *counter._lines))


def test_as_written_on_the_command_line() -> None:
    assert parse_zone("front door=0.1,0.5 0.4,.5 0.4,1 0.1,1") == Zone(
        "front door", ((0.1, 0.5), (0.4, 0.5), (0.4, 1.0), (0.1, 1.0))
    )
    assert parse_line("gate=0,0.6 1,0.6") == Line("gate", (0, 0.6), (1, 0.6))


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (parse_zone, "door", "takes NAME=X,Y X,Y …, such as"),
        (parse_zone, "=0,0 1,0 1,1", "takes NAME=X,Y"),
        (parse_zone, "a=0,0 1,0 1", "takes NAME=X,Y"),
        (parse_zone, "a=0,0 1,b 1,1", "takes NAME=X,Y"),
        (parse_zone, "a=0,0 1,1", "needs at least 3 corners"),
        (parse_zone, "a=0,0 1,1 0.5,0.5", "is no area"),
        (parse_zone, "a=0,0 1,1 1,0 0,1", "no side crosses another"),
        (parse_zone, "a=0,0 100,0 100,50", "parts of the picture's width and height"),
        (parse_zone, "a=0,0 nan,0 1,1", "from 0 to 1"),
        (parse_line, "a=0,0", "a start and an end, not 1 points"),
        (parse_line, "a=0,0 0,0", "starts where it ends"),
        (parse_line, "a=0,0 0,-1", "from 0 to 1"),
    ],
)
def test_what_is_none_is_a_sentence(
    parse: Callable[[str], object], text: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        parse(text)
    assert str(raised.value).endswith(".")


def test_names_are_used_once() -> None:
    with pytest.raises(UsageError, match="called below"):
        ZoneCounter([Zone("below", LEFT_HALF.corners)], [BELOW])
