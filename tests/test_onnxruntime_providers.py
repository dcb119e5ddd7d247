"""ONNX Runtime's providers: their options, where nodes go, and memory that stays in its place."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from runtime_cases import Exports, assert_equal, frame
from simulated_gpu import SimulatedGpu

from export.build import export_model
from models.deploy.manifest import DETECTOR_OUTPUTS, METADATA, PIXELS, WHOLE_DETAILS, Manifest
from models.errors import ModelError, UsageError
from models.letterbox import Image
from models.runtimes.gpu_canvas import OnDevice
from models.runtimes.onnxruntime import OnnxRuntime
from models.runtimes.onnxruntime_gpu import (
    CPU,
    PROVIDERS,
    check_device,
    check_placement,
    engines_folder,
    fallback_nodes,
    placement,
    provider_options,
)

CANVAS = 4, 6  # (height, width) px
ROWS = 2
CUDA, TENSORRT = PROVIDERS["cuda"][0], PROVIDERS["tensorrt"][0]


def small_manifest(batch: int | None = None) -> Manifest:
    return Manifest(
        model="small",
        kind="masks",
        class_names=("__background__", "thing"),
        canvas=CANVAS,
        batch=batch,
        precision="fp32",
        min_score=0.05,
        max_detections=ROWS,
        padding_rgb=(0, 0, 0),
        weights_sha256="",
        versions={},
        form="whole",
    )


def small_graph(batch: int | None = None, factor: float = 1.0) -> onnx.ModelProto:
    """A whole graph that reads its objects off the pixels: boxes, scores, labels, count."""
    count = "N" if batch is None else batch
    constants = {
        "ones": np.full((28, 28), factor, np.float32),
        "most": np.float32(255),
        "axes": np.array([1, 2, 3]),
        "last": np.array([2, 3]),
    }
    nodes = []

    def cut(name: str, starts: list[int], ends: list[int], squeezed: list[int]) -> None:
        constants.update(
            {
                f"{name} starts": np.array(starts),
                f"{name} ends": np.array(ends),
                f"{name} squeezed": np.array(squeezed),
            }
        )
        inputs = ["numbers", f"{name} starts", f"{name} ends", "axes"]
        nodes.append(helper.make_node("Slice", inputs, [f"{name} cut"]))
        inputs = [f"{name} cut", f"{name} squeezed"]
        nodes.append(helper.make_node("Squeeze", inputs, [f"{name} number"]))

    def make(operator: str, inputs: list[str], output: str, **attributes: int) -> None:
        nodes.append(helper.make_node(operator, inputs, [output], **attributes))

    make("Cast", [PIXELS], "numbers", to=TensorProto.FLOAT)
    cut("boxes", [0, 0, 0], [ROWS, 4, 1], [3])
    cut("scores", [0, 4, 0], [ROWS, 5, 1], [2, 3])
    cut("labels", [0, 5, 0], [ROWS, 6, 1], [2, 3])
    cut("count", [2, 0, 0], [3, 1, 1], [1, 2, 3])
    # by way of the number of pictures, as exports for any number compute with it
    make("Shape", ["boxes number"], "size")
    make("Reshape", ["boxes number", "size"], "boxes")
    make("Div", ["scores number", "most"], "scores")
    make("Cast", ["labels number"], "labels", to=TensorProto.INT64)
    make("Cast", ["count number"], "count", to=TensorProto.INT64)
    make("Unsqueeze", ["scores", "last"], "column")
    make("Mul", ["column", "ones"], WHOLE_DETAILS)
    for node in nodes:
        node.name = f"node of {node.output[0]}"
    sizes = {"boxes": [4], "scores": [], "labels": [], WHOLE_DETAILS: [28, 28]}
    types = {"labels": TensorProto.INT64, "count": TensorProto.INT64}
    outputs = [
        helper.make_tensor_value_info(
            name,
            types.get(name, TensorProto.FLOAT),
            [count] if name == "count" else [count, ROWS, *sizes[name]],
        )
        for name in (*DETECTOR_OUTPUTS, WHOLE_DETAILS)
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, [count, *CANVAS, 3])],
        outputs,
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    helper.set_model_props(model, {METADATA: small_manifest(batch).to_json()})
    return model


def small_file(folder: Path, batch: int | None = None, factor: float = 1.0) -> Path:
    path = folder / f"small-{factor}.onnx"
    onnx.save(small_graph(batch, factor), path)
    return path


def session_of(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return ort.InferenceSession(model.SerializeToString(), options, providers=[CPU])


def pictures(count: int) -> Image:
    """With one to two objects each."""
    pixels = np.random.default_rng(count).integers(20, 255, (count, *CANVAS, 3), np.uint8)
    pixels[:, 2, 0, 0] = np.arange(count) % ROWS + 1
    return pixels


# Where nodes go


def test_every_node_has_a_provider() -> None:
    placed = placement(session_of(small_graph()))
    assert list(placed) == [CPU]
    assert ("node of scores", "Div") in placed[CPU]


def test_sizes_are_computed_on_the_cpu_and_nothing_else_is() -> None:
    model = small_graph()
    fallen = {name for name, _ in fallback_nodes(session_of(model), model)}
    assert "node of size" in {name for name, _ in placement(session_of(model))[CPU]}
    assert "node of size" not in fallen
    assert {"node of scores", "node of boxes", "node of numbers"} <= fallen


def test_a_gpu_that_leaves_nodes_to_the_cpu_is_refused() -> None:
    model = small_graph()
    session = session_of(model)
    check_placement(session, model, CPU)
    with pytest.raises(ModelError, match="the CPU computes Cast node of numbers") as raised:
        check_placement(session, model, CUDA)
    assert " and 12 more: use another" in str(raised.value)


def test_a_session_that_does_not_tell_is_refused() -> None:
    """As those of ONNX Runtime before 1.24."""
    with pytest.raises(ModelError, match="install a newer onnxruntime-gpu"):
        placement(object())


# Options


def test_tensorrt_computes_as_the_file_says() -> None:
    """Any precision that is asked for makes the network a weakly typed one."""
    (first, options), *_ = provider_options(
        "tensorrt", small_manifest(1), cuda_graph=True, engines=None
    )
    assert first == TENSORRT
    assert not [name for name in options if any(t in name for t in ("16", "int8", "cache"))]


def test_engines_are_kept_by_file_and_timings_together(tmp_path: Path) -> None:
    (_, options), *_ = provider_options(
        "tensorrt", small_manifest(1), cuda_graph=False, engines=tmp_path / "file"
    )
    assert options["trt_engine_cache_path"] == str(tmp_path / "file")
    assert options["trt_timing_cache_path"] == str(tmp_path)


def test_one_engine_is_for_any_number_of_pictures() -> None:
    fixed, free = (
        provider_options("tensorrt", small_manifest(batch), cuda_graph=False, engines=None)[0][1]
        for batch in (2, None)
    )
    assert free["trt_profile_max_shapes"] == "pixels:16x4x6x3"
    assert not [name for name in fixed if "profile" in name]


@pytest.mark.parametrize(("device", "capturing"), [("cuda", CUDA), ("tensorrt", TENSORRT)])
def test_one_provider_captures_and_fp32_is_fp32(device: str, capturing: str) -> None:
    found = dict(provider_options(device, small_manifest(1), cuda_graph=True, engines=None))
    assert list(found) == list(PROVIDERS[device])
    captures = {
        name
        for name, options in found.items()
        if options.get("enable_cuda_graph", options.get("trt_cuda_graph_enable")) == "1"
    }
    assert captures == {capturing}
    assert found[CUDA]["use_tf32"] == "0"


# Memory, on a GPU that does nothing before somebody waits for it; the arithmetic is the CPU's

ORDERS = [(), (0,), (1,), (2,), (0, 1, 2)]  # streams that do not wait to be asked


@pytest.fixture(params=ORDERS, ids=lambda eager: f"eager {eager}")
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> SimulatedGpu:
    made = SimulatedGpu(eager=request.param)
    monkeypatch.setattr("models.runtimes.onnxruntime.check_device", lambda kind: None)
    monkeypatch.setattr("models.runtimes.onnxruntime.find_gpu", lambda *_: made)
    monkeypatch.setattr(OnnxRuntime, "_session", lambda self, model, *_, **__: session_of(model))
    return made


@pytest.mark.parametrize("batch", [None, 1, 3])
def test_whole_graphs_find_the_same_on_a_gpu(
    gpu: SimulatedGpu, batch: int | None, tmp_path: Path
) -> None:
    path = small_file(tmp_path, batch)
    with (
        OnnxRuntime(path, min_score=0.05, device="cuda") as runtime,
        OnnxRuntime(path, min_score=0.05) as usual,
    ):
        assert (runtime.device, runtime.cuda_graph) == ("cuda:0", batch is not None)
        for count in (1, 4, 20, 4):  # into memory that was used before
            canvases = [usual.preprocess(picture) for picture in pictures(count)]
            expected = usual.infer_many(canvases)
            assert [len(each) for each in expected] == [k % ROWS + 1 for k in range(count)]
            for one, other in zip(runtime.infer_many(canvases), expected, strict=True):
                assert_equal(one, other, px=0)
            assert set(runtime.gpu_ms or ()) == {"copy_in", "compute", "copy_out"}
    gc.collect()
    assert not [tensor() for tensor in gpu.alive if tensor() is not None]


def test_frames_are_laid_out_on_the_gpu(gpu: SimulatedGpu, tmp_path: Path) -> None:
    path = small_file(tmp_path)
    with (
        OnnxRuntime(path, min_score=0.05, device="tensorrt") as runtime,
        OnnxRuntime(path, min_score=0.05) as usual,
    ):
        assert runtime.name == "onnxruntime-tensorrt"
        image = pictures(2)[1]
        for picture in (image, image.repeat(2, axis=0).repeat(2, axis=1)):
            canvas = runtime.preprocess(picture)
            assert isinstance(canvas.pixels, OnDevice)
            assert_equal(runtime.infer(canvas), usual.infer(usual.preprocess(image)), px=0)


# Opening


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_provider_that_is_not_there_is_no_other(device: str, tmp_path: Path) -> None:
    provider = PROVIDERS[device][0]
    if provider in ort.get_available_providers():
        pytest.skip("it is there")
    with pytest.raises(UsageError, match=f"This ONNX Runtime has no {provider}: install"):
        OnnxRuntime(small_file(tmp_path), device=device)


def test_a_device_of_no_provider() -> None:
    with pytest.raises(UsageError, match="no device npu: use cpu or cuda or tensorrt"):
        check_device("npu")


def test_a_provider_that_does_not_load_is_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime itself goes on with the CPU."""
    monkeypatch.setattr("models.runtimes.onnxruntime.check_device", lambda kind: None)
    monkeypatch.setattr("models.runtimes.onnxruntime.find_gpu", lambda *_: SimulatedGpu())
    monkeypatch.setattr(
        "models.runtimes.onnxruntime.provider_options", lambda *_, **__: [(CPU, {})]
    )
    with pytest.raises(ModelError, match=f"ONNX Runtime cannot load {CUDA}"):
        OnnxRuntime(small_file(tmp_path), device="cuda")


def test_engines_of_other_weights_lie_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RCNN_LIVE_CACHE", str(tmp_path / "cache"))
    one, other = small_file(tmp_path), small_file(tmp_path, factor=2.0)
    folders = {engines_folder(path, None) for path in (one, other, one)}
    assert len(folders) == 2
    assert {folder.parent.parent for folder in folders} == {tmp_path / "cache"}
    assert all(folder.is_dir() for folder in folders)
    assert engines_folder(one, tmp_path / "given").parent == tmp_path / "given"


def test_a_cache_that_takes_no_engines(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="takes no files"):
        engines_folder(small_file(tmp_path), tmp_path / "file")


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_gpu_finds_what_the_cpu_finds(
    device: str, precision: str, exports: Exports, tmp_path: Path
) -> None:
    if PROVIDERS[device][0] not in ort.get_available_providers():
        pytest.skip(f"this ONNX Runtime has no {PROVIDERS[device][0]}")
    path = export_model(
        exports.model(), None, canvas=(192, 256), output=tmp_path, precision=precision, form="whole"
    )
    assert torch.cuda.is_available()
    with (
        OnnxRuntime(path, device=device, engines=tmp_path) as fast,
        OnnxRuntime(path, threads=1) as usual,
    ):
        assert fast.cuda_graph
        for k in (0, 50):
            found, expected = fast.detect(frame(k)), usual.detect(frame(k))
            assert len(found) == len(expected) > 0
            np.testing.assert_allclose(found.boxes, expected.boxes, atol=2)
