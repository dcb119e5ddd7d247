"""Boxes and details in one graph: it gives what the two of a split file give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import export_case as case
import numpy as np
import onnx
import pytest
import torch
from runtime_cases import KEYPOINTS, assert_equal, model_of

from export.frames import CALIBRATION_PHASE, load_frames
from export.int8 import quantise
from export.onnx import to_onnx
from export.precision import HALVES, in_half
from export.verify import verify, ways
from models.deploy.graph import static_graph
from models.deploy.manifest import (
    DETECTOR_OUTPUTS,
    METADATA,
    PIXELS,
    UNDER,
    WHOLE_DETAILS,
    Manifest,
)
from models.detections import Detections, Labels
from models.letterbox import Image
from models.runtimes.exported import open_exported
from models.runtimes.static import Padded, StaticRuntime
from models.runtimes.torch_static import TorchStatic

pytestmark = pytest.mark.usefixtures("one_torch_thread")

GREY = np.full((*case.CANVAS, 3), 114, np.uint8)


# What a manifest says, and what a runtime makes of it


def manifest(**changes: Any) -> Manifest:
    said: dict[str, Any] = {
        "model": "some",
        "kind": "masks",
        "class_names": ("__background__", "person"),
        "canvas": (2, 3),
        "batch": None,
        "precision": "fp32",
        "min_score": 0.05,
        "max_detections": 4,
        "padding_rgb": (1, 2, 3),
        "weights_sha256": "",
        "versions": {},
    }
    return Manifest(**said | changes)


def test_older_manifests_are_split() -> None:
    text = manifest().to_json().replace('"form": "split"', '"format": 1')
    assert '"form"' not in text
    assert Manifest.from_json(text, "a test's") == manifest()
    whole = manifest(form="whole")
    assert Manifest.from_json(whole.to_json(), "a test's") == whole


@pytest.mark.parametrize(
    ("kind", "form", "last"),
    [
        ("masks", "split", UNDER),
        ("masks", "whole", WHOLE_DETAILS),
        ("keypoints", "whole", WHOLE_DETAILS),
        ("boxes", "split", "count"),
        ("boxes", "whole", "count"),
    ],
)
def test_what_it_gives(kind: str, form: str, last: str) -> None:
    outputs = manifest(kind=kind, form=form).outputs
    assert outputs[:4] == DETECTOR_OUTPUTS
    assert outputs[-1] == last


class Given(StaticRuntime):
    """Two pictures' rows, whatever it is shown."""

    name, device = "given", "cpu"

    def _detect(self, pixels: Image) -> Padded:
        rows = np.arange(2 * 4, dtype=np.float32).reshape(2, 4)
        return Padded(
            boxes=np.zeros((2, 4, 4), np.float32),
            scores=np.array([[0.9, 0.6, 0.4, 0], [0.4, 0.3, 0, 0]], np.float32),
            labels=np.ones((2, 4), np.int64),
            counts=np.array([3, 2]),
            details=np.broadcast_to(rows[..., None, None], (2, 4, 28, 28)),
        )

    def _details(self, under: Any, kept: Sequence[int], labels: Labels) -> Any:
        raise AssertionError("there is no second graph")

    def _release(self) -> None: ...


def test_the_first_rows_of_details_are_those_of_kept_objects() -> None:
    with Given(manifest(form="whole", batch=2), min_score=0.5) as runtime:
        found, nothing = runtime.infer_many([runtime.preprocess(GREY)] * 2)
    assert found.masks is not None
    assert found.masks[:, 0, 0].tolist() == [0, 1]
    assert nothing.masks is not None
    assert nothing.masks.shape == (0, 28, 28)


# Graphs


def as_kind(kind: str, folder: Path) -> Path:
    """The whole graph of masks, or what of it is there without them."""
    model = case.whole()
    if kind == "boxes":
        said = replace(case.manifest_of(model), kind="boxes")
        model = onnx.utils.Extractor(model).extract_model([PIXELS], list(said.outputs))
        onnx.helper.set_model_props(model, {METADATA: said.to_json()})
    return case.put(model, folder / f"whole-{kind}.onnx")


def shown(runtime: StaticRuntime) -> list[Detections]:
    return runtime.infer_many([runtime.preprocess(each) for each in (*case.people(2), GREY)])


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_whole_file_finds_what_a_split_one_finds(runtime: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "runtime": runtime,
        "min_score": case.SCORE,
        "precision": "fp32",
        "threads": 1,
    }
    split_file = case.put(case.proto(), tmp_path / "split.onnx")
    with open_exported(split_file, **settings) as split:
        expected = shown(split)
        one = split.infer(split.preprocess(case.people(1)[0]))
    assert len(expected[0]) > 2
    assert len(expected[2]) == 0
    with open_exported(as_kind("masks", tmp_path), **settings) as whole:
        found = shown(whole)
        assert_equal(whole.infer(whole.preprocess(case.people(1)[0])), one)
    with open_exported(as_kind("boxes", tmp_path), **settings) as boxes:
        without_masks = shown(boxes)
    for at, picture in enumerate(expected):
        assert_equal(found[at], picture)
        assert found[at].masks is not None
        assert found[at].masks.shape == (len(picture), 28, 28)
        assert without_masks[at].masks is None
        assert_equal(without_masks[at], replace(picture, masks=None))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_keypoints_of_a_whole_file(tmp_path: Path) -> None:
    """A fixed batch of two, against PyTorch's two graphs."""
    loaded = model_of("keypoints")
    loaded.module.transform.min_size, loaded.module.transform.max_size = (96,), 128  # type: ignore[union-attr]
    loaded.module.roi_heads.score_thresh = case.SCORE  # type: ignore[union-attr]
    with torch.no_grad():
        graph = static_graph(loaded.module, case.CANVAS, iterations=3)
        said = manifest(
            kind="keypoints",
            canvas=case.CANVAS,
            batch=2,
            max_detections=graph.detector.boxes.count,
            form="whole",
        )
        path = case.put(to_onnx(graph, said), tmp_path / "keypoints.onnx")
        split = replace(said, form="split", batch=None)
        with TorchStatic(
            split, graph.detector, graph.details, min_score=case.SCORE, threads=1
        ) as runtime:
            expected = shown(runtime)
    with open_exported(path, runtime="onnxruntime", min_score=case.SCORE, threads=1) as whole:
        found = shown(whole)
    assert len(expected[0]) > 2
    assert found[2].keypoints is not None
    assert found[2].keypoints.shape == (0, KEYPOINTS, 3)
    for one, other in zip(found, expected, strict=True):
        assert_equal(one, other)
        assert one.keypoints is not None
        assert other.keypoints is not None
        beside = np.abs(one.keypoints - other.keypoints)[..., :2].max(2, initial=0) >= 0.1
        assert beside.sum() <= 0.05 * beside.size  # two places of a random map may be as high


# The gate


def test_ways_of_each_precision() -> None:
    rounded = [way.is_rounded for way in ways(Path("a.onnx"), "fp16")]
    assert rounded == [False, False, True]
    bf16 = ways(Path("a.onnx"), "bf16")
    assert [(way.runtime, way.is_rounded) for way in bf16] == [
        ("openvino", False),
        ("onnxruntime", True),
    ]
    assert not any(way.is_rounded for way in ways(Path("a.onnx"), "int8"))
    assert not any(way.is_rounded for way in ways(Path("a.xml"), "bf16"))
    assert [way.runtime for way in ways(Path("a.engine"), "fp16")] == ["tensorrt"]
    assert [way.runtime for way in ways(Path("a.pt2"), "fp32")] == ["torch"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("precision", [*HALVES, "int8"])
def test_a_typed_whole_graph_is_proven(precision: str, tmp_path: Path) -> None:
    if precision == "int8" and not case.sums_bytes_exactly():
        pytest.skip("without VNNI, sums of 8-bit products saturate, and the proof says so")
    model = case.whole()
    said = case.as_it_were(model, precision, batch=1)
    if precision == "int8":
        pictures = load_frames(Path("demo"), 8, phase=CALIBRATION_PHASE, option="--calibrate")
        model = quantise(model, said, pictures)
    else:
        model = in_half(model, precision)
    path = case.put(model, tmp_path / "whole.onnx")
    proof = verify(path, case.person(), case.people(), pictures="the demo")
    assert proof.failure is None
    assert proof.compared
    where = {each.where for each in proof.cases}
    assert ("rounded " + precision in where) == (precision in HALVES)
    scores = [score for each in proof.cases for score in each.ap50.values()]
    assert scores
    assert all(original - export <= 0.01 for original, export in scores)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_number_past_fp16_is_rejected(tmp_path: Path) -> None:
    """OpenVINO, which computes in fp32 here, does not see it."""
    model = case.whole()
    layer = next(node for node in model.graph.node if "fc6" in node.name)
    for name in layer.input[1:]:
        case.perturb(model, name, 1e5)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(1e-5), "small"))
    restored = onnx.helper.make_node("Mul", ["large", "small"], [layer.output[0]], name="restored")
    layer.output[0] = "large"
    model.graph.node.insert(list(model.graph.node).index(layer) + 1, restored)
    case.as_it_were(model, "fp16", batch=1)
    path = case.put(in_half(model, "fp16"), tmp_path / "whole.onnx")
    proof = verify(path, case.person(), case.people(), pictures="the demo")
    assert proof.failure is not None
    openvino = [each for each in proof.cases if each.where == "openvino fp32"]
    assert openvino
    assert not any(each.excess() for each in openvino)
