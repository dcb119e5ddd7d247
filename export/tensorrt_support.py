"""Whether TensorRT can read a model, by what its ONNX parser's documentation says; no GPU needed.

``tensorrt_operators.json`` has the operators, their types and restrictions, and where from.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, defs, helper, numpy_helper

from export.precision import typed, types_of
from models.errors import ModelError

TABLE: dict[str, Any] = json.loads(files("export").joinpath("tensorrt_operators.json").read_text())
NAMES: dict[int, str] = {  # the table's name of a type
    TensorProto.FLOAT: "FP32",
    TensorProto.FLOAT16: "FP16",
    TensorProto.BFLOAT16: "BF16",
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT64",
    TensorProto.INT8: "INT8",
    TensorProto.UINT8: "UINT8",
    TensorProto.BOOL: "BOOL",
}
_QUANTISES = ("QuantizeLinear", "DequantizeLinear")
_FLOATS = ("FP32", "FP16", "BF16")
# Read by TensorRT, and yet no part of a graph that is captured and replayed: how large their
# results are, or whether they run, depends on what was computed before
DEPENDENT = (
    "If",
    "Loop",
    "NonMaxSuppression",
    "NonZero",
    "Scan",
    "Scatter",
    "ScatterElements",
    "ScatterND",
)
LARGEST_K = 3839
_ROI_ALIGN = {
    "mode": ("avg", "max"),
    "coordinate_transformation_mode": ("half_pixel", "output_half_pixel"),
}
_RESIZE = {
    "mode": ("nearest", "linear"),
    "coordinate_transformation_mode": (
        "half_pixel",
        "pytorch_half_pixel",
        "tf_half_pixel_for_nn",
        "asymmetric",
        "align_corners",
    ),
    "nearest_mode": ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil"),
    "keep_aspect_ratio_policy": ("stretch",),
    "antialias": (0,),
}


def check_tensorrt(model: onnx.ModelProto) -> None:
    """Refuse a model that TensorRT could not take whole, in the types it states.

    Args:
        model: of ``export.onnx`` in the whole form, of any precision.

    Raises:
        ModelError: if so; it names the first node, or what else is wrong.
    """
    try:
        reason = next(_Check(model).reasons(), None)
    except onnx.shape_inference.InferenceError as error:
        reason = f"its types do not fit together ({str(error).splitlines()[0]})"
    if reason is not None:
        raise ModelError(
            f"TensorRT {TABLE['tensorrt']} cannot take this model: {reason}; use another --runtime."
        )


def precision_islands(model: onnx.ModelProto) -> dict[str, str]:
    """What each node computes in: its name, and the table's name of its floating-point type.

    Nodes that handle no floating-point numbers are left out, casts and quantisation, too. A node's
    type is that of its first floating-point input.
    """
    types = {name: NAMES.get(kind, "") for name, kind in types_of(typed(model).graph).items()}
    found: dict[str, str] = {}
    for node in model.graph.node:
        taken = [types[name] for name in node.input if types.get(name) in _FLOATS]
        if taken and node.op_type not in ("Cast", *_QUANTISES):
            found[node.name] = taken[0]
    return found


class _Check:
    """One model; each method yields what is wrong, in the order of the graph."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = typed(model)
        self.graph = self.model.graph
        self.types = types_of(self.graph)
        self.weights = {tensor.name: tensor for tensor in self.graph.initializer}
        self.ports = {port.name for port in (*self.graph.input, *self.graph.output)}
        self.opset = self.model.opset_import[0].version
        self.special: dict[str, Callable[[onnx.NodeProto], Iterator[str]]] = {
            "TopK": self._top_k,
            "RoiAlign": self._roi_align,
            "ConvTranspose": self._transposed,
            "Resize": lambda node: self._attributes(node, _RESIZE),
            "MaxPool": self._pooling,
            "AveragePool": self._pooling,
            "Squeeze": self._constant_axes,
            "Unsqueeze": self._constant_axes,
            **dict.fromkeys(_QUANTISES, self._quantisation),
        }

    def reasons(self) -> Iterator[str]:
        first, last = TABLE["opsets"]
        others = [each.domain for each in self.model.opset_import if each.domain]
        if others or not first <= self.opset <= last:
            what = others[0] if others else f"opset {self.opset}"
            yield f"it is written in {what}, and opset {first} to {last} can be read"
        for weight in self.graph.initializer:
            yield from self._constant(weight)
        for node in self.graph.node:
            for reason in self._node(node):
                yield f"{node.op_type} {node.name or node.output[0]} {reason}"
        for port in self.graph.output:
            sizes = port.type.tensor_type.shape.dim
            if not sizes or any(not size.dim_value for size in sizes[1:]):
                yield f"the output {port.name} has no fixed size for one picture"

    def _constant(self, weight: onnx.TensorProto) -> Iterator[str]:
        if weight.data_type not in NAMES:
            kind = TensorProto.DataType.Name(weight.data_type)
            yield f"the constant {weight.name} is {kind}, a type it does not have"
        elif weight.data_type == TensorProto.INT64:
            values = numpy_helper.to_array(weight)
            if values.size and not -(2**31) <= values.min() <= values.max() < 2**31:
                yield f"the constant {weight.name} is larger than int32 holds"

    def _node(self, node: onnx.NodeProto) -> Iterator[str]:
        if node.op_type not in TABLE["operators"]:
            yield "is no operator it knows"
            return
        if node.op_type in DEPENDENT:
            yield "depends on values: what it gives has no fixed size, or it does not always run"
        names = [name for name in (*node.input, *node.output) if name]
        for name in names:
            if not self.types.get(name):
                yield f"has a tensor of unknown type, {name}"
                return
        yield from self._types(node)
        axes = self._input(node, 1) if node.op_type.startswith("Reduce") else ""
        if axes and axes not in self.weights:
            yield "has computed axes, and they must be constant"
        if node.op_type in self.special:
            yield from self.special[node.op_type](node)

    def _types(self, node: onnx.NodeProto) -> Iterator[str]:
        """The table is about what is computed with, not about indices, sizes and truth values."""
        if node.op_type in _QUANTISES:  # see _quantisation
            return
        known = TABLE["operators"][node.op_type].split()
        schema = defs.get_schema(node.op_type, self.opset, "")
        kinds = {each.type_param_str: each.allowed_type_strs for each in schema.type_constraints}
        for side, formal in ((node.input, schema.inputs), (node.output, schema.outputs)):
            for at, name in enumerate(side):
                if not name:
                    continue
                kind = NAMES.get(self.types[name], TensorProto.DataType.Name(self.types[name]))
                if kind == "UINT8" and (name not in self.ports or node.op_type != "Cast"):
                    yield f"has bytes, {name}: they can only be an input that is cast"
                of_schema = formal[min(at, len(formal) - 1)].type_str  # the last may be repeated
                is_index = "tensor(float)" not in kinds.get(of_schema, [of_schema])
                if kind not in (("INT32", "INT64", "BOOL") if is_index else known):
                    yield f"has {kind} at {name}, and it takes {', '.join(known)}"

    def _top_k(self, node: onnx.NodeProto) -> Iterator[str]:
        if node.input[1] not in self.weights:
            yield "has a computed K, and it must be constant"
            return
        k = int(numpy_helper.to_array(self.weights[node.input[1]]).item())
        if not 1 <= k <= LARGEST_K:
            yield f"chooses {k}, and 1 to {LARGEST_K} are possible"
        yield from self._attributes(node, {"sorted": (1,)})

    def _roi_align(self, node: onnx.NodeProto) -> Iterator[str]:
        yield from self._attributes(node, _ROI_ALIGN)
        if self.types[node.input[0]] != self.types[node.input[1]]:
            yield "has features and boxes of different types"
        if _attributes_of(node).get("sampling_ratio", 0) < 0:
            yield "has a negative sampling_ratio"

    def _transposed(self, node: onnx.NodeProto) -> Iterator[str]:
        """The parser takes bf16, and no version up to 11.0 has a kernel (TensorRT's issue 4829)."""
        if self.types[node.input[0]] == TensorProto.BFLOAT16:
            yield "is in BF16, for which TensorRT has no kernel"

    def _pooling(self, node: onnx.NodeProto) -> Iterator[str]:
        values = _attributes_of(node)
        if len(values["kernel_shape"]) not in (2, 3):
            yield f"is over {len(values['kernel_shape'])} dimensions, and 2 or 3 are possible"
        if any(each != 1 for each in values.get("dilations", [])):
            yield "is dilated"
        if len(node.output) > 1:
            yield "gives indices, too"

    def _quantisation(self, node: onnx.NodeProto) -> Iterator[str]:
        quantised = node.output[0] if node.op_type == "QuantizeLinear" else node.input[0]
        real = node.input[0] if node.op_type == "QuantizeLinear" else node.output[0]
        if self.types[quantised] != TensorProto.INT8:
            kind = TensorProto.DataType.Name(self.types[quantised])
            yield f"is of {kind}, and only INT8 is possible"
        if NAMES.get(self.types[real]) not in _FLOATS:
            yield f"is of no floating-point number, {real}"
        for at, what in ((1, "scale"), (2, "zero point")):
            name = self._input(node, at)
            if name and name not in self.weights:
                yield f"has a computed {what}, and it must be constant"
            elif name and at == 2 and np.any(numpy_helper.to_array(self.weights[name])):
                yield "has a zero point other than 0"

    def _constant_axes(self, node: onnx.NodeProto) -> Iterator[str]:
        axes = self._input(node, 1)
        if axes and axes not in self.weights:
            yield "has computed axes, and they must be constant"

    def _attributes(
        self, node: onnx.NodeProto, allowed: dict[str, tuple[Any, ...]]
    ) -> Iterator[str]:
        values = _attributes_of(node)
        for name, those in allowed.items():
            if name in values and values[name] not in those:
                yield f"has {name} {values[name]}, and it can be {' or '.join(map(str, those))}"

    def _input(self, node: onnx.NodeProto, at: int) -> str:
        return node.input[at] if len(node.input) > at else ""


def _attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    values = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    return {
        name: value.decode() if isinstance(value, bytes) else value
        for name, value in values.items()
    }
