"""Our graphs in TensorRT's own parser and compiler, by our own code, without a GPU."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import export_case as case
import numpy as np
import onnx
import pytest
import tensorrt_names
import tensorrt_rtx
import torch
import torchvision
from tensorrt_rtx import Order
from test_zoo import EVERY_MODEL

from export.int8 import quantise
from export.onnx import to_onnx
from export.precision import HALVES, in_half
from models import zoo
from models.deploy.graph import static_graph
from models.deploy.manifest import METADATA, Manifest, side_file

Found = dict[str, Any]
SMALL = (128, 160)  # a canvas, (height, width) px
PRECISIONS = ("fp32", *HALVES, "int8")
RAW = Manifest(
    model="raw",
    kind="boxes",
    class_names=("a", "b"),
    canvas=(8, 12),
    batch=1,
    precision="fp32",
    min_score=0.05,
    max_detections=100,
    padding_rgb=(0, 0, 0),
    weights_sha256="",
    versions={},
    form="whole",
)

TRANSPOSED = """(float[1,1,16,24] y) <float[48] v = {ONES}, int64[4] s = {3, 1, 4, 4}> {
  f = Cast <to = 1> (pixels)
  t = Transpose <perm = [0, 3, 1, 2]> (f)
  x = Cast <to = KIND> (t)
  r = Reshape (v, s)
  w = Cast <to = KIND> (r)
  z = ConvTranspose <strides = [2, 2], pads = [1, 1, 1, 1]> (x, w)
  y = Cast <to = 1> (z)
}""".replace("ONES", ", ".join(["1"] * 48))


@pytest.fixture(scope="module")
def places() -> list[Path]:
    try:
        return tensorrt_rtx.fetch(tensorrt_names.ROOT / ".pytest_cache" / "tensorrt")
    except tensorrt_names.Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture
def build(places: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("RCNN_LIVE_CACHE", str(tmp_path / "cache"))
    output = tmp_path / "engines"
    output.mkdir()

    def build(model: onnx.ModelProto, **settings: Any) -> Found:
        graph = tmp_path / "graph.onnx"
        graph.write_bytes(model.SerializeToString())
        return tensorrt_rtx.build(Order(str(graph), str(output), **settings), places)

    return build


def written(body: str, opset: int = 20) -> onnx.ModelProto:
    """A small graph that takes what ours take."""
    text = f'<ir_version: 10, opset_import: ["" : {opset}]> g (uint8[1,8,12,3] pixels) => {body}'
    model = onnx.parser.parse_model(text)
    onnx.helper.set_model_props(model, {METADATA: RAW.to_json()})
    return model


def exported(name: str, canvas: tuple[int, int], precision: str) -> onnx.ModelProto:
    """One of torchvision's with COCO's classes and random weights, of any batch."""
    model = torchvision.models.get_model(name, weights=None, weights_backbone=None).eval()
    graph = static_graph(model, canvas)
    manifest = dataclasses.replace(
        RAW,
        model=name,
        kind=graph.kind,
        canvas=canvas,
        batch=None,
        precision=precision,
        class_names=("a",) * 91,
    )
    with torch.no_grad():
        found = to_onnx(graph, manifest)
    if precision == "int8":
        noise = np.random.default_rng(0).integers(0, 255, (*canvas, 3), np.uint8)
        return quantise(found, manifest, [noise])
    return in_half(found, precision) if precision in HALVES else found


def size_of(found: Found) -> int:
    assert "error" not in found, found["error"]
    return Path(found["engine"]).stat().st_size


class TestEngines:
    @pytest.mark.slow
    @pytest.mark.timeout(1800)
    @pytest.mark.parametrize("precision", PRECISIONS)
    def test_the_embedded_model(self, build: Any, precision: str) -> None:
        model = case.whole()
        manifest = case.as_it_were(model, precision)
        if precision in HALVES:
            model = in_half(model, precision)
        elif precision == "int8":
            model = quantise(model, manifest, case.people(1))
        found = build(model, batch=(1, 2, 4))
        assert size_of(found) > 0.9 * model.ByteSize()
        described = json.loads(side_file(Path(found["engine"])).read_text(encoding="utf-8"))
        assert described["engine"]["tensorrt"] == tensorrt_rtx.VERSION
        assert described["precision"] == precision
        expected = {"mode": 1, "sampling_ratio": 2, "spatial_scale": 1.0}
        assert sorted(each.pop("output_height") for each in found["roi_aligns"].values()) == [7, 14]
        for values in found["roi_aligns"].values():
            assert expected.items() <= values.items()
            assert values["coordinate_transformation_mode"] == 0, "torchvision's"

    @pytest.mark.slow
    @pytest.mark.timeout(600)
    @pytest.mark.parametrize(
        ("name", "canvas", "precision"),
        [
            ("fasterrcnn_mobilenet_v3_large_320_fpn", SMALL, "fp16"),
            ("keypointrcnn_resnet50_fpn", SMALL, "bf16"),
            ("maskrcnn_resnet50_fpn", (800, 1344), "fp16"),  # as its makers run it
            *(
                pytest.param(name, SMALL, precision, marks=EVERY_MODEL)
                for name in zoo.model_names()
                if "rcnn" in name and name != zoo.EMBEDDED
                for precision in PRECISIONS
            ),
        ],
    )
    def test_torchvision_s(
        self, build: Any, name: str, canvas: tuple[int, int], precision: str
    ) -> None:
        model = exported(name, canvas, precision)
        assert size_of(build(model, batch=(1, 4, 8))) > 0.9 * model.ByteSize()

    def test_timings_that_are_damaged(self, build: Any, tmp_path: Path) -> None:
        model = written("(float[1,8,12,3] y) { y = Cast <to = 1> (pixels) }")
        build(model)
        (kept,) = (tmp_path / "cache").iterdir()
        kept.write_bytes(b"damaged")
        assert size_of(build(model)) > 0


class TestRefusals:
    """What the real one says, in our sentences."""

    def expect(self, found: Found, start: str, kind: str = "ModelError") -> None:
        assert found["kind"] == kind, found
        assert found["error"].startswith(start)
        assert len(found["error"].splitlines()) <= 1

    def test_what_it_cannot_read(self, build: Any) -> None:
        model = written("(float[1,8] y) { c = Cast <to = 1> (pixels) [odd] y = Det (c) }")
        words = f"TensorRT {tensorrt_rtx.VERSION} cannot read Det at odd of raw: unsupported node"
        self.expect(build(model, is_checked=False), words)

    def test_transposed_convolutions_in_bf16(self, build: Any) -> None:
        """Once this fails, ``export.precision`` may have them in bf16, too."""
        assert size_of(build(written(TRANSPOSED.replace("KIND", "1")))) > 0
        model = written(TRANSPOSED.replace("KIND", "16"), opset=22)
        self.expect(build(model, is_checked=False), "TensorRT cannot build raw: ")

    def test_batches_that_do_not_grow(self, build: Any) -> None:
        found = build(written(TRANSPOSED.replace("KIND", "1")), batch=(4, 2, 8))
        self.expect(found, "TensorRT does not take a batch of 4:2:8 for raw: ")

    def test_a_batch_that_the_graph_does_not_have(self, build: Any) -> None:
        found = build(written(TRANSPOSED.replace("KIND", "1")), batch=(1, 4, 8))
        self.expect(found, "TensorRT cannot build raw: ")


@pytest.mark.slow
@pytest.mark.timeout(600)
class TestTheEmbeddedModel:
    def test_only_roi_align_asks_for_a_gpu(self, build: Any) -> None:
        found = build(case.whole(), batch=(1, 2, 4), has_roi_align=False)
        assert "cannot read RoiAlign at detector.boxes.pool/" in found["error"]
        assert "ROIAlign plugin was not found" in found["error"]

    def test_the_workspace_that_it_asks_for_is_enough(self, build: Any) -> None:
        found = build(case.whole(), batch=(1, 2, 4), workspace_mb=1)
        words = r"^mask_rcnn_person needs a workspace of (\d+) MB and may use 1: give --workspace"
        asked = re.match(words, found["error"])
        assert asked, found
        assert size_of(build(case.whole(), batch=(1, 2, 4), workspace_mb=int(asked[1]))) > 0

    def test_ctrl_c(self, build: Any, tmp_path: Path) -> None:
        found = build(case.whole(), batch=(1, 2, 4), is_interrupted=True)
        assert found["kind"] == "KeyboardInterrupt", found
        assert not list((tmp_path / "engines").iterdir())
