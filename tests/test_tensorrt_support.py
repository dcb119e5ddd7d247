"""What TensorRT's parser takes, and what it does not, without a GPU."""

from __future__ import annotations

import export_case as case
import numpy as np
import onnx
import pytest
import torch
import torchvision
from onnx import numpy_helper, parser

from export.int8 import quantise
from export.onnx import to_onnx
from export.precision import HALVES, PRODUCTS, in_half
from export.tensorrt_support import LARGEST_K, TABLE, check_tensorrt, precision_islands
from models.deploy.graph import static_graph
from models.deploy.manifest import Manifest
from models.errors import ModelError

X = "(float[N,4] x) => (float[N,4] y)"
NMS = (
    "(float[1,9,4] b, float[1,1,9] s) => (int64[M,3] y)"
    "<int64[1] k = {3}> { y = NonMaxSuppression(b, s, k) }"
)
BRANCHES = (
    "then_branch = t () => (float[N,4] a) { a = Identity(x) }, "
    "else_branch = e () => (float[N,4] a) { a = Relu(x) }"
)


def written(body: str, opset: int = 20) -> onnx.ModelProto:
    return parser.parse_model(f'<ir_version: 10, opset_import: ["" : {opset}]> g {body}')


def rois(features: str, boxes: str, attributes: str = "") -> str:
    return (
        f"({features}[1,4,8,8] x, {boxes}[N,4] r, int64[N] b) => ({features}[N,4,1,1] y)"
        f" {{ y = RoiAlign {attributes} (x, r, b) }}"
    )


def in_and_out(inner: str) -> str:
    """Of a float (N,4) named x."""
    return f"{X} {inner}"


def test_the_table_says_where_it_is_from() -> None:
    assert TABLE["source"].startswith("https://github.com/onnx/onnx-tensorrt/")
    assert TABLE["tensorrt"].startswith("10.")
    assert set(TABLE["restrictions"]) <= set(TABLE["operators"])
    known = {name for types in TABLE["operators"].values() for name in types.split()}
    assert {"FP32", "FP16", "BF16", "INT32", "INT64", "INT8", "UINT8", "BOOL"} <= known


@pytest.mark.parametrize(
    "body",
    [
        in_and_out("{ y = Exp(x) }"),
        in_and_out("<int64[1] k = {4}> { y, i = TopK <sorted = 1> (x, k) }"),
        "(uint8[N,4] x) => (float[N,4] y) { y = Cast <to = 1> (x) }",
        rois("float", "float", '<mode = "max">'),
        in_and_out("<float s = {0.1}, int8 z = {0}> { q = QuantizeLinear(x, s, z) "
                   "y = DequantizeLinear(q, s, z) }"),
        in_and_out("<int64[1] a = {0}> { u = Unsqueeze(x, a) y = Squeeze(u, a) }"),
    ],
)  # fmt: skip
def test_what_it_takes(body: str) -> None:
    check_tensorrt(written(body))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("(float[N,4] x) => (int64[2,M] y) { y = NonZero(x) }", "NonZero y depends on values"),
        (f"(float[N,4] x, bool c) => (float[N,4] y) {{ y = If (c) <{BRANCHES}> }}", "If y depends"),
        (NMS, "NonMaxSuppression y depends"),
        (
            "(float[N,4] x, int64[N,4] i) => (float[N,4] y) { y = ScatterElements(x, i, x) }",
            "ScatterElements y depends",
        ),
        (
            "(float[N,4096] x) => (float[N,4000] y) <int64[1] k = {4000}> { y, i = TopK(x, k) }",
            f"TopK y chooses 4000, and 1 to {LARGEST_K} are possible",
        ),
        ("(float[N,4] x, int64[1] k) => (float[N,4] y) { y, i = TopK(x, k) }", "a computed K"),
        (
            in_and_out("<int64[1] k = {4}> { y, i = TopK <sorted = 0> (x, k) }"),
            "has sorted 0, and it can be 1",
        ),
        (
            in_and_out("<int64[1] s = {0}, int64[1] e = {4294967296}> { y = Slice(x, s, e) }"),
            "the constant e is larger than int32 holds",
        ),
        ("(double[N,4] x) => (double[N,4] y) { y = Exp(x) }", "Exp y has DOUBLE at x"),
        ("(uint8[N,4] x) => (uint8[4,N] y) { y = Transpose(x) }", "Transpose y has bytes, x"),
        ("(float[N,4,4] x) => (float[N] y) { y = Det(x) }", "Det y is no operator it knows"),
        (
            rois("float16", "float"),
            "features and boxes of different types",
        ),
        (
            rois("bfloat16", "bfloat16"),
            "RoiAlign y has BF16 at x, and it takes FP32, FP16",
        ),
        (
            "(bfloat16[1,2,4,4] x, bfloat16[2,1,2,2] w) => (bfloat16[1,1,8,8] y)"
            " { y = ConvTranspose <strides = [2, 2]> (x, w) }",
            "ConvTranspose y is in BF16, for which TensorRT has no kernel",
        ),
        (
            rois("float", "float", "<sampling_ratio = -1>"),
            "a negative sampling_ratio",
        ),
        (
            "(float[1,4,8,8] x) => (float[1,4,16,16] y) <float[4] s = {1, 1, 2, 2}>"
            ' { y = Resize <mode = "cubic"> (x,, s) }',
            "has mode cubic, and it can be nearest or linear",
        ),
        (
            "(float[1,4,8,8] x) => (float[1,4,7,7] y)"
            " { y, i = MaxPool <kernel_shape = [2, 2]> (x) }",
            "gives indices, too",
        ),
        (
            "(float[1,4,8,8] x) => (float[1,4,6,6] y)"
            " { y = MaxPool <kernel_shape = [2, 2], dilations = [2, 2]> (x) }",
            "is dilated",
        ),
        (
            in_and_out("<float s = {0.1}, int8 z = {3}> { q = QuantizeLinear(x, s, z) "
                       "y = DequantizeLinear(q, s, z) }"),
            "QuantizeLinear q has a zero point other than 0",
        ),
        (
            in_and_out("<float s = {0.1}, uint8 z = {0}> { q = QuantizeLinear(x, s, z) "
                       "y = DequantizeLinear(q, s, z) }"),
            "is of UINT8, and only INT8 is possible",
        ),
        (
            "(float[N,4,1] x, int64[1] a) => (float[N,4] y) { y = Squeeze(x, a) }",
            "has computed axes",
        ),
        ("(float[N,4] x, int64[1] a) => (float[N,1] y) { y = ReduceMax(x, a) }", "computed axes"),
        ("(float[N,M] x) => (float[N,M] y) { y = Exp(x) }", "the output y has no fixed size"),
        (in_and_out("{ a = Relu(ghost) y = Add(a, x) }"), "its types do not fit together"),
    ],
)  # fmt: skip
def test_what_it_does_not_take(body: str, words: str) -> None:
    opset = 22 if "bfloat16" in body else 20
    with pytest.raises(ModelError) as raised:
        check_tensorrt(written(body, opset))
    assert words in str(raised.value)
    assert str(raised.value).startswith(f"TensorRT {TABLE['tensorrt']} cannot take this model: ")
    assert str(raised.value).endswith("; use another --runtime.")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("opset", [8, 25])
def test_an_opset_it_does_not_read(opset: int) -> None:
    with pytest.raises(ModelError, match=f"written in opset {opset}, and opset 9 to 24"):
        check_tensorrt(written(in_and_out("{ y = Exp(x) }"), opset))


def test_operators_of_others() -> None:
    model = written(in_and_out("{ y = Exp(x) }"))
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(ModelError, match=r"it is written in com\.microsoft"):
        check_tensorrt(model)


# The embedded model

ISLANDS = ("Exp", "Softmax", "Sigmoid", "TopK", "RoiAlign", "Div", "Sub", "Mul", "Greater")
SUMS = ("ReduceMean", "ReduceL2", "ReduceMax")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("batch", [None, 1])
@pytest.mark.parametrize("precision", ["fp32", *HALVES, "int8"])
def test_the_embedded_model_is_taken(precision: str, batch: int | None) -> None:
    model = case.whole()
    manifest = case.as_it_were(model, precision, batch=batch)
    if batch is not None:
        for port in (*model.graph.input, *model.graph.output):
            port.type.tensor_type.shape.dim[0].dim_value = batch
        del model.graph.value_info[:]
    if precision in HALVES:
        model = in_half(model, precision)
    elif precision == "int8":
        model = quantise(model, manifest, case.people(1))
    check_tensorrt(model)

    islands = precision_islands(model)
    found = {
        node.op_type: {islands[other.name] for other in model.graph.node
                       if other.op_type == node.op_type and other.name in islands}
        for node in model.graph.node
    }  # fmt: skip
    for operator in (*ISLANDS, *SUMS):
        assert found[operator] == {"FP32"}, operator
    in_half_too = set(PRODUCTS.get(precision, ()))
    for operator in set(PRODUCTS["fp16"]) & set(found):
        kind = precision.upper() if operator in in_half_too else "FP32"
        assert found[operator] == {kind}, operator


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_resnet_is_taken() -> None:
    """With COCO's 90 classes: what is chosen of how many stays below what TopK can."""
    get = torchvision.models.get_model
    model = get("maskrcnn_resnet50_fpn", weights=None, weights_backbone=None).eval()
    graph = static_graph(model, (128, 160), iterations=1)
    manifest = Manifest(
        model="maskrcnn_resnet50_fpn",
        kind="masks",
        class_names=("a",) * 91,
        canvas=(128, 160),
        batch=1,
        precision="fp32",
        min_score=0.05,
        max_detections=100,
        padding_rgb=(0, 0, 0),
        weights_sha256="",
        versions={},
        form="whole",
    )
    with torch.no_grad():
        exported = to_onnx(graph, manifest)
    constants = {weight.name: weight for weight in exported.graph.initializer}
    chosen = [
        int(numpy_helper.to_array(constants[node.input[1]]).item())
        for node in exported.graph.node
        if node.op_type == "TopK"
    ]
    assert sorted(chosen)[-3:] == [1000, 1000, 1000]  # of a level, proposals, candidates
    assert 100 in chosen
    check_tensorrt(exported)
    for precision in HALVES:
        model_in_half = in_half(exported, precision)
        check_tensorrt(model_in_half)
        casts = [
            node
            for node in model_in_half.graph.node
            if node.op_type == "Cast" and node.attribute[0].i == HALVES[precision]
        ]
        # the picture, what lies under proposals and under objects, and masks made larger in fp32
        assert len(casts) == (3 if precision == "fp16" else 4)
    size = sum(np.prod(weight.dims) for weight in exported.graph.initializer)
    assert 0.95 < len(in_half(exported, "fp16").SerializeToString()) / (2 * size) < 1.1
