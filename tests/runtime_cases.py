"""Every way to run the embedded model at one small canvas, and the exports that some need."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import torch
from filelock import FileLock
from torch import nn
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor

from export.build import export_model
from export.onnx import _convert
from export.openvino import write_openvino
from export.traced import trace_details
from models import zoo
from models.deploy.graph import static_graph
from models.deploy.manifest import (
    DETAILS,
    DETECTOR_OUTPUTS,
    KEPT_PREFIX,
    METADATA,
    PIXELS,
    UNDER,
    Kind,
    Manifest,
)
from models.detections import Detections
from models.letterbox import Image
from models.runtimes.base import Runtime
from models.runtimes.cpu import one_thread
from models.runtimes.onnxruntime import OnnxRuntime
from models.runtimes.openvino import OpenVino
from models.runtimes.torch_eager import TorchEager
from models.runtimes.torch_static import TorchStatic
from models.zoo import LoadedModel
from stream.sources.demo import DemoPicture

CANVAS = 192, 256  # (height, width) px
MIN_SCORE = 0.05
KEYPOINTS = 5
GREY = np.full((480, 640, 3), 114, np.uint8)  # nobody is in it


@cache
def frame(k: int = 0) -> Image:
    """People, 640x480 px: the canvas is just what torchvision's own resize makes of it."""
    return np.ascontiguousarray(DemoPicture().draw(k)[:, 100:740])


def model_of(kind: Kind) -> LoadedModel:
    """The embedded model; with only its boxes; or with keypoint heads, whose weights are random."""
    loaded = zoo.load()
    loaded.module.transform.min_size = (CANVAS[0],)
    loaded.module.transform.max_size = CANVAS[1]
    heads = loaded.module.roi_heads
    pool = heads.mask_roi_pool
    if kind != "masks":
        heads.mask_roi_pool = heads.mask_head = heads.mask_predictor = None
    if kind == "keypoints":
        torch.manual_seed(0)
        heads.keypoint_roi_pool = pool
        heads.keypoint_head = KeypointRCNNHeads(96, (16, 16))
        heads.keypoint_predictor = KeypointRCNNPredictor(16, KEYPOINTS)
        _make_decisive(heads.keypoint_predictor)
    return loaded


def _make_decisive(predictor: nn.Module) -> None:
    """Without this, random heatmaps are flat and rounding decides where they are highest."""
    predictor.kps_score_lowres.weight.data *= 100


class Exports:
    """Files that are made when they are asked for, which takes up to a minute each.

    Args:
        folder: where to put them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loaded: dict[Kind, LoadedModel] = {}

    def model(self, kind: Kind = "masks") -> LoadedModel:
        """A copy of the model that the files of this kind are made from."""
        if kind not in self.loaded:
            self.loaded[kind] = model_of(kind)
        return copy.deepcopy(self.loaded[kind])

    def file(self, suffix: str, kind: Kind = "masks") -> Path:
        """One for any number of pictures; a .pt2 of masks only."""
        path = self.folder / f"{kind}{suffix}"
        with FileLock(path.with_name(f"{path.name}.lock")):  # another process may make it, too
            if not path.exists():
                self._make(path, kind)
        return path

    def _make(self, path: Path, kind: Kind) -> None:
        if path.suffix == ".xml":
            model = onnx.load(self.file(".onnx", kind))
            write_openvino(model, manifest_in(model), path)
        elif kind != "masks":
            onnx.save(self._of_kind(kind), path)
        else:
            made = export_model(
                self.model(),
                None,
                canvas=CANVAS,
                output=self.folder,
                to={".onnx": "onnx", ".pt2": "pt2"}[path.suffix],
                batch=None,
                min_score=MIN_SCORE,
            )
            made.rename(path)

    def _of_kind(self, kind: Kind) -> onnx.ModelProto:
        """The masks' first graph, with another second one or none."""
        masks = onnx.load(self.file(".onnx"))
        manifest = replace(manifest_in(masks), kind=kind)
        more = [UNDER] if kind == "keypoints" else []
        model = onnx.utils.Extractor(masks).extract_model([PIXELS], [*DETECTOR_OUTPUTS, *more])
        if kind == "keypoints":
            graph = static_graph(self.model(kind).module, CANVAS)
            details = _convert(trace_details(graph), ["under"], [DETAILS.removeprefix(KEPT_PREFIX)])
            details = onnx.compose.add_prefix(details, KEPT_PREFIX)
            details.ir_version = model.ir_version
            model = onnx.compose.merge_models(model, details, io_map=[])
        onnx.helper.set_model_props(model, {METADATA: manifest.to_json()})
        return model


def manifest_in(model: onnx.ModelProto) -> Manifest:
    (text,) = (note.value for note in model.metadata_props if note.key == METADATA)
    return Manifest.from_json(text, "a test's")


def with_manifest(model: onnx.ModelProto, path: Path, **changes: object) -> Path:
    """A copy of a model that says something else about itself."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    manifest = replace(manifest_in(model), **changes)  # type: ignore[arg-type]
    onnx.helper.set_model_props(changed, {METADATA: manifest.to_json()})
    onnx.save(changed, path)
    return path


@dataclass(frozen=True)
class Case:
    """One way to run the model.

    Attributes:
        name: what the runtime calls itself.
        open: from exports and a least score.
        precision: that it states.
        is_slow_to_open: too slow to be opened by more than one test.
    """

    name: str
    open: Callable[[Exports, float], Runtime]
    precision: str = "fp32"
    is_slow_to_open: bool = False

    def __str__(self) -> str:
        return f"{self.name}-{self.precision}"


def openvino(suffix: str, precision: str, hint: str = "LATENCY") -> Callable[..., Runtime]:
    return lambda exports, min_score: OpenVino(
        exports.file(suffix), min_score=min_score, precision=precision, threads=1, hint=hint
    )


def torch_static(*, compiled: bool = False) -> Callable[..., Runtime]:
    return lambda exports, min_score: TorchStatic.of_model(
        exports.model(), CANVAS, min_score=min_score, threads=1, compiled=compiled
    )


def eager(exports: Exports, min_score: float, kind: Kind = "masks") -> Runtime:
    with one_thread():
        return TorchEager(exports.model(kind), min_score=min_score, device="cpu")


CASES = {
    "torch-eager": Case("torch-eager", eager),
    "torch": Case("torch", torch_static()),
    "torch-compiled": Case("torch-compiled", torch_static(compiled=True), is_slow_to_open=True),
    "torch-pt2": Case(
        "torch",
        lambda exports, min_score: TorchStatic.of_file(
            exports.file(".pt2"), min_score=min_score, threads=1
        ),
    ),
    "onnxruntime": Case(
        "onnxruntime",
        lambda exports, min_score: OnnxRuntime(
            exports.file(".onnx"), min_score=min_score, threads=1
        ),
    ),
    "openvino-onnx": Case("openvino", openvino(".onnx", "fp32")),
    "openvino-xml": Case("openvino", openvino(".xml", "fp32")),
    "openvino-throughput": Case("openvino", openvino(".xml", "fp32", "THROUGHPUT")),
    "openvino-bf16": Case("openvino", openvino(".xml", "bf16"), "bf16"),
}
NEED_NO_EXPORT = ("torch-eager", "torch")


def assert_equal(found: Detections, expected: Detections, *, px: float = 1e-3) -> None:
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=px)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    np.testing.assert_array_equal(found.labels, expected.labels)
    if expected.masks is not None:
        np.testing.assert_allclose(found.masks, expected.masks, atol=1e-3)
