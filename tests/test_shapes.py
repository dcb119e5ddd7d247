"""The shapes world says of its pictures what is true of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from models.errors import UsageError
from models.shapes.outlines import KEYPOINTS, OUTLINES, SPOT
from models.shapes.settings import DATA_WORDS, SOURCE_WORDS, ShapesSettings, parse_shapes
from models.shapes.surfaces import Light
from models.shapes.world import CLASS_NAMES, HIDDEN, LEAST_SHARE, OUTSIDE, SEEN, World

SEEDS = range(8)
BLACK, WHITE = 0.0, 255.0


class NoLight(Light):
    """Shows what was drawn as it was drawn."""

    def __init__(self) -> None:
        pass

    def shine(self, picture: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.uint8]:
        return np.rint(picture).astype(np.uint8)


def plain(seed: int, white: int, **options: float) -> World:
    """The world of ``seed`` in black, but for the thing number ``white``."""
    world = World(seed, **options)  # type: ignore[arg-type]
    world.light = NoLight()
    world.background[:] = BLACK
    for number, thing in enumerate(world.things):
        color = WHITE if number == white else BLACK
        thing._texture[:] = color
        thing._spot_color = np.full(3, color, np.float32)
    return world


def drawn_mask(seed: int, number: int, k: int) -> npt.NDArray[np.bool_]:
    """Where thing ``number`` shows, found in pixels alone; the shutter is fast, edges are soft."""
    return plain(seed, number, shutter=0.0).draw(k)[..., 0] >= 128


@pytest.mark.parametrize("seed", SEEDS)
def test_masks_and_boxes_are_those_of_the_pixels(seed: int) -> None:
    world = World(seed, shutter=0.0)
    for k in (0, 57):
        truth = world.truth(k)
        for mask, box, track_id in zip(truth.masks, truth.boxes, truth.track_ids, strict=True):
            pixels = drawn_mask(seed, int(track_id) - 1, k)
            # where the soft edges of two objects meet, either may have the pixel
            differing = pixels ^ mask
            assert differing.sum() <= 0.03 * mask.sum() + 2
            others = truth.masks.sum(0) - mask
            if not others.any() or truth.shares[truth.track_ids == track_id] > 0.999:
                assert not (differing & ~touching(truth.masks, mask)).any()
            rows, columns = np.nonzero(mask)
            assert box.tolist() == [
                columns.min(),
                rows.min(),
                columns.max() + 1,
                rows.max() + 1,
            ]


def touching(masks: npt.NDArray[np.bool_], mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The pixels within 2 of another object's than ``mask``'s."""
    near = masks.sum(0) - mask > 0
    for axis in (0, 1):
        near = near | np.any([np.roll(near, step, axis) for step in (-2, -1, 1, 2)], axis=0)
    return near


def test_a_thing_taken_away_changes_its_own_pixels_only() -> None:
    whole, without = World(5), World(5)
    truth = whole.truth(30)
    gone = int(truth.track_ids[0]) - 1
    del without.things[gone]
    changed = (whole.draw(30) != without.draw(30)).any(-1)
    layer = whole.things[gone].layer(30)
    touched = np.zeros_like(changed)
    height, width = layer.cover.shape
    touched[max(0, layer.top) : layer.top + height, max(0, layer.left) : layer.left + width] = True
    assert not (changed & ~touched).any()
    assert (changed & truth.masks[0]).sum() > 0.95 * truth.masks[0].sum()


@pytest.mark.parametrize("seed", SEEDS)
def test_no_pixel_is_two_objects_and_the_nearer_one_has_it(seed: int) -> None:
    world = World(seed)
    for k in range(0, 200, 23):
        truth = world.truth(k)
        assert truth.masks.sum(0).max() <= 1
        assert (truth.shares >= LEAST_SHARE).all()
        layers = [world.things[track_id - 1].layer(k) for track_id in truth.track_ids]
        full = [
            len(mask[mask]) == layer.mask.sum()
            for mask, layer in zip(truth.masks, layers, strict=True)
        ]
        assert full == [share == 1 for share in truth.shares]
    nearest = len(world.things)
    inside = world.truth(0)
    if nearest in inside.track_ids:  # nothing is before it: only the picture's edge can cut it
        assert HIDDEN not in inside.visibility[list(inside.track_ids).index(nearest)]


def test_objects_get_hidden_and_come_back_with_their_number() -> None:
    world = World(1)
    numbers = [set(world.truth(k).track_ids.tolist()) for k in range(0, 400, 2)]
    every = set.union(*numbers)
    assert every == set(range(1, len(world.things) + 1))
    left = {number for now, then in itertools.pairwise(numbers) for number in now - then}
    came = {number for now, then in itertools.pairwise(numbers) for number in then - now}
    assert left & came


def test_a_number_keeps_its_class_and_moves_little() -> None:
    world = World(2)
    last: dict[int, tuple[int, npt.NDArray[np.float32]]] = {}
    labels: dict[int, int] = {}
    for k in range(60):
        truth = world.truth(k)
        for number, label, points in zip(
            truth.track_ids.tolist(), truth.labels.tolist(), truth.keypoints, strict=True
        ):
            assert labels.setdefault(number, label) == label
            before, there = last.get(number, (k, points))
            assert np.abs(there[0] - points[0]).max() < 6 * max(1, k - before)
            last[number] = k, points
    assert len(last) >= 3


@pytest.mark.parametrize("seed", SEEDS)
def test_keypoints_lie_on_their_shape(seed: int) -> None:
    world = World(seed, shutter=0.0)
    truth = world.truth(11)
    for points, seen, track_id in zip(
        truth.keypoints, truth.visibility, truth.track_ids, strict=True
    ):
        layer = world.things[int(track_id) - 1].layer(11)
        for (x, y), visible in zip(points, seen, strict=True):
            column, row = int(x) - layer.left, int(y) - layer.top
            around = layer.mask[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3]
            assert around.any()
            is_inside = 0 <= x < world.size[0] and 0 <= y < world.size[1]
            assert (visible != OUTSIDE) == is_inside
        centre, mask = points[0], truth.masks[list(truth.track_ids).index(track_id)]
        if seen[0] == SEEN:
            assert mask[int(centre[1]), int(centre[0])]
        elif seen[0] == HIDDEN:
            assert not mask[int(centre[1]), int(centre[0])]


@pytest.mark.parametrize("shape", OUTLINES)
def test_a_shape_fits_its_circle_and_has_its_spot_inside(shape: str) -> None:
    import cv2

    outline = OUTLINES[shape].astype(np.float32)
    assert np.linalg.norm(outline, axis=1).max() == pytest.approx(1)
    assert all(cv2.pointPolygonTest(outline, point.tolist(), False) > 0 for point in SPOT)
    on_outline = [abs(cv2.pointPolygonTest(outline, p.tolist(), True)) for p in KEYPOINTS[shape]]
    assert on_outline[0] > 0.4  # the centre
    assert max(on_outline[1:]) < 0.01


def test_a_seed_is_a_world() -> None:
    first, again, other = World(4), World(4), World(5)
    assert np.array_equal(first.draw(9), again.draw(9))
    assert not np.array_equal(first.draw(9), other.draw(9))
    image, truth = first.frame(9)
    assert np.array_equal(image, first.draw(9))
    assert np.array_equal(truth.masks, again.truth(9).masks)
    assert image.shape == (240, 320, 3)
    assert image.dtype == np.uint8


def test_motion_blurs_and_light_changes() -> None:
    sharp, blurred = World(3, shutter=0.0), World(3, shutter=1.0)
    soft = [[(t.layer(8).cover % 1 > 0).mean() for t in world.things] for world in (sharp, blurred)]
    assert sum(soft[1]) > 1.3 * sum(soft[0])
    still = World(3)
    means = [still.light.shine(still.background, k).mean() for k in range(0, 200, 20)]
    assert max(means) - min(means) > 1


def test_every_class_comes_about_equally_often() -> None:
    counts = np.bincount(
        np.concatenate([World(seed, size=(64, 64)).truth(0).labels for seed in range(60)]),
        minlength=len(CLASS_NAMES),
    )
    assert counts[0] == 0
    assert counts[1:].min() > 0.15 * counts.sum()


# --- what the user writes ---


def test_words_become_settings() -> None:
    assert parse_shapes("shapes", SOURCE_WORDS) == ShapesSettings()
    assert parse_shapes("shapes:seed=7,size=640x480,live", SOURCE_WORDS) == ShapesSettings(
        seed=7, size=(640, 480), is_live=True
    )
    assert parse_shapes("shapes:train=5,validation=0", DATA_WORDS).validation == 0


@pytest.mark.parametrize(
    ("text", "words", "part"),
    [
        ("shapes:sead=1", DATA_WORDS, "allowed are seed=0, size=320x240, train=800"),
        ("shapes:train=9", SOURCE_WORDS, "allowed are seed=0, size=320x240, frames=250, live"),
        ("shapes:seed=-1", SOURCE_WORDS, "a whole number from 0 to 1000000"),
        ("shapes:frames=0", SOURCE_WORDS, "a whole number from 1 to 1000000"),
        ("shapes:seed=1,seed=2", SOURCE_WORDS, "twice"),
        ("shapes:live=yes", SOURCE_WORDS, "write live alone"),
        ("shapes:size=9x9", SOURCE_WORDS, "64 to 2048 px"),
        ("shapes:size=big", SOURCE_WORDS, "WIDTHxHEIGHT"),
    ],
)
def test_other_words_are_refused(text: str, words: tuple[str, ...], part: str) -> None:
    with pytest.raises(UsageError, match=part):
        parse_shapes(text, words)


def test_the_command_takes_shapes_and_refuses_other_words(
    rcnn_live: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    code, _, err = rcnn_live("run", "shapes:colour=red")
    assert (code, err.count("\n")) == (2, 1)
    assert "colour" in err
    flags = ("--max-frames", "3", "--min-score", "0", "--device", "cpu", "--canvas-side", "64")
    code, _, err = rcnn_live(
        "run", "shapes:size=96x64", *flags, "--runtime", "torch-eager", "--events", "found.jsonl"
    )
    assert code == 0, err
    assert len((tmp_path / "found.jsonl").read_text().splitlines()) == 3
