"""Zones that are drawn while a camera runs: counted at once, kept, and not undone by a reload."""

from __future__ import annotations

from pathlib import Path

import pytest
from controlled import controlled, wait_for

from stream.config import Config
from stream.config_load import load_config
from stream.control.types import Places
from stream.control.zone_store import ZoneStore
from stream.errors import SinkError, UsageError
from stream.zones import Line, Zone

LEFT = Zone("left", ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)))
RIGHT_DOGS = Zone("right", ((0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0)), ("dog",))
RIGHT_CATS = Zone("cats", RIGHT_DOGS.corners, ("cat",))
GATE = Line("gate", (0.0, 0.5), (1.0, 0.5), ("person",))
CAMERAS = """
cameras:
  door: {source: demo, zones: {own: [[0, 0], [1, 0], [1, 1]]}}
  yard: {source: demo}
"""


def config_of(folder: Path, text: str = CAMERAS) -> tuple[Path, Config]:
    path = folder / "cameras.yaml"
    path.write_text(text, encoding="utf-8")
    return path, load_config(path)


def test_what_is_drawn_counts_from_then_on_and_is_stored(tmp_path: Path) -> None:
    with controlled(tmp_path) as door:
        wait_for(lambda: ("person", "dog") in door.names.rows)
        assert door.camera.replace_places(Places((LEFT,))) == Places((LEFT,))
        wait_for(lambda: door.camera.status().zones == {"left": {"person": 1}})
        # one that stays goes on counting, and the others begin
        drawn = Places((LEFT, RIGHT_DOGS, RIGHT_CATS), (GATE,))
        door.camera.replace_places(drawn)
        status = wait_for(
            lambda: (
                status
                if (status := door.camera.status()).zones.get("right") == {"dog": 1}
                else None
            )
        )
        assert status.zones["left"] == {"person": 1}
        assert status.zones["cats"] == {}
        assert set(status.lines) == {"gate"}
        counts = door.pipeline.zone_counts()
        assert counts is not None
        assert counts.zones["left"].entered == {"person": 1}  # once, not once more
        assert door.camera.describe().places == drawn
        assert ZoneStore(tmp_path / "cameras.zones.yaml").places("door", Places()) == drawn
        door.camera.replace_places(Places())
        wait_for(lambda: door.camera.status().zones == {})


def test_what_makes_no_sense_changes_nothing(tmp_path: Path) -> None:
    with controlled(tmp_path) as door:
        door.camera.replace_places(Places((LEFT,)))
        twice = Places((LEFT,), (Line("left", (0, 0), (1, 1)),))
        with pytest.raises(UsageError, match="each its own name"):
            door.camera.replace_places(twice)
        with pytest.raises(UsageError, match="no class 'cow'"):
            door.camera.replace_places(Places((Zone("z", LEFT.corners, ("cow",)),)))
        (tmp_path / "cameras.zones.yaml").unlink()
        (tmp_path / "cameras.zones.yaml").mkdir()  # nobody can write a file there, not even root
        with pytest.raises(SinkError, match=r"cameras\.zones\.yaml"):
            door.camera.replace_places(Places())
        assert door.camera.places == Places((LEFT,))


def test_the_file_of_drawn_zones_stands_in_for_those_of_the_configuration(tmp_path: Path) -> None:
    path, config = config_of(tmp_path)
    store = ZoneStore.beside(path)
    assert store.applied(config) == config
    store.save("door", Places((RIGHT_DOGS,), (GATE,)))
    assert (tmp_path / "cameras.zones.yaml").read_text().startswith("# Drawn on the live page")
    again = ZoneStore.beside(path).applied(load_config(path))  # another run
    scene = again.cameras["door"].scene()
    assert (scene.zones, scene.lines) == ((RIGHT_DOGS,), (GATE,))
    assert again.cameras["yard"] == config.cameras["yard"]
    # once more, it does not double
    assert ZoneStore.beside(path).applied(load_config(path)) == again


def test_who_edits_the_configuration_has_the_last_word(tmp_path: Path) -> None:
    path, config = config_of(tmp_path)
    store = ZoneStore.beside(path)
    store.applied(config)
    store.save("door", Places((LEFT,)))
    _, edited = config_of(tmp_path, CAMERAS.replace("own:", "mine:"))
    applied = store.applied(edited)
    assert [zone.name for zone in applied.cameras["door"].scene().zones] == ["mine"]
    store.save("door", Places((LEFT,)))  # drawn anew: in place of the new ones
    assert store.applied(edited).cameras["door"].scene().zones == (LEFT,)


def test_drawing_what_the_configuration_says_stores_nothing(tmp_path: Path) -> None:
    path, config = config_of(tmp_path)
    store = ZoneStore.beside(path)
    store.applied(config)
    store.save("yard", Places((LEFT,)))
    store.save("yard", Places())
    assert "yard" not in (tmp_path / "cameras.zones.yaml").read_text()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("door: [1, 2]", "door"),
        ("door: {zones: {z: [[0, 0], [2, 0], [1, 1]]}}", "less than or equal to 1"),
        ("door: {zones: {z: {corners: [[0, 0], [1, 0], [1, 1]], colour: red}}}", "colour"),
        ("door: {zones: {z: [[0, 0], [1, 1], [0, 1], [1, 0]]}}", "no side crosses|enclose an area"),
        ("door: [", "no YAML"),
    ],
)
def test_a_wrong_file_is_told_in_a_sentence(tmp_path: Path, text: str, complaint: str) -> None:
    path, config = config_of(tmp_path, "cameras: {door: {source: demo}}")
    (tmp_path / "cameras.zones.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=complaint) as error:
        ZoneStore.beside(path).applied(config)
    assert "cameras.zones.yaml" in str(error.value)
    with pytest.raises(SinkError):  # and what is there is not overwritten
        ZoneStore.beside(path).save("door", Places((LEFT,)))
    assert (tmp_path / "cameras.zones.yaml").read_text() == text


def test_cameras_yaml_may_say_which_classes_count(tmp_path: Path) -> None:
    _, config = config_of(
        tmp_path,
        "cameras: {door: {source: demo, zones: {z: {corners: [[0, 0], [1, 0], [1, 1]], "
        "classes: [dog]}}, lines: {l: {start: [0, 0], end: [1, 1], classes: [dog]}}}}",
    )
    scene = config.cameras["door"].scene()
    assert scene.zones == (Zone("z", ((0, 0), (1, 0), (1, 1)), ("dog",)),)
    assert scene.lines == (Line("l", (0, 0), (1, 1), ("dog",)),)
    assert scene.counted_classes() == ["dog", "dog"]
    bad = "cameras: {door: {source: demo, zones: {z: {corners: [[0, 0], [1, 2], [1, 1]]}}}}"
    with pytest.raises(UsageError, match=r"zones\.z\.corners\.1\.1 is '2'"):
        config_of(tmp_path, bad)
