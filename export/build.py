"""From a model with weights to one exported file, with its manifest inside and beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN

from export.files import publish, side_file, staging, write
from export.identity import versions, weights_digest
from export.onnx import to_onnx
from export.precision import HALVES, in_half
from models import zoo
from models.deploy.graph import StaticGraph, static_graph
from models.deploy.manifest import Form, Manifest
from models.errors import ModelError, UsageError
from models.letterbox import Image
from models.zoo import LoadedModel

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "pt2": ".pt2"}
To = Literal["onnx", "openvino", "pt2"]


def export_model(
    loaded: LoadedModel,
    weights: Path | None,
    *,
    canvas: tuple[int, int],
    output: Path,
    to: str = "onnx",
    batch: int | None = 1,
    precision: str = "fp32",
    min_score: float = 0.05,
    calibrate: Sequence[Image] = (),
    form: Form = "split",
) -> Path:
    """Make ``MODEL-HxW-PRECISION`` with its manifest beside it. It is not proven yet.

    Args:
        loaded: an R-CNN.
        weights: the file its weights are from, None for the zoo's own.
        canvas: (height, width) px.
        output: folder for the files, which appear whole or not at all.
        to: one of ``SUFFIXES``.
        batch: pictures at a time; None for any number.
        precision: ``fp32``, ``fp16``, ``bf16`` or ``int8``.
        min_score: objects below are left out of the graph for good.
        calibrate: pictures (h,w,3) uint8 RGB to measure activations on, for int8.
        form: ``split``, or ``whole`` for GPUs, which is ONNX.

    Returns:
        the file; OpenVINO's weights lie beside it as .bin.

    Raises:
        UsageError: if ``to`` and ``precision`` do not go together, or int8 lacks pictures.
        ModelError: if the model is no R-CNN, or cannot be exported or written.
    """
    check_precision(to, precision)
    if precision == "int8" and not calibrate:
        raise UsageError("int8 is measured on pictures: give --calibrate VIDEO|FOLDER|demo.")
    graph = _graph(loaded, canvas, min_score)
    manifest = Manifest(
        model=loaded.name,
        kind=graph.kind,
        class_names=loaded.class_names,
        canvas=canvas,
        batch=batch,
        precision=precision,
        min_score=min_score,
        max_detections=graph.detector.boxes.count,
        padding_rgb=graph.padding_rgb,
        weights_sha256=weights_digest(loaded, weights),
        versions=versions(),
        form=form,
    )
    height, width = canvas
    with staging(output) as folder:
        path = folder / f"{loaded.name}-{height}x{width}-{precision}{SUFFIXES[to]}"
        _write(graph, manifest, path, calibrate)
        write(side_file(path), manifest.to_json().encode())
        return publish(path, output)


def check_precision(to: str, precision: str) -> None:
    """Whether that form can have that precision.

    Raises:
        UsageError: if not.
    """
    if to == "pt2" and precision != "fp32":
        raise UsageError(f"A .pt2 is always fp32: for {precision} use --to openvino or --to onnx.")


def check_is_rcnn(name: str) -> None:
    """Refuse a single-stage model by its name, before its weights are fetched.

    Raises:
        UsageError: if it is one.
    """
    if name in zoo.model_names() and "rcnn" not in name:
        able = ", ".join(known for known in zoo.model_names() if "rcnn" in known)
        raise UsageError(f"{name} is no R-CNN and has no static graph: use one of {able}.")


def _graph(loaded: LoadedModel, canvas: tuple[int, int], min_score: float) -> StaticGraph:
    if not isinstance(loaded.module, GeneralizedRCNN):
        raise ModelError(
            f"{loaded.name} is no R-CNN: only Faster, Mask and Keypoint R-CNN have a static graph."
        )
    heads = loaded.module.roi_heads
    before, heads.score_thresh = heads.score_thresh, min_score
    try:
        return static_graph(loaded.module, canvas)
    except RuntimeError as error:  # a canvas smaller than the backbone can halve
        raise ModelError(
            f"{loaded.name} does not work at {canvas[0]}x{canvas[1]} px: give a larger --canvas."
        ) from error
    finally:
        heads.score_thresh = before


def _write(graph: StaticGraph, manifest: Manifest, path: Path, calibrate: Sequence[Image]) -> None:
    if path.suffix == ".pt2":
        from export.pt2 import write_pt2

        write_pt2(graph, manifest, path)
        return
    model = to_onnx(graph, manifest)
    if manifest.precision == "int8":
        from export.int8 import quantise

        model = quantise(model, manifest, calibrate)
    if path.suffix == ".xml":
        from export.openvino import write_openvino

        write_openvino(model, manifest, path)
        return
    if manifest.precision in HALVES:
        model = in_half(model, manifest.precision)
    write(path, model.SerializeToString())
