"""Running engines: which are refused, what overlaps, and that nothing is read or written too early.

TensorRT is ``tensorrt_double``'s and the GPU is ``simulated_gpu``'s; arithmetic is real.
"""

from __future__ import annotations

import copy
import gc
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorrt_double as double
from pieces import Run
from runtime_cases import Exports
from simulated_gpu import SimulatedGpu

from export.build import export_model
from export.cache import cached_engine
from export.verify import ParityError
from models.deploy.manifest import EngineFacts, Manifest, side_file
from models.errors import ModelError, UsageError
from models.letterbox import Letterbox
from models.planes import BT709, YuvPlanes
from models.runtimes.base import Canvas
from models.runtimes.exported import open_exported
from models.runtimes.gpu_canvas import OnDevice

ORDERS = [(), (0,), (1,), (2,), (0, 1, 2)]  # streams that do not wait to be asked
Batch = tuple[int, int, int]


@pytest.fixture(params=ORDERS, ids=lambda eager: "eager " + (str(eager) if eager else "none"))
def any_world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with double.installed(double.World(SimulatedGpu(eager=request.param)), monkeypatch) as world:
        yield world


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with double.installed(double.World(SimulatedGpu()), monkeypatch) as made:
        yield made


@pytest.fixture
def engine(tmp_path: Path) -> Callable[..., Path]:
    """Builds one, with the build's own code."""

    def build(batch: Batch = (1, 2, 4), **changes: Any) -> Path:
        from export.tensorrt import build_engine

        fixed = batch[0] if batch[0] == batch[2] else None
        graph = double.graph(tmp_path / "bright.onnx", fixed, **changes)
        return build_engine(graph, tmp_path, batch=batch)

    return build


def opened(path: Path, **settings: Any) -> Any:
    from models.runtimes.tensorrt import TensorRt

    return TensorRt(path, min_score=0.05, **settings)


def canvases(*greys: int) -> list[Canvas]:
    height, width = double.CANVAS
    fits = Letterbox((width, height), (width, height))
    return [Canvas(np.full((height, width, 3), grey, np.uint8), fits) for grey in greys]


def expect(found: list[Any], greys: list[int]) -> None:
    assert len(found) == len(greys)
    for detections, grey in zip(found, greys, strict=True):
        scores = np.array([0.9, 0.6, 0.1], np.float32) * np.float32(grey / 255)
        scores = scores[scores > 0.05]
        np.testing.assert_allclose(detections.scores, scores, rtol=1e-6)
        np.testing.assert_allclose(detections.boxes, scores[:, None] * [1, 2, 7, 6], rtol=1e-6)
        assert detections.masks.shape == (len(scores), 28, 28)
        np.testing.assert_allclose(detections.masks[:, 3, 4], scores, rtol=1e-6)
        assert detections.labels.tolist() == [1] * len(scores)


class TestComputing:
    @pytest.mark.parametrize("count", [1, 2, 4, 5, 11])
    def test_each_picture_gets_its_own(
        self, any_world: Any, engine: Callable[..., Path], count: int
    ) -> None:
        greys = [(20 + 37 * k) % 256 for k in range(count)]
        with opened(engine()) as runtime:
            for _ in range(2):  # replayed, and in memory that was used before
                expect(runtime.infer_many(canvases(*greys)), greys)

    @pytest.mark.parametrize("batch", [(3, 3, 3), (2, 3, 4)])
    def test_fewer_than_the_engine_takes(
        self, any_world: Any, engine: Callable[..., Path], batch: Batch
    ) -> None:
        with opened(engine(batch)) as runtime:
            for greys in ([250], [9, 200, 30, 120, 60]):
                expect(runtime.infer_many(canvases(*greys)), greys)

    def test_nothing_found(self, world: Any, engine: Callable[..., Path]) -> None:
        with opened(engine()) as runtime:
            expect(runtime.infer_many(canvases(0, 255, 0)), [0, 255, 0])
            assert runtime.infer_many([]) == []

    def test_results_stay_when_the_memory_is_used_again(
        self, world: Any, engine: Callable[..., Path]
    ) -> None:
        with opened(engine((1, 1, 1))) as runtime:
            first = runtime.infer(canvases(200)[0])
            for grey in (10, 20, 30):
                runtime.infer(canvases(grey)[0])
        expect([first], [200])

    def test_a_batch_that_was_given_up_does_no_harm(
        self, any_world: Any, engine: Callable[..., Path]
    ) -> None:
        def two(first: int, second: int) -> Iterator[np.ndarray]:
            for grey in (first, second):
                yield canvases(grey)[0].pixels[None]

        with opened(engine((1, 1, 1))) as runtime:
            given_up = runtime._detect_all(two(250, 240))
            next(given_up)
            given_up.close()
            expect(runtime.infer_many(canvases(30, 60, 90)), [30, 60, 90])

    def test_a_graph_for_each_size_is_captured_once(
        self, world: Any, engine: Callable[..., Path]
    ) -> None:
        with opened(engine((1, 2, 4))) as runtime:
            for _ in range(3):
                runtime.infer_many(canvases(*[100] * 9))  # 4, 4 and 1, in two lanes
        shapes = world.called("IExecutionContext.set_input_shape")
        assert sorted(shape[1][0] for shape in shapes) == [1, 4, 4]
        # once to settle and once to capture, each
        assert len(world.called("IExecutionContext.execute_async_v3")) == 6

    def test_copies_of_the_next_batch_go_before_the_result_of_this_one(
        self, world: Any, engine: Callable[..., Path]
    ) -> None:
        """Two are under way when the first is waited for."""
        with opened(engine((1, 1, 1))) as runtime:
            waited = []
            way = runtime._way
            finished = way._finished
            way._finished = lambda part, count: (
                waited.append([len(each.launch) for each in way.parts]),
                finished(part, count),
            )[1]
            runtime.infer_many(canvases(1, 2, 3))
        assert waited[0] == [1, 1]

    def test_the_gpu_s_milliseconds_are_told(self, world: Any, engine: Callable[..., Path]) -> None:
        with opened(engine()) as runtime:
            assert runtime.gpu_ms is None
            runtime.infer(canvases(9)[0])
            assert set(runtime.gpu_ms) == {"copy_in", "compute", "copy_out"}
            assert all(value > 0 for value in runtime.gpu_ms.values())

    def test_frames_are_laid_out_on_the_gpu(
        self, any_world: Any, engine: Callable[..., Path]
    ) -> None:
        height, width = double.CANVAS
        with opened(engine()) as runtime:
            frames = [np.full((2 * height, 2 * width, 3), grey, np.uint8) for grey in (90, 10, 200)]
            planes = YuvPlanes(  # a grey that the image does not have
                np.full((height, width), 150, np.uint8),
                (np.full((height // 2, width // 2, 2), 128, np.uint8),),
                BT709,
                is_full_range=True,
            )
            laid = [runtime.preprocess(frame) for frame in frames]
            laid.append(runtime.preprocess_decoded(frames[0][:height, :width], planes))
            assert all(isinstance(canvas.pixels, OnDevice) for canvas in laid)
            mixed = [*laid, *canvases(30)]  # the last one from the host
            expect(runtime.infer_many(mixed), [90, 10, 200, 150, 30])
            assert set(runtime.gpu_ms) == {"copy_in", "compute", "copy_out"}

    def test_without_a_cuda_graph_it_says_so(
        self, world: Any, engine: Callable[..., Path], caplog: pytest.LogCaptureFixture
    ) -> None:
        world.gpu.capture_fails = True
        with caplog.at_level(logging.WARNING), opened(engine()) as runtime:
            expect(runtime.infer_many(canvases(50, 70)), [50, 70])
        assert "without a CUDA graph, which is slower" in caplog.text

    def test_what_cannot_be_run_is_told(self, world: Any, engine: Callable[..., Path]) -> None:
        world.context_fails = True
        with pytest.raises(ModelError, match="TensorRT cannot run bright: no context today"):
            opened(engine())

    def test_closing_frees_everything(self, world: Any, engine: Callable[..., Path]) -> None:
        runtime = opened(engine())
        runtime.infer_many(canvases(1, 2, 3, 4, 5))
        assert any(tensor() is not None for tensor in world.gpu.alive)
        runtime.close()
        runtime.close()
        gc.collect()
        assert not [tensor() for tensor in world.gpu.alive if tensor() is not None]
        with pytest.raises(RuntimeError, match="is closed"):
            runtime.infer(canvases(1)[0])


class TestRefused:
    @pytest.mark.parametrize(
        ("facts", "words"),
        [
            ({"gpu": "NVIDIA L4"}, "built on the GPU NVIDIA L4, and here it is NVIDIA H100"),
            ({"capability": "8.9"}, "for compute capability 8.9, and here it is 9.0"),
            ({"tensorrt": "10.8.0.43"}, "by TensorRT 10.8.0.43, and here it is 11.4.0.106"),
            ({"size_bytes": 7}, "bytes where 7 were built"),
            ({"sha256": "0" * 64}, "is not what was built, by its SHA-256"),
        ],
    )
    def test_another_engine_s_facts(
        self, world: Any, engine: Callable[..., Path], facts: dict[str, Any], words: str
    ) -> None:
        path = engine()
        _change(path, lambda told: told["engine"].update(facts))
        with pytest.raises(ModelError, match=words) as caught:
            opened(path)
        again = (
            "'rcnn-live export bright --to tensorrt --canvas 8x12 --precision fp32 --batch 1:2:4'"
        )
        assert again in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1

    def test_a_truncated_file(self, world: Any, engine: Callable[..., Path]) -> None:
        path = engine()
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        with pytest.raises(ModelError, match=f"has {len(content) - 1} bytes where {len(content)}"):
            opened(path)

    def test_a_changed_file(self, world: Any, engine: Callable[..., Path]) -> None:
        path = engine()
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        with pytest.raises(ModelError, match="SHA-256"):
            opened(path)

    def test_another_canvas(self, world: Any, engine: Callable[..., Path]) -> None:
        path = engine()
        _change(path, lambda told: told.update(canvas=[16, 16]))
        with pytest.raises(ModelError, match=r"takes pictures of \(8, 12, 3\) .* says 16x16 px"):
            opened(path)

    def test_no_manifest(self, world: Any, engine: Callable[..., Path]) -> None:
        path = engine()
        side_file(path).unlink()
        with pytest.raises(ModelError, match=r"\.json is missing or damaged"):
            opened(path)

    def test_the_manifest_of_an_onnx_file(self, world: Any, engine: Callable[..., Path]) -> None:
        path = engine()
        _change(path, lambda told: told.update(engine=None))
        with pytest.raises(ModelError, match="describes no TensorRT engine"):
            opened(path)

    def test_what_tensorrt_cannot_load(self, world: Any, engine: Callable[..., Path]) -> None:
        import hashlib

        path = engine()
        path.write_bytes(b"nonsense")
        digest = hashlib.sha256(b"nonsense").hexdigest()
        _change(path, lambda told: told["engine"].update(size_bytes=8, sha256=digest))
        with pytest.raises(ModelError, match=r"cannot load .*Error Code 1: Serialization"):
            opened(path)

    def test_another_precision(self, world: Any, engine: Callable[..., Path]) -> None:
        with pytest.raises(UsageError, match="This engine is fp32: leave out --precision fp16"):
            opened(engine(), precision="fp16")

    def test_the_proof_in_the_manifest_is_no_obstacle(
        self, world: Any, engine: Callable[..., Path]
    ) -> None:
        path = engine()
        _change(path, lambda told: told.update(proof={"failure": None}))
        with opened(path) as runtime:
            expect([runtime.infer(canvases(90)[0])], [90])


class TestOpening:
    def test_by_its_name(self, world: Any, engine: Callable[..., Path]) -> None:
        told: list[str] = []
        with open_exported(engine(), min_score=0.05, notice=told.append) as runtime:
            assert (runtime.name, runtime.device, runtime.precision) == (
                "tensorrt",
                "cuda:0",
                "fp32",
            )
            expect([runtime.infer(canvases(90)[0])], [90])
        assert told == [
            f"{engine().name} runs in tensorrt fp32 on cuda:0: the fastest for .engine files."
        ]

    def test_it_is_not_installed(self, world: Any, engine: Callable[..., Path]) -> None:
        import sys

        path, without = engine(), pytest.MonkeyPatch()
        for name in ("tensorrt", "models.runtimes.tensorrt", "models.runtimes.tensorrt_package"):
            without.setitem(sys.modules, name, None)
        with pytest.raises(UsageError, match=r"not installed here .* 'pip install tensorrt'"):
            open_exported(path)
        without.undo()  # before the double is taken away

    def test_no_gpu(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The real search for one."""
        from models.runtimes.gpu import find_gpu

        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        with pytest.raises(UsageError, match="finds none here: use another --runtime"):
            find_gpu("cuda", "TensorRT")
        with pytest.raises(UsageError, match="leave out --device cpu"):
            find_gpu("cpu", "TensorRT")

    def test_on_a_cpu(self, tmp_path: Path) -> None:
        (tmp_path / "some.engine").touch()
        with pytest.raises(UsageError, match=r"\.engine files do not run on cpu: use --device cu"):
            open_exported(tmp_path / "some.engine", device="cpu")

    def test_other_runtimes_do_not_read_it(self, rcnn_live: Run) -> None:
        Path("some.engine").write_bytes(b"")
        code, _, err = rcnn_live("run", "demo", "--model", "some.engine", "--runtime", "torch")
        assert (code, len(err.splitlines())) == (2, 1)
        assert "torch does not run .engine files: use --runtime tensorrt" in err


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("is_wrong", [False, True], ids=["as it is", "with other weights"])
def test_a_cached_engine_is_proven(
    world: Any, exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_wrong: bool
) -> None:
    """All of it: the embedded model's graph, built, loaded, run on the demo, compared."""
    monkeypatch.setenv("RCNN_LIVE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("export.cache.find_gpu", lambda *_: world.gpu)
    loaded = exports.model()
    path = export_model(loaded, None, canvas=(96, 128), output=tmp_path, to="onnx", form="whole")
    if is_wrong:
        loaded = copy.deepcopy(loaded)
        loaded.module.roi_heads.box_predictor.cls_score.bias.data[1] -= 3.0
    if is_wrong:
        with pytest.raises(ParityError):
            cached_engine(path, loaded, device="cuda:0", notice=lambda _: None)
        return
    engine = cached_engine(path, loaded, device="cuda:0", notice=lambda _: None)
    proof = json.loads(side_file(engine).read_text(encoding="utf-8"))["proof"]
    assert proof["failure"] is None
    assert {case["where"] for case in proof["cases"]} == {"tensorrt fp32"}


def test_facts_survive_json() -> None:
    facts = EngineFacts(
        gpu="a", capability="9.0", tensorrt="11", batch=(1, 4, 8), size_bytes=3, sha256="b"
    )
    manifest = Manifest(
        model="m",
        kind="boxes",
        class_names=("a",),
        canvas=(1, 2),
        batch=None,
        precision="fp16",
        min_score=0.05,
        max_detections=1,
        padding_rgb=(0, 0, 0),
        weights_sha256="",
        versions={},
        form="whole",
        engine=facts,
    )
    assert Manifest.from_json(manifest.to_json(), "it") == manifest
    assert Manifest.from_json(replace(manifest, engine=None).to_json(), "it").engine is None


def _change(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    beside = side_file(path)
    told = json.loads(beside.read_text(encoding="utf-8"))
    change(told)
    beside.write_text(json.dumps(told), encoding="utf-8")
