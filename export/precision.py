"""An ONNX model with its convolutions and matrix products in fp16 or bf16, and all else in fp32.

Coordinates, scores, exponentials and sums over many values stay in fp32: fp16 has 11 bits, which
is a pixel at 2048, and bf16 has 8. What the file takes and gives is as before. Every tensor's type
is stated in the file, which is how TensorRT decides what to compute in.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.onnx import OPSET
from models.errors import ModelError

HALVES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
PRODUCTS = {
    "fp16": ("Conv", "ConvTranspose", "Gemm", "MatMul"),
    "bf16": ("Conv", "Gemm", "MatMul"),  # TensorRT transposes no convolution in it (its issue 4829)
}
# In half, too, where all they take is: what only moves values or chooses among them, and sums of
# two. Not what takes boxes apart, so that all arithmetic on coordinates is fp32.
FOLLOWERS = (
    "Add",
    "Clip",
    "Concat",
    "GatherElements",
    "MaxPool",
    "Pad",
    "Relu",
    "Reshape",
    "Resize",
    "Transpose",
)
_BF16_OPSET = 22  # whose convolutions are the first to take it; else nothing of ours is new in it


def in_half(model: onnx.ModelProto, precision: str) -> onnx.ModelProto:
    """A copy with weights of half the size, and a cast wherever that and fp32 meet.

    Args:
        model: of ``export.onnx``, fp32.
        precision: one of ``HALVES``.

    Raises:
        ModelError: if a weight is too large for fp16.
    """
    changed = typed(model)
    if precision == "bf16":
        changed.opset_import[0].version = max(_BF16_OPSET, changed.opset_import[0].version)
    _Halving(changed.graph, precision).run()
    del changed.graph.value_info[:]
    changed = typed(changed)
    onnx.checker.check_model(changed, full_check=True)
    return changed


def typed(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that states every tensor's type, and its shape where that can be known."""
    return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)


def types_of(graph: onnx.GraphProto) -> dict[str, int]:
    """The type of each tensor, of ``onnx.TensorProto``, as far as the graph states it."""
    ports = (*graph.input, *graph.value_info, *graph.output)
    types = {port.name: port.type.tensor_type.elem_type for port in ports}
    return types | {weight.name: weight.data_type for weight in graph.initializer}


def as_computed(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that gives what a device with that precision would, on one without.

    All arithmetic is fp32, and every result that is fp16 or bf16 is rounded to it, overflow
    included: products of halves are summed in fp32 on GPUs, too. ONNX Runtime does not compute in
    bf16 on a CPU, and leaves out the rounding where it stands in for fp16.

    Args:
        model: of ``in_half``.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    changed.opset_import[0].version = OPSET  # nothing but casts knows bf16 any more
    graph = changed.graph
    types = types_of(graph)
    nodes: list[onnx.NodeProto] = []
    wide: dict[str, str] = {}

    def widened(name: str) -> str:
        if name not in wide:
            wide[name] = f"{name}_wide"
            nodes.append(_cast(name, wide[name], TensorProto.FLOAT))
        return wide[name]

    for node in graph.node:
        low = [name for name in node.output if types[name] in HALVES.values()]
        if node.op_type != "Cast":
            _replace(node.input, lambda name: types.get(name) in HALVES.values(), widened)
            _replace(node.output, low.__contains__, "{}_exact".format)
        nodes.append(node)
        if node.op_type != "Cast":
            nodes += [_cast(f"{name}_exact", name, types[name]) for name in low]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(changed, full_check=True)
    return changed


class _Halving:
    """One pass over a graph, in its topological order."""

    def __init__(self, graph: onnx.GraphProto, precision: str) -> None:
        self.graph, self.precision, self.type = graph, precision, HALVES[precision]
        self.types = types_of(graph)
        self.weights = {tensor.name: tensor for tensor in graph.initializer}
        self.results = {output.name for output in graph.output}
        self.low: set[str] = set()  # values that are computed in half
        self.names: dict[str, str] = {}  # a value to its copy in the other precision
        self.nodes: list[onnx.NodeProto] = []

    def run(self) -> None:
        for node in self.graph.node:
            if self._is_low(node):
                _replace(node.input, self._is_fp32, self._halved)
                self.low.update(node.output)
            else:
                _replace(node.input, self.low.__contains__, self._widened)
            self.nodes.append(node)
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)
        used = {name for node in self.nodes for name in node.input}
        kept = [tensor for tensor in self.weights.values() if tensor.name in used]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)

    def _is_low(self, node: onnx.NodeProto) -> bool:
        if self.results & set(node.output):
            return False
        if node.op_type in PRODUCTS[self.precision]:
            return True
        if node.op_type not in FOLLOWERS or _interpolates(node):
            return False
        taken = [name for name in node.input if self.types.get(name) == TensorProto.FLOAT]
        computed = [name for name in taken if name not in self.weights]
        return bool(computed) and self.low.issuperset(computed)

    def _is_fp32(self, name: str) -> bool:
        return name not in self.low and self.types.get(name) == TensorProto.FLOAT

    def _halved(self, name: str) -> str:
        """A copy in half, of a weight or of a value; the original goes if nothing else takes it."""
        copy = f"{name}_{self.precision}"
        if name not in self.weights:
            return self._cast(name, copy, self.type)
        if copy not in self.weights:
            with np.errstate(over="ignore"):  # looked at below
                values = numpy_helper.to_array(self.weights[name]).astype(
                    helper.tensor_dtype_to_np_dtype(self.type)
                )
            if not np.isfinite(values.astype(np.float32)).all():
                raise ModelError(
                    f"The weight {name} is too large for {self.precision}: use fp32 or bf16."
                )
            self.weights[copy] = numpy_helper.from_array(values, copy)
        return copy

    def _widened(self, name: str) -> str:
        return self._cast(name, f"{name}_fp32", TensorProto.FLOAT)

    def _cast(self, name: str, copy: str, to: int) -> str:
        if name not in self.names:
            self.names[name] = copy
            self.nodes.append(_cast(name, copy, to))
        return self.names[name]


def _interpolates(node: onnx.NodeProto) -> bool:
    """Whether a Resize computes new values."""
    mode = next((each.s for each in node.attribute if each.name == "mode"), b"nearest")
    return node.op_type == "Resize" and mode != b"nearest"


def _cast(name: str, result: str, to: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [name], [result], name=f"{result}_cast", to=to)


def _replace(
    names: onnx.NodeProto, chosen: Callable[[str], bool], other: Callable[[str], str]
) -> None:
    for at, name in enumerate(names):
        if name and chosen(name):
            names[at] = other(name)
