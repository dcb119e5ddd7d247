"""Detectors of other projects: recognised, described, decoded, and run like every other model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from foreign_cases import (
    BOXES,
    CLASSES,
    KEYPOINT,
    LABELS,
    LAYOUTS,
    SCORES,
    SIDE,
    Array,
    boxes_by_name,
    end_to_end,
    write_detector,
    yolov8,
    yolox_decoded,
)
from onnx import TensorProto, helper, numpy_helper

from export.deployed import open_runtime
from models.errors import ModelError, UsageError
from models.evaluation.command import evaluate
from models.foreign.runtime import ForeignDetector
from models.runtimes.base import Canvas
from models.runtimes.files import is_foreign

NAMES = "{0: 'cat', 1: 'dog', 2: 'cow'}"
GREY = np.full((96, 128, 3), 90, np.uint8)  # half of it is a canvas of 64x48 px


def notes(layout: str) -> dict[str, str]:
    return {"names": NAMES} | ({"kpt_shape": "[1, 3]"} if "keypoints" in layout else {})


@pytest.fixture(params=LAYOUTS)
def detector(request: pytest.FixtureRequest, tmp_path: Path) -> ForeignDetector:
    make, _ = LAYOUTS[request.param]
    return ForeignDetector(
        write_detector(tmp_path / "them.onnx", make(), notes=notes(request.param)), min_score=0.3
    )


def test_every_layout_is_recognised_and_decoded(
    detector: ForeignDetector, request: pytest.FixtureRequest
) -> None:
    layout = request.node.callspec.params["detector"]
    assert detector.recognised.layout == LAYOUTS[layout][1]
    assert detector.class_names == ("cat", "dog", "cow")
    with detector:
        found = detector.detect(GREY)
    scale = np.array([2, 2] * 2) if not detector.recognised.is_stretched else (2, 1.5, 2, 1.5)
    expected = np.minimum(BOXES * scale, (128, 96, 128, 96))
    assert found.boxes == pytest.approx(expected, abs=0.01)
    assert found.scores == pytest.approx(SCORES, abs=1e-4)
    assert tuple(found.labels) == LABELS


def test_masks_lie_over_their_boxes(tmp_path: Path) -> None:
    make, _ = LAYOUTS["yolov8 masks"]
    path = write_detector(tmp_path / "seg.onnx", make(), notes={"names": NAMES})
    with ForeignDetector(path) as detector:
        masks = detector.detect(GREY).masks
    assert masks is not None
    assert masks[0].min() > 0.9  # its box ends left of the middle of the canvas
    assert masks[1][:, 3:].max() < 0.1  # and this one begins there, at 30.5 of 62 px
    assert masks[1][:, 0].min() > 0.5


def test_keypoints_are_in_the_frame(tmp_path: Path) -> None:
    make, _ = LAYOUTS["yolov8 keypoints"]
    path = write_detector(tmp_path / "pose.onnx", make(), notes=notes("keypoints"))
    with ForeignDetector(path) as detector:
        keypoints = detector.detect(GREY).keypoints
    x, y, score = KEYPOINT
    assert keypoints == pytest.approx(np.array([[[2 * x, 2 * y, score]]] * 2))


def looking_detector(path: Path) -> Path:
    """Its score is the mean of the first of the colours as it is given."""
    nodes = [
        helper.make_node("Split", ["images"], ["first", "second", "third"], axis=1),
        helper.make_node("ReduceMean", ["first"], ["mean"], keepdims=0),
        helper.make_node("Reshape", ["mean", "shape"], ["scores"]),
    ]
    given: dict[str, Array] = {
        "shape": np.array([1, 1], np.int64),
        "boxes": BOXES[None, :1],
        "labels": np.zeros((1, 1), np.int64),
    }
    constants = [numpy_helper.from_array(value, name) for name, value in given.items()]
    outputs = [
        helper.make_tensor_value_info(name, kind, shape)
        for name, kind, shape in (
            ("boxes", TensorProto.FLOAT, [1, 1, 4]),
            ("labels", TensorProto.INT64, [1, 1]),
            ("scores", TensorProto.FLOAT, [1, 1]),
        )
    ]
    picture = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    graph = helper.make_graph(nodes, "looking", [picture], outputs, constants)
    opset = helper.make_opsetid("", 11)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    return path


@pytest.mark.parametrize(
    ("described", "score"),
    [
        ("", 200 / 255),
        ("colour: bgr", 51 / 255),
        ("scale: 0.002", 0.4),
        ("{mean: [0.1, 0, 0], std: [2, 1, 1]}", (200 / 255 - 0.1) / 2),
    ],
)
def test_it_is_shown_what_the_description_says(
    tmp_path: Path, described: str, score: float
) -> None:
    path = looking_detector(tmp_path / "looks.onnx")
    (tmp_path / "looks.yaml").write_text(described)
    picture = np.full((SIDE, SIDE, 3), (200, 100, 51), np.uint8)
    with ForeignDetector(path, min_score=0.0) as detector:
        assert detector.detect(picture).scores == pytest.approx([score], abs=1e-4)


def test_a_description_decides(tmp_path: Path) -> None:
    path = write_detector(tmp_path / "them.onnx", yolov8())
    (tmp_path / "them.yml").write_text("{classes: [a, b, c], fit: stretch, iou: 1.0}")
    with ForeignDetector(path) as detector:
        found = detector.detect(GREY)
    assert detector.class_names == ("a", "b", "c")
    assert detector.recognised.is_stretched
    assert len(found) == 3  # nothing is suppressed


def test_any_canvas_is_the_description_s_or_the_file_s(tmp_path: Path) -> None:
    path = write_detector(tmp_path / "any.onnx", yolox_decoded(), canvas=("height", "width"))
    with pytest.raises(ModelError, match="no layout that is known"):  # at 640x640 px
        ForeignDetector(path)
    (tmp_path / "any.yaml").write_text(f"canvas: [{SIDE}, {SIDE}]")
    assert ForeignDetector(path).recognised.layout == "yolox"
    write_detector(path, yolov8(), canvas=("h", "w"), notes={"imgsz": f"[{SIDE}, {SIDE}]"})
    (tmp_path / "any.yaml").unlink()
    assert ForeignDetector(path).recognised.canvas == (SIDE, SIDE)


def test_a_side_that_the_file_fixes_is_kept(tmp_path: Path) -> None:
    path = write_detector(tmp_path / "wide.onnx", yolov8(), canvas=(SIDE, "width"))
    (tmp_path / "wide.yaml").write_text(f"canvas: [32, {SIDE}]")
    with ForeignDetector(path) as detector:
        assert detector.recognised.canvas == (SIDE, SIDE)
        assert len(detector.detect(GREY)) == 2


def test_a_canvas_that_a_file_does_not_take_is_told(tmp_path: Path) -> None:
    path = looking_detector(tmp_path / "looks.onnx")
    with ForeignDetector(path) as detector:
        canvas = detector.preprocess(GREY)
        wrong = Canvas(canvas.pixels[..., :40], canvas.letterbox)
        with pytest.raises(ModelError, match=r"looks.onnx cannot compute .* describe its canvas"):
            detector.infer(wrong)


def test_a_size_that_is_asked_for_is_the_canvas_s(tmp_path: Path) -> None:
    path = write_detector(tmp_path / "rtdetr.onnx", boxes_by_name(), size_input=True)
    with ForeignDetector(path) as detector:
        assert len(detector.detect(GREY)) == 2


def test_names_without_any_are_numbers(tmp_path: Path) -> None:
    path = write_detector(tmp_path / "them.onnx", yolov8())
    assert ForeignDetector(path).class_names == tuple(f"class {k}" for k in range(CLASSES))


@pytest.mark.parametrize(
    ("described", "sentence"),
    [
        ("layout: yolo9000", "layout: Input should be 'yolov5'"),
        ("colours: rgb", r"colours: .*Keys are layout, classes, canvas"),
        ("iou: 2", "iou: Input should be less than or equal to 1"),
        ("std: [1, 0, 1]", "std.1: Input should be greater than 0"),
        ("mean: [.nan, 0, 0]", "mean.0: Input should be a finite number"),
        ("layout: [", "cannot be read as YAML"),
        ("just words", "the whole: Input should be a valid dictionary"),
    ],
)
def test_a_wrong_description_is_told(tmp_path: Path, described: str, sentence: str) -> None:
    path = write_detector(tmp_path / "them.onnx", yolov8())
    (tmp_path / "them.yaml").write_text(described)
    with pytest.raises(UsageError, match=sentence):
        ForeignDetector(path)


def test_names_that_do_not_fit_are_told(tmp_path: Path) -> None:
    path = write_detector(tmp_path / "them.onnx", yolov8())
    (tmp_path / "them.yaml").write_text("classes: [a]")
    with pytest.raises(ModelError, match="tells 3 classes apart, but 1 names are given"):
        ForeignDetector(path)


def test_what_is_no_detector_is_told(tmp_path: Path) -> None:
    path = write_detector(tmp_path / "odd.onnx", {"logits": np.zeros((1, 1000), np.float32)})
    with pytest.raises(ModelError, match=r"gives logits \[1, 1000\] for 64x64 px, which is no"):
        ForeignDetector(path)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ModelError, match="damaged or no ONNX model"):
        ForeignDetector(broken)
    with pytest.raises(UsageError, match="There is no file"):
        open_runtime(str(tmp_path / "none.onnx"))


def test_by_its_file_name_it_runs_like_any_other(tmp_path: Path) -> None:
    path = write_detector(tmp_path / "them.onnx", end_to_end(), notes={"names": NAMES})
    assert is_foreign(path)
    with open_runtime(str(path), min_score=0.8) as runtime:
        runtime.warm_up((320, 240))
        assert runtime.detect(GREY).names() == ["cow"]
    with pytest.raises(UsageError, match="openvino runs no others"):
        open_runtime(str(path), runtime="openvino")
    with pytest.raises(UsageError, match="leave out --device cuda"):
        open_runtime(str(path), device="cuda")
    with pytest.raises(UsageError, match="computes in fp32"):
        open_runtime(str(path), precision="bf16")


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "least"), [("yolox_nano_bigisland", 0.45), ("FastestDet", 0.28)])
def test_models_of_others_find_what_coco_labels(
    tmp_path: Path, shared: Path, name: str, least: float
) -> None:
    figures = tmp_path / "figures.json"
    command = [
        str(shared / "data/coco128"),
        "--images",
        str(shared / "data/coco128/images"),
    ]
    command += ["--part", "all", "--model", str(shared / f"peers/{name}.onnx")]
    result = CliRunner().invoke(evaluate, [*command, "--min-score", "0.01", "--json", str(figures)])
    assert result.exit_code == 0, result.output
    assert json.loads(figures.read_text())["scores"]["box"]["ap50"] > least
