"""Exports of every kind in the runtimes that read them, and what cannot be opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from runtime_cases import (
    CANVAS,
    GREY,
    KEYPOINTS,
    MIN_SCORE,
    Exports,
    assert_equal,
    eager,
    frame,
    with_manifest,
)

from models.deploy.manifest import Kind
from models.errors import ModelError, UsageError
from models.runtimes import openvino as openvino_module
from models.runtimes.exported import SUFFIXES, open_exported
from models.runtimes.static import LARGEST_BATCH, StaticRuntime
from models.runtimes.torch_static import TorchStatic

# an export takes up to minutes where cores are busy
pytestmark = [pytest.mark.usefixtures("one_torch_thread"), pytest.mark.timeout(900)]


# Kinds and batches of exports


@pytest.fixture(params=["onnxruntime", "openvino fp32", "openvino bf16", "torch"])
def open_kind(request: pytest.FixtureRequest, exports: Exports) -> Callable[[Kind], StaticRuntime]:
    name, _, precision = request.param.partition(" ")
    if precision == "bf16" and openvino_module.best_precision() != "bf16":
        pytest.skip("this processor does not compute in bf16")

    def open_it(kind: Kind) -> StaticRuntime:
        if name == "torch":
            return TorchStatic.of_model(exports.model(kind), CANVAS, min_score=MIN_SCORE, threads=1)
        return open_exported(
            exports.file(".onnx", kind),
            runtime=name,
            min_score=MIN_SCORE,
            precision=precision or "auto",
            threads=1,
        )

    return open_it


@pytest.mark.slow
def test_boxes_alone(open_kind: Callable[[Kind], StaticRuntime], exports: Exports) -> None:
    with open_kind("boxes") as runtime:
        found, nothing = runtime.infer_many([runtime.preprocess(each) for each in (frame(), GREY)])
    with eager(exports, MIN_SCORE, "boxes") as original:
        expected = original.infer(original.preprocess(frame()))
    assert found.masks is None
    assert found.keypoints is None
    assert len(nothing) == 0
    if runtime.precision == "fp32":
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.05)
    else:
        assert len(found) > 3


@pytest.mark.slow
def test_keypoints(open_kind: Callable[[Kind], StaticRuntime], exports: Exports) -> None:
    with open_kind("keypoints") as runtime:
        found, nothing = runtime.infer_many([runtime.preprocess(each) for each in (frame(), GREY)])
    with eager(exports, MIN_SCORE, "keypoints") as original:
        expected = original.infer(original.preprocess(frame()))
    assert found.masks is None
    assert found.keypoints is not None
    assert found.keypoints.shape == (len(found), KEYPOINTS, 3)
    assert nothing.keypoints is not None
    assert nothing.keypoints.shape == (0, KEYPOINTS, 3)
    inside = (found.keypoints[..., :2] >= found.boxes[:, None, :2] - 1) & (
        found.keypoints[..., :2] <= found.boxes[:, None, 2:] + 1
    )
    assert inside.all()
    if runtime.precision == "fp32":
        assert expected.keypoints is not None
        distances = np.abs(found.keypoints - expected.keypoints)[..., :2].max(axis=2)
        assert (distances < 0.1).mean() > 0.95  # two places of a random map may be as high


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_fixed_batch_is_filled_up(runtime: str, exports: Exports, tmp_path: Path) -> None:
    """An export for any number of pictures says that it takes two."""
    model = onnx.load(exports.file(".onnx"))
    twos = with_manifest(model, tmp_path / "two.onnx", batch=2)
    settings: dict[str, Any] = {"runtime": runtime, "threads": 1, "precision": "fp32"}
    with (
        open_exported(exports.file(".onnx"), **settings) as any_number,
        open_exported(twos, **settings) as two,
    ):
        canvases = [two.preprocess(frame(k)) for k in (0, 50, 100)]
        expected = any_number.infer_many(canvases)
        for found, other in zip(two.infer_many(canvases), expected, strict=True):
            assert_equal(found, other)


def test_many_pictures_are_taken_in_parts(exports: Exports) -> None:
    sizes = []

    class Counting(TorchStatic):
        def _launched(self, rows: Any) -> Any:
            sizes.append(len(rows))
            return super()._launched(rows)

    with Counting.of_model(exports.model(), CANVAS, threads=1) as runtime:
        found = runtime.infer_many([runtime.preprocess(GREY)] * (LARGEST_BATCH + 2))
    assert sizes == [LARGEST_BATCH, 2]
    assert len(found) == LARGEST_BATCH + 2


# What cannot be opened


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_is_not_there(suffix: str) -> None:
    with pytest.raises(UsageError, match=f"There is no file nowhere{suffix}"):
        open_exported(Path(f"nowhere{suffix}"))


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ends in none of \.onnx, \.xml, \.pt2, \.e"):
        open_exported(tmp_path / "model.plan")


READERS = [
    (".onnx", "openvino"),
    (".onnx", "onnxruntime"),
    (".xml", "openvino"),
    (".pt2", "torch"),
]


@pytest.mark.parametrize(("suffix", "runtime"), READERS)
@pytest.mark.parametrize("content", [b"", b"\x00\xff" * 500, b"<net", b"PK\x03\x04 no archive"])
def test_a_file_that_is_no_model(suffix: str, runtime: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="export") as raised:
        open_exported(path, runtime=runtime)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "runtime"), READERS)
@pytest.mark.parametrize("share", [0.3, 0.97])
def test_a_file_that_was_cut_off(
    suffix: str, runtime: str, share: float, exports: Exports, tmp_path: Path
) -> None:
    whole = exports.file(suffix).read_bytes()
    path = tmp_path / f"model{suffix}"
    path.write_bytes(whole[: int(share * len(whole))])
    if suffix == ".xml":
        weights = exports.file(suffix).with_suffix(".bin").read_bytes()
        path.with_suffix(".bin").write_bytes(weights)
    with pytest.raises(ModelError, match="export"):
        open_exported(path, runtime=runtime)


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_a_model_that_is_no_export(runtime: str, tmp_path: Path) -> None:
    port = [onnx.helper.make_tensor_value_info(name, 1, [1]) for name in "xy"]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["y"])], "other", port[:1], port[1:]
    )
    opset = onnx.helper.make_opsetid("", 20)
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10), tmp_path / "a.onnx"
    )
    with pytest.raises(ModelError, match="no export of rcnn-live: make one with"):
        open_exported(tmp_path / "a.onnx", runtime=runtime)


def test_a_pt2_that_is_no_export(tmp_path: Path) -> None:
    program = torch.export.export(torch.nn.ReLU(), (torch.zeros(1),))
    torch.export.save(program, tmp_path / "a.pt2")
    with pytest.raises(ModelError, match="no export of rcnn-live: make one with"):
        open_exported(tmp_path / "a.pt2")


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "runtime"), READERS)
def test_a_lower_min_score_than_the_export_has(suffix: str, runtime: str, exports: Exports) -> None:
    with pytest.raises(UsageError, match=r"above a score of 0\.05"):
        open_exported(exports.file(suffix), runtime=runtime, min_score=0.01)


# Precision and device


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "runtime", "precision", "message"),
    [
        (".onnx", "onnxruntime", "bf16", "This export is fp32, and ONNX Runtime computes as"),
        (".onnx", "openvino", "int8", "OpenVINO computes in fp32 or bf16, not in int8"),
        (".pt2", "torch", "bf16", "PyTorch computes exports in fp32"),
    ],
)
def test_a_precision_that_a_runtime_does_not_have(
    suffix: str, runtime: str, precision: str, message: str, exports: Exports
) -> None:
    with pytest.raises(UsageError, match=message):
        open_exported(exports.file(suffix), runtime=runtime, precision=precision)
