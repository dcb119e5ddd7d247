"""Building engines: what TensorRT is asked for, and what becomes of its answers."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import export_case as case
import onnx
import pytest
import tensorrt_double as double
from pieces import Run
from rich.console import Console
from simulated_gpu import NVIDIA, SimulatedGpu

from models.deploy.manifest import METADATA, Manifest, side_file
from models.errors import ModelError
from models.letterbox import Image

DRIVER = b"timings of another driver"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    monkeypatch.setenv("RCNN_LIVE_CACHE", str(tmp_path / "cache"))
    with double.installed(double.World(SimulatedGpu()), monkeypatch) as made:
        yield made


def build(folder: Path, *, fixed: int | None = None, **settings: Any) -> Path:
    from export.tensorrt import build_engine

    folder.mkdir(exist_ok=True)
    graph = double.graph(folder / "bright-8x12-fp32.onnx", fixed)
    batch = settings.pop("batch", (1, 4, 8))
    return build_engine(graph, folder / "engines", batch=batch, **settings)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    (tmp_path / "engines").mkdir()
    return tmp_path


class TestWhatIsAskedFor:
    def test_one_profile_of_three_batches(self, world: Any, made: Path) -> None:
        build(made)
        assert world.called("IOptimizationProfile.set_shape") == [
            ("pixels", (1, 8, 12, 3), (4, 8, 12, 3), (8, 8, 12, 3))
        ]
        assert len(world.called("IBuilderConfig.add_optimization_profile")) == 1

    def test_types_are_the_graph_s(self, world: Any, made: Path) -> None:
        build(made)
        trt: Any = sys.modules["tensorrt"]
        typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        assert world.called("Builder.create_network") == [(typed,)]
        (given,) = world.called("OnnxParser.parse")
        assert given[0] == (made / "bright-8x12-fp32.onnx").read_bytes()
        assert world.called("IBuilderConfig.clear_flag") == [(trt.BuilderFlag.TF32,)]

    @pytest.mark.parametrize(("megabytes", "expected"), [(None, 4_000_000_000), (7, 7_000_000)])
    def test_workspace(self, world: Any, made: Path, megabytes: int | None, expected: int) -> None:
        """Half of what is free, or what was asked for."""
        build(made, workspace_mb=megabytes)
        pool = sys.modules["tensorrt"].MemoryPoolType.WORKSPACE
        assert world.called("IBuilderConfig.set_memory_pool_limit") == [(pool, expected)]

    def test_level(self, world: Any, made: Path) -> None:
        build(made, level=5)
        assert world.called("IBuilderConfig.builder_optimization_level") == [(5,)]


class TestWhatComesOut:
    def test_engine_and_manifest(self, world: Any, made: Path) -> None:
        path = build(made)
        assert {file.name for file in path.parent.iterdir()} == {
            "bright-8x12-fp32-batch1-4-8.engine",
            "bright-8x12-fp32-batch1-4-8.engine.json",
        }
        manifest = Manifest.from_json(side_file(path).read_text(encoding="utf-8"), "it")
        content = path.read_bytes()
        assert json.loads(manifest.to_json())["engine"] == {
            "gpu": NVIDIA,
            "capability": "9.0",
            "tensorrt": "11.4.0.106",
            "batch": [1, 4, 8],
            "size_bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        assert (manifest.model, manifest.form, manifest.batch) == ("bright", "whole", None)

    def test_a_fixed_batch(self, world: Any, made: Path) -> None:
        path = build(made, fixed=2, batch=(2, 2, 2))
        assert path.name == "bright-8x12-fp32-batch2.engine"

    def test_progress_is_shown(self, world: Any, made: Path) -> None:
        out = io.StringIO()
        build(made, console=Console(file=out, force_terminal=True, width=100))
        assert "bright: Building Engine" in out.getvalue()
        assert "Tactics" in out.getvalue()

    def test_quietly(self, world: Any, made: Path) -> None:
        out = io.StringIO()
        build(made, console=Console(file=out, force_terminal=True, quiet=True))
        assert out.getvalue() == ""


class TestFailures:
    def expect(self, made: Path, words: str, **settings: Any) -> None:
        with pytest.raises(ModelError, match=words) as caught:
            build(made, **settings)
        assert len(str(caught.value).splitlines()) == 1
        assert not list((made / "engines").iterdir())

    def test_the_parser_names_the_node(self, world: Any, made: Path) -> None:
        world.parser_errors = [("no such mode\nat line 9", "RoiAlign", "heads/roi"), ("b", "", "")]
        self.expect(
            made,
            r"^TensorRT 11\.4\.0\.106 cannot read RoiAlign at heads/roi of bright: "
            r"unsupported node \(no such mode\); give",
        )
        assert not world.called("Builder.build_serialized_network")

    def test_the_parser_names_none(self, world: Any, made: Path) -> None:
        world.parser_errors = [("", "", "")]
        self.expect(
            made, r"the graph of bright: unsupported node \(ModelImporter.cpp: it failed\);"
        )

    def test_too_large_a_workspace_is_tried_smaller(self, world: Any, made: Path) -> None:
        world.failures = [double.OUT_OF_MEMORY, None]
        assert build(made, workspace_mb=800).exists()
        limits = world.called("IBuilderConfig.set_memory_pool_limit")
        assert [size for _, size in limits] == [800_000_000, 200_000_000]

    def test_out_of_memory_all_the_same(self, world: Any, made: Path) -> None:
        world.failures = [double.OUT_OF_MEMORY] * 3
        words = "The memory of NVIDIA H100 is too small .* workspaces of 800 and 200 MB: .* --batch"
        self.expect(made, words, workspace_mb=800)
        assert len(world.failures) == 1

    def test_too_small_a_workspace_for_the_graph(self, world: Any, made: Path) -> None:
        """What it says it needs is tried, not less."""
        world.failures = [double.TOO_LITTLE, None]
        world.remarks = [double.NEEDED.format(3_000_000_000), double.NEEDED.format(5_000_000_000)]
        assert build(made).exists()
        limits = world.called("IBuilderConfig.set_memory_pool_limit")
        assert [size for _, size in limits] == [4_000_000_000, 5_000_000_000]

    @pytest.mark.parametrize(
        ("settings", "needed", "words"),
        [
            ({"workspace_mb": 700}, 1_681_437_440, "1682 MB and may use 700: give --workspace 168"),
            ({}, 9_000_000_000, "9000 MB, and 8000 MB of NVIDIA H100 are free: end what else"),
        ],
    )
    def test_more_than_there_is(
        self, world: Any, made: Path, settings: dict[str, int], needed: int, words: str
    ) -> None:
        world.failures = [double.TOO_LITTLE, None]
        world.remarks = [double.NEEDED.format(needed)]
        self.expect(made, f"bright needs a workspace of {words}", **settings)
        assert len(world.failures) == 1

    def test_the_second_attempt_fails_for_a_reason_of_its_own(self, world: Any, made: Path) -> None:
        world.failures = [double.OUT_OF_MEMORY, "Error Code 9: no kernel for it"]
        self.expect(made, "cannot build bright: Error Code 9: no kernel for it;")

    def test_anything_else_is_not_tried_again(self, world: Any, made: Path) -> None:
        world.failures = ["Error Code 4: Internal Error (no kernel for it)", "never asked for"]
        self.expect(
            made, r"cannot build bright: Error Code 4: Internal Error \(no kernel for it\);"
        )
        assert world.failures == ["never asked for"]

    def test_plugins_that_cannot_be_loaded(self, world: Any, made: Path) -> None:
        world.plugins_fail = True
        self.expect(made, r"TensorRT [\d.]+ cannot load its plugins: it gives no reason; install")

    def test_batches_that_do_not_grow(self, world: Any, made: Path) -> None:
        self.expect(made, "does not take a batch of 4:2:8 for bright", batch=(4, 2, 8))

    def test_a_graph_that_depends_on_what_was_found(self, world: Any, made: Path) -> None:
        """It is not even shown to TensorRT."""
        from export.tensorrt import build_engine

        path = double.graph(made / "bright.onnx")
        model = onnx.load(path)
        model.graph.node.append(onnx.helper.make_node("NonZero", ["scores"], ["where"]))
        model.graph.output.append(onnx.helper.make_tensor_value_info("where", 7, [2, None]))
        onnx.save(model, path)
        with pytest.raises(ModelError, match="NonZero"):
            build_engine(path, made / "engines", batch=(1, 1, 1))
        assert not world.calls

    def test_two_graphs_in_a_file(self, world: Any, made: Path) -> None:
        from export.tensorrt import build_engine

        path = double.graph(made / "bright.onnx", form="split")
        with pytest.raises(ModelError, match="two graphs in one file"):
            build_engine(path, made / "engines", batch=(1, 1, 1))


class TestTimings:
    def test_they_are_kept_for_the_next_build(self, world: Any, made: Path) -> None:
        build(made)
        (kept,) = (made / "cache").iterdir()
        assert kept.name == "tensorrt-11.4.0.106-NVIDIA-H100-9.0.timings"
        assert kept.read_bytes() == b"timings+"
        build(made)
        assert world.called("IBuilderConfig.create_timing_cache") == [(b"",), (b"timings+",)]
        assert kept.read_bytes() == b"timings++"

    @pytest.mark.parametrize("content", [b"damaged", DRIVER])
    def test_what_cannot_be_used_is_replaced(self, world: Any, made: Path, content: bytes) -> None:
        build(made)
        (kept,) = (made / "cache").iterdir()
        kept.write_bytes(content)
        build(made)
        assert world.called("IBuilderConfig.create_timing_cache")[1:] == [(content,), (b"",)]
        assert kept.read_bytes() == b"timings+"

    def test_that_they_cannot_be_used_is_not_why_a_build_fails(
        self, world: Any, made: Path
    ) -> None:
        build(made)
        (kept,) = (made / "cache").iterdir()
        kept.write_bytes(DRIVER)
        world.failures = ["Error Code 9: no kernel for it"]
        with pytest.raises(ModelError, match="cannot build bright: Error Code 9: no kernel for"):
            build(made)

    def test_where_they_cannot_be_kept_the_engine_is_built_all_the_same(
        self,
        world: Any,
        made: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        (made / "taken").write_text("")
        monkeypatch.setenv("RCNN_LIVE_CACHE", str(made / "taken"))
        assert build(made).exists()
        assert "the next build will take as long" in caplog.text

    def test_a_failure_keeps_them_for_the_second_attempt(self, world: Any, made: Path) -> None:
        world.failures = [double.OUT_OF_MEMORY, None]
        build(made)
        assert world.called("IBuilderConfig.create_timing_cache") == [(b"",), (b"timings+",)]


def test_ctrl_c_ends_the_build(world: Any, made: Path) -> None:
    world.is_endless = True

    def press() -> None:
        assert world.is_building.wait(20)
        os.kill(os.getpid(), signal.SIGINT)

    finger = threading.Thread(target=press)
    finger.start()
    with pytest.raises(KeyboardInterrupt):
        build(made)
    finger.join()
    assert not list((made / "engines").iterdir())
    assert list((made / "cache").iterdir()), "what was measured is not lost"


# The command


SIZE = ("--canvas", "96x128")


def test_without_a_gpu_nothing_is_exported(rcnn_live: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    code, out, err = rcnn_live("export", *SIZE, "--to", "tensorrt")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "TensorRT computes on NVIDIA's GPUs, and PyTorch finds none here" in err


def test_without_tensorrt_it_says_how_to_install_it(
    world: Any, rcnn_live: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    code, _, err = rcnn_live("export", *SIZE, "--to", "tensorrt")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "TensorRT is not installed here" in err
    assert "'pip install tensorrt'" in err


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_an_engine_is_built_proven_and_run(
    world: Any, rcnn_live: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embedded model's own graph, through the command, the gate and the runtime."""
    model = case.whole()

    def to_onnx(graph: object, manifest: Manifest) -> onnx.ModelProto:
        onnx.helper.set_model_props(model, {METADATA: manifest.to_json()})
        return model

    monkeypatch.setattr("export.build.to_onnx", to_onnx)
    code, out, err = rcnn_live(
        "export", *SIZE, "--to", "tensorrt", "--batch", "1:2:4", "-o", "made",
        "--workspace", "500", "--builder-level", "1",
    )  # fmt: skip
    assert code == 0, err
    path = Path("made/mask_rcnn_person-96x128-fp32-batch1-2-4.engine")
    assert str(path) in out
    assert {file.name for file in path.parent.iterdir()} == {path.name, side_file(path).name}
    proof = json.loads(side_file(path).read_text(encoding="utf-8"))["proof"]
    assert proof["failure"] is None
    assert {(item["where"], item["batch"]) for item in proof["cases"]} == {
        ("tensorrt fp32", 1),
        ("tensorrt fp32", 4),
    }
    assert world.called("IBuilderConfig.builder_optimization_level") == [(1,)]
    from models.runtimes.tensorrt import TensorRt

    with TensorRt(path, min_score=case.SCORE) as runtime:
        people: list[Image] = case.people(4)
        assert any(len(runtime.detect(frame)) for frame in people)
