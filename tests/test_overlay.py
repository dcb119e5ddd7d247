from __future__ import annotations

import numpy as np
import pytest

from stream.overlay import draw_trails, draw_zones
from stream.zone_counts import Counts, LineTally, ZoneTally
from stream.zones import Line, Zone

SIZES = [(64, 48), (320, 240), (1920, 1080)]  # (width, height) px
ZONE = Zone("door", ((0.1, 0.3), (0.5, 0.3), (0.5, 1), (0.1, 1)))
GATE = Line("gate", (0, 0.9), (1, 0.9))


def counts(inside: int = 2) -> Counts:
    zone = ZoneTally({"person": inside}, {"person": 5}, {"person": 5 - inside})
    return Counts({"door": zone}, {"gate": LineTally({"person": 1}, {})})


def grey(size: tuple[int, int]) -> np.ndarray:
    return np.full((size[1], size[0], 3), 100, np.uint8)


@pytest.mark.parametrize("size", SIZES)
def test_a_zone_is_tinted_inside_and_nowhere_else(size: tuple[int, int]) -> None:
    picture = grey(size)
    draw_zones(picture, [ZONE], [], counts())
    height, width = picture.shape[:2]
    assert (picture[int(height * 0.8), int(width * 0.3)] != 100).any()
    assert (picture[int(height * 0.95), int(width * 0.9)] == 100).all()
    assert (picture[: int(height * 0.2)] == 100).all()


@pytest.mark.parametrize("size", SIZES[1:])
def test_the_arrow_of_a_line_points_in(size: tuple[int, int]) -> None:
    drawn = []
    for line in (Line("gate", (0.2, 0.5), (0.8, 0.5)), Line("gate", (0.8, 0.5), (0.2, 0.5))):
        picture = grey(size)
        draw_zones(picture, [], [line], counts())
        middle = picture[:, int(size[0] * 0.5)].astype(int)
        drawn.append([(half != 100).sum() for half in np.array_split(middle, 2)])
    down, up = drawn
    assert down[1] > up[1]


def test_counts_are_on_the_picture() -> None:
    pictures = []
    for inside in (2, 3):
        picture = grey((640, 480))
        draw_zones(picture, [ZONE], [GATE], counts(inside))
        pictures.append(picture)
    changed = np.argwhere((pictures[0] != pictures[1]).any(axis=2))
    assert 0 < len(changed) < 2000  # a few digits
    assert changed[:, 0].min() >= 0.3 * 479 - 2


def test_zones_at_the_very_edge_and_outside_of_small_pictures_are_no_error() -> None:
    whole = Zone("all", ((0, 0), (1, 0), (1, 1), (0, 1)))
    tally = Counts({"all": ZoneTally({}, {}, {})}, {"edge": LineTally({}, {})})
    for size in [(1, 1), (8, 8), *SIZES]:
        draw_zones(grey(size), [whole], [Line("edge", (1, 0), (1, 1))], tally)


def test_a_trail_ends_where_the_object_stands() -> None:
    picture = grey((320, 240))
    trail = np.array([[20, 30], [100, 30], [100, 200]], np.float32)
    draw_trails(picture, {3: trail, 4: trail[:1]})
    for x, y in trail.astype(int):
        assert (picture[y, x] != 100).any()
    assert (picture[100, 20] == 100).all()
    assert (picture[205:, :] == 100).all()


def test_trails_have_colours_of_their_own() -> None:
    colors = set()
    for track_id in range(1, 12):
        picture = grey((320, 240))
        draw_trails(picture, {track_id: np.array([[20, 100], [300, 100]], np.float32)})
        colors.add(tuple(picture[100, 160].tolist()))
    assert len(colors) == 11
