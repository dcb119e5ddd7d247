"""Exports that are made once and kept."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from export import build, cache, verify
from export.cache import cache_folder, cached_engine, cached_export
from export.files import side_file
from export.proof import Proof
from export.verify import ParityError
from models.errors import UsageError
from models.zoo import LoadedModel

LOADED = LoadedModel("some", nn.Linear(1, 1), ("__background__", "person"))


class Counted:
    """Stands for the exporter; counts what it makes."""

    def __init__(self) -> None:
        self.made: list[dict[str, object]] = []
        self.notices: list[str] = []
        self.failure: str | None = None
        self.compared = True
        self.together = threading.Barrier(1)

    def export(self, loaded: LoadedModel, weights: Path | None, **settings: object) -> Path:
        self.together.wait(10)
        self.made.append(settings)
        path = Path(str(settings["output"])) / "some.xml"
        for each in (path, path.with_suffix(".bin"), side_file(path)):
            each.write_text(f"content of {each.name}")
        return path

    def verify(self, *_: object, **__: object) -> Proof:
        return Proof(cases=(), compared=self.compared, failure=self.failure)

    def ask(self, min_score: float = 0.05) -> Path:
        return cached_export(
            LOADED, None, canvas=(32, 64), min_score=min_score, notice=self.notices.append
        )


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Counted:
    exporter = Counted()
    monkeypatch.setenv("RCNN_LIVE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "export_model", exporter.export)
    monkeypatch.setattr(verify, "verify", exporter.verify)
    return exporter


def test_the_second_time_it_is_there(counted: Counted, tmp_path: Path) -> None:
    first = counted.ask()
    assert first.parent.parent == tmp_path / "cache"
    assert counted.ask() == first
    assert len(counted.made) == 1
    assert len(counted.notices) == 1
    assert "64x32 px" in counted.notices[0]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [first.parent.name]


def test_other_settings_are_another_entry(counted: Counted) -> None:
    assert counted.ask() != counted.ask(min_score=0.5)


@pytest.mark.parametrize(
    "setting", [{"precision": "fp16"}, {"form": "whole"}, {"batch": None}, {"canvas": (64, 64)}]
)
def test_every_setting_is_another_entry(counted: Counted, setting: dict[str, Any]) -> None:
    usual: dict[str, Any] = {"canvas": (32, 64), "min_score": 0.05, "to": "onnx"}
    first, second = (
        cached_export(LOADED, None, notice=counted.notices.append, **usual | changes)
        for changes in ({}, setting)
    )
    assert first != second
    assert counted.made[1].items() >= setting.items()


def test_other_versions_are_another_entry(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = counted.ask()
    monkeypatch.setattr(cache, "versions", lambda: {"torch": "9"})
    assert counted.ask() != first


@pytest.mark.parametrize("name", ["nms.py", "soft_nms.py", "compact.py", "onnx.py"])
def test_other_sources_are_another_entry(
    counted: Counted, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, reading = counted.ask(), Path.read_bytes
    monkeypatch.setattr(
        Path, "read_bytes", lambda path: reading(path) + (b"#" if path.name == name else b"")
    )
    assert counted.ask() != first


def test_other_weights_are_another_entry(counted: Counted) -> None:
    first = counted.ask()
    nn.init.constant_(LOADED.module.weight, 3.0)  # type: ignore[arg-type]
    assert counted.ask() != first


@pytest.mark.parametrize("name", ["some.xml", "some.bin", "some.xml.json", "sha256.json"])
@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_a_damaged_entry_is_made_anew(counted: Counted, name: str, damage: str) -> None:
    path = counted.ask()
    if damage == "gone":
        (path.parent / name).unlink()
    else:
        (path.parent / name).write_text("{}")
    assert counted.ask() == path
    assert path.with_suffix(".bin").read_text() == "content of some.bin"
    assert len(counted.made) == 2


def test_an_export_that_is_not_equal_is_not_kept(counted: Counted, tmp_path: Path) -> None:
    counted.failure = "It differs."
    with pytest.raises(ParityError, match=r"It differs\."):
        counted.ask()
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_model_that_finds_nothing_in_the_demo_is_kept_and_said(counted: Counted) -> None:
    counted.failure, counted.compared = "Nothing could be compared.", False
    assert counted.ask().exists()
    assert "some.xml is not proven equal" in counted.notices[1]


def test_two_at_once(counted: Counted, tmp_path: Path) -> None:
    counted.together = threading.Barrier(2)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(counted.ask())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(counted.made) == 2
    assert found[0] == found[1]
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert counted.ask() == found[0]


def test_a_cache_that_cannot_be_written(
    counted: Counted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RCNN_LIVE_CACHE", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="RCNN_LIVE_CACHE"):
        counted.ask()


class Engines:
    """Stands for TensorRT, which takes a GPU; counts what it builds."""

    def __init__(self) -> None:
        self.gpu, self.version = "GPU A", "10.9"
        self.built: list[Path] = []

    def build(self, graph: Path, output: Path, **settings: object) -> Path:
        assert settings == {"batch": (1, 1, 1), "device": "cuda"}
        self.built.append(graph)
        path = output / "some.engine"
        for each in (path, side_file(path)):
            each.write_text(f"content of {each.name}")
        return path

    def ask(self, graph: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        names = {
            "export.tensorrt": {"build_engine": self.build},
            "models.runtimes.tensorrt_package": {"VERSION": self.version},
        }
        for name, contents in names.items():
            monkeypatch.setitem(sys.modules, name, SimpleNamespace(**contents))
        gpu = SimpleNamespace(name=self.gpu, capability="9.0")
        monkeypatch.setattr(cache, "find_gpu", lambda *_: gpu)
        return cached_engine(graph, LOADED, device="cuda", notice=lambda _: None)


def test_an_engine_is_kept_for_each_gpu_version_and_graph(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines, graph = Engines(), counted.ask()
    first = engines.ask(graph, monkeypatch)
    assert first.read_text() == "content of some.engine"
    assert engines.ask(graph, monkeypatch) == first
    assert len(engines.built) == 1
    engines.gpu = "GPU B"
    second = engines.ask(graph, monkeypatch)
    engines.version = "11.4"
    third = engines.ask(graph, monkeypatch)
    fourth = engines.ask(counted.ask(min_score=0.5), monkeypatch)
    assert len({first, second, third, fourth}) == len(engines.built) == 4


def test_an_engine_that_is_not_equal_is_not_kept(
    counted: Counted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engines, graph = Engines(), counted.ask()
    counted.failure = "The masks differ."
    with pytest.raises(ParityError, match="The masks differ"):
        engines.ask(graph, monkeypatch)
    assert [entry.name for entry in (tmp_path / "cache").iterdir()] == [graph.parent.name]


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RCNN_LIVE_CACHE", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "rcnn-live"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "rcnn-live"
