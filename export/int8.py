"""An ONNX model with 8-bit weights and activations, by what it computes on real pictures."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.quant_utils import add_pre_process_metadata

from models.deploy.manifest import (
    KEPT_LABELS,
    KEPT_UNDER,
    PIXELS,
    UNDER,
    Manifest,
)
from models.letterbox import Image
from models.runtimes.static import fitted

# The last layer before scores, coordinates, masks and keypoints: little work, and every digit is
# seen in the result
PREDICTORS = ("cls_logits", "bbox_pred", "cls_score", "mask_fcn_logits", "kps_score_lowres")
LAYERS = ["Conv", "ConvTranspose", "Gemm", "MatMul"]
OBJECTS = 8  # of a picture, on which the second graph is measured


def quantise(
    model: onnx.ModelProto, manifest: Manifest, pictures: Sequence[Image]
) -> onnx.ModelProto:
    """A copy whose layers take and give 8 bits, in QDQ form: QuantizeLinear, DequantizeLinear.

    Weights have a scale for each output channel, activations one for all, measured on the
    pictures. Everything but convolutions and matrix products stays fp32. In a whole graph zero is
    zero in 8 bits, too, and biases stay fp32, as TensorRT knows it no other way.

    Args:
        model: of ``export.onnx``, fp32.
        manifest: its.
        pictures: (h,w,3) uint8 RGB.
    """
    is_symmetric = manifest.form == "whole"
    given = onnx.ModelProto()
    given.CopyFrom(model)  # the quantiser moves the weights of what it is given to a file
    add_pre_process_metadata(given)  # it is simplified and has shapes already
    with tempfile.TemporaryDirectory() as folder, _silent():
        path = Path(folder) / "int8.onnx"
        quantize_static(
            given,
            path,
            _Reader(model, manifest, pictures),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=LAYERS,
            per_channel=True,
            activation_type=QuantType.QInt8 if is_symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_exact_layers(model),
            extra_options={"ActivationSymmetric": True, "QuantizeBias": False}
            if is_symmetric
            else {},
        )
        quantised = onnx.load(path)
    del quantised.metadata_props[:]
    quantised.metadata_props.extend(
        note for note in model.metadata_props if not note.key.startswith("onnx.")
    )
    onnx.checker.check_model(quantised, full_check=True)
    return quantised


def _exact_layers(model: onnx.ModelProto) -> list[str]:
    """Names of layers that stay fp32: predictors, and depthwise convolutions.

    Each channel of a depthwise one has a range of its own, and activations have one scale for all:
    with them the embedded model's AP@0.5 falls by 0.05, without by nothing. They are little work.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}

    def is_depthwise(node: onnx.NodeProto) -> bool:
        group = next((each.i for each in node.attribute if each.name == "group"), 1)
        weight = weights.get(node.input[1])
        return group > 1 and weight is not None and weight.dims[1] == 1

    return [
        node.name
        for node in model.graph.node
        if node.op_type in LAYERS
        and (is_depthwise(node) or any(part in name for name in node.input for part in PREDICTORS))
    ]


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Feeds both graphs: pictures, and what the first one finds in them."""

    def __init__(
        self, model: onnx.ModelProto, manifest: Manifest, pictures: Sequence[Image]
    ) -> None:
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        self._taken = {port.name for port in self._session.get_inputs()}
        self._feeds = self._all(manifest, pictures)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)

    def _all(self, manifest: Manifest, pictures: Sequence[Image]) -> Iterator[dict[str, Any]]:
        for picture in pictures:
            pixels = fitted(picture, manifest.canvas, manifest.padding_rgb).pixels
            yield self._feed(np.stack([pixels] * (manifest.batch or 1)))

    def _feed(self, pixels: Image) -> dict[str, Any]:
        feed: dict[str, Any] = {PIXELS: pixels}
        if KEPT_UNDER in self._taken:
            empty = {
                port.name: np.zeros(
                    (1, *port.shape[1:]), np.int64 if port.name == KEPT_LABELS else np.float32
                )
                for port in self._session.get_inputs()
                if port.name != PIXELS
            }
            under, labels = self._session.run([UNDER, "labels"], feed | empty)
            feed[KEPT_UNDER] = under[0, :OBJECTS]
            if KEPT_LABELS in self._taken:
                feed[KEPT_LABELS] = labels[0, :OBJECTS]
        return feed


@contextmanager
def _silent() -> Iterator[None]:
    """Without the hints and deprecations of the quantiser, which no user can act on."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(before)
