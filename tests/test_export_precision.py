"""fp16, bf16 and int8: which layers are in them, and which are not."""

from __future__ import annotations

from pathlib import Path

import export_case as case
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.build import check_precision
from export.int8 import PREDICTORS, quantise
from export.precision import HALVES, as_computed, in_half, types_of
from models.errors import ModelError, UsageError
from models.runtimes.exported import open_exported


def small(scale: float = 1.0) -> onnx.ModelProto:
    """conv, relu, conv, exp, and the sum of the last two."""
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array((scale * rng.normal(0, 0.1, (4, 4, 1, 1))).astype(np.float32), name)
        for name in ("a", "b")
    ]
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["first"]),
        helper.make_node("Relu", ["first"], ["relu"]),
        helper.make_node("Conv", ["relu", "b"], ["second"]),
        helper.make_node("Exp", ["second"], ["exp"]),
        helper.make_node("Add", ["second", "exp"], ["y"]),
    ]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4, 8, 8]) for name in ("x", "y")
    ]
    graph = helper.make_graph(nodes, "small", ports[:1], ports[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def computed(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, {"x": x})[0])


@pytest.mark.parametrize("precision", HALVES)
def test_only_products_and_what_follows_are_in_half(precision: str) -> None:
    model = in_half(small(), precision)
    types = types_of(model.graph)
    assert {types[name] for name in ("first", "relu", "second")} == {HALVES[precision]}
    assert types["exp"] == types["x"] == types["y"] == TensorProto.FLOAT
    assert {weight.data_type for weight in model.graph.initializer} == {HALVES[precision]}
    # in and out: 'second' is cast once for both that take it, and none lies between conv and conv
    assert [node.op_type for node in model.graph.node].count("Cast") == 2


def test_fp16_gives_nearly_the_same() -> None:
    x = np.random.default_rng(1).normal(0, 1, (1, 4, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(
        computed(in_half(small(), "fp16"), x), computed(small(), x), atol=5e-3
    )


def test_the_model_itself_is_left_alone() -> None:
    model = small()
    before = model.SerializeToString()
    as_computed(in_half(model, "bf16"))
    assert model.SerializeToString() == before


def test_a_weight_too_large_for_fp16() -> None:
    with pytest.raises(ModelError, match="too large for fp16"):
        in_half(small(scale=1e7), "fp16")
    in_half(small(scale=1e7), "bf16")


@pytest.mark.parametrize("precision", HALVES)
def test_what_a_gpu_would_compute_is_rounded(precision: str) -> None:
    """Conv, relu and conv give halves of what they take as halves; the sum is of fp32."""
    half = helper.tensor_dtype_to_np_dtype(HALVES[precision])

    def rounded(values: np.ndarray) -> np.ndarray:
        return values.astype(half).astype(np.float32)

    x = np.random.default_rng(1).normal(0, 1, (1, 4, 8, 8)).astype(np.float32)
    a, b = (rounded(numpy_helper.to_array(each)[:, :, 0, 0]) for each in small().graph.initializer)
    first = rounded(np.einsum("oc,nchw->nohw", a, rounded(x)))
    second = rounded(np.einsum("oc,nchw->nohw", b, first.clip(0)))
    expected = second + np.exp(second)
    found = computed(as_computed(in_half(small(), precision)), x)
    near = np.isclose(found, expected, rtol=1e-6)
    assert near.mean() > 0.95  # the others' sums lie between two halves, and fall either way
    assert np.isclose(found, computed(small(), x), rtol=1e-6).mean() < 0.5


def test_a_number_too_large_for_fp16_is_seen() -> None:
    model = in_half(small(scale=20), "fp16")
    x = np.full((1, 4, 8, 8), 6e4, np.float32)
    assert np.isfinite(computed(as_computed(model), x * 1e-6)).all()
    assert not np.isfinite(computed(as_computed(model), x)).all()


@pytest.mark.parametrize("precision", ["fp16", "int8", "bf16"])
def test_a_pt2_is_fp32(precision: str) -> None:
    with pytest.raises(UsageError, match="use --to openvino or --to onnx"):
        check_precision("pt2", precision)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("precision", HALVES)
def test_a_split_detector_in_half(precision: str, tmp_path: Path) -> None:
    model = in_half(case.proto(), precision)
    case.as_it_were(model, precision)
    path = case.put(model, tmp_path / "model.onnx")
    assert path.stat().st_size < 0.6 * len(case.exported())
    assert {port.type.tensor_type.elem_type for port in model.graph.output} == {
        TensorProto.FLOAT,
        TensorProto.INT64,
    }
    with open_exported(path, runtime="openvino", min_score=0.5) as opened:
        assert opened.manifest.precision == precision
        assert sum(len(opened.detect(frame)) for frame in case.people()) >= 1
    if precision == "bf16":
        with pytest.raises(ModelError, match="bf16 by TensorRT alone; use --runtime openvino"):
            open_exported(path, runtime="onnxruntime")
        path = case.put(as_computed(model), tmp_path / "computed.onnx")
    with open_exported(path, runtime="onnxruntime", min_score=0.5) as opened:
        assert sum(len(opened.detect(frame)) for frame in case.people()) >= 1


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("precision", HALVES)
def test_what_of_a_whole_detector_is_in_half(precision: str) -> None:
    """Not boxes, suppression, softmax, exp, sums of normalisation and where RoIAlign looks."""
    model = in_half(case.whole(), precision)
    types = types_of(model.graph)
    in_half_too = {
        node.op_type for node in model.graph.node if types[node.output[0]] == HALVES[precision]
    }
    products = {"Conv", "Gemm"} | ({"ConvTranspose"} if precision == "fp16" else set())
    computed = products | {"Add", "Clip"}
    moved = {"Cast", "GatherElements", "Relu", "Reshape", "Resize", "Transpose"}
    assert in_half_too == computed | moved
    for node in model.graph.node:
        if node.op_type in products:
            assert types[node.output[0]] == HALVES[precision], node.name
        elif node.op_type in computed and node.name.startswith(
            ("detector.proposals/", "detector.boxes/", "detector.boxes.pool/")
        ):
            assert types[node.output[0]] != HALVES[precision], node.name


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_int8_of_a_detector() -> None:
    fp32 = case.proto()
    model = quantise(fp32, case.as_it_were(fp32, "int8"), case.people())
    made_by = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm", "ConvTranspose"):
            continue
        depthwise = any(each.name == "group" and each.i > 1 for each in node.attribute)
        exact = depthwise or any(part in name for name in node.input for part in PREDICTORS)
        weight_is_8_bit = node.input[1] in made_by
        assert weight_is_8_bit != exact, node.name
    per_channel = [
        node
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0].endswith("_quantized")
    ]
    scales = {weight.name: weight for weight in model.graph.initializer}
    assert any(len(scales[node.input[1]].dims) == 1 for node in per_channel)
    assert case.manifest_of(model).precision == "int8"
