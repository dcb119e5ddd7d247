"""A static graph as ONNX: in one file, checked, simplified, with its manifest inside."""

from __future__ import annotations

import ast
import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnx
import onnxslim
import torch
from onnx import numpy_helper
from torch.export import ExportedProgram

from export.traced import trace_details, trace_detector, trace_whole
from models.deploy.graph import StaticGraph
from models.deploy.manifest import KEPT_PREFIX, METADATA, PIXELS, Manifest

OPSET = 20
_INT32_MAX = 2**31 - 1


def to_onnx(graph: StaticGraph, manifest: Manifest) -> onnx.ModelProto:
    """The graph as one ONNX model, in the manifest's form.

    Args:
        graph: see ``models.deploy.graph``.
        manifest: its.

    Raises:
        onnx.checker.ValidationError: if the exporter wrote something that ONNX does not allow.
    """
    is_whole = manifest.form == "whole"
    program = (trace_whole if is_whole else trace_detector)(graph, manifest.batch)
    model = _convert(program, [PIXELS], list(manifest.outputs))
    if is_whole:
        _for_tensorrt(model.graph)
    elif graph.details is not None:
        taken = ["under", *(["labels"] if manifest.kind == "masks" else [])]
        details = onnx.compose.add_prefix(
            _convert(trace_details(graph), taken, ["details"]), KEPT_PREFIX
        )
        model = onnx.compose.merge_models(model, details, io_map=[])
        del model.opset_import[1:]  # each part brought the same one
    onnx.helper.set_model_props(model, {METADATA: manifest.to_json()})
    model.producer_name, model.doc_string = "rcnn-live", ""
    onnx.checker.check_model(model, full_check=True)
    return model


def _convert(program: ExportedProgram, inputs: list[str], outputs: list[str]) -> onnx.ModelProto:
    # warnings are of deprecations inside of torch
    with warnings.catch_warnings(action="ignore"), _without_tqdm_monitor():
        converted = torch.onnx.export(
            program,
            dynamo=True,
            input_names=inputs,
            output_names=outputs,
            opset_version=OPSET,
            verbose=False,
        )
    assert converted is not None
    model = converted.model_proto
    for node in model.graph.node:
        node.name = f"{_layer_of(node)}/{node.name}"
    slimmed: onnx.ModelProto = onnxslim.slim(model)
    return slimmed


def _for_tensorrt(graph: onnx.GraphProto) -> None:
    """Bytes are cast and nothing else; and no number is larger than int32 holds."""
    cast = next(node for node in graph.node if PIXELS in node.input and node.op_type == "Cast")
    for node in graph.node:
        if node.op_type == "Shape" and node.input[0] == PIXELS:
            node.input[0] = cast.output[0]
    first = onnx.NodeProto()
    first.CopyFrom(cast)
    graph.node.remove(cast)
    graph.node.insert(0, first)

    users: dict[str, set[str]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, set()).add(node.op_type)
    for weight in graph.initializer:
        if weight.data_type == onnx.TensorProto.INT64 and users.get(weight.name) == {"Slice"}:
            # up to the end, as exporters write it: no side is that long
            within = numpy_helper.to_array(weight).clip(-_INT32_MAX, _INT32_MAX)
            weight.CopyFrom(numpy_helper.from_array(within, weight.name))


def _layer_of(node: onnx.NodeProto) -> str:
    """The module a node comes from, as ``backbone.fpn.layer_blocks.0``, for profiles."""
    notes = {note.key: note.value for note in node.metadata_props}
    scopes = ast.literal_eval(notes.get("pkg.torch.onnx.name_scopes", "[]"))
    return next((scope for scope in reversed(scopes[:-1]) if scope), "detector")


@contextmanager
def _without_tqdm_monitor() -> Iterator[None]:
    """Where torch's exporter counts with tqdm, that would leave a thread behind for good."""
    if importlib.util.find_spec("tqdm") is None:
        yield
        return
    bar: Any = importlib.import_module("tqdm").tqdm
    before, bar.monitor_interval = bar.monitor_interval, 0
    try:
        yield
    finally:
        bar.monitor_interval = before
