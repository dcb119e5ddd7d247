"""One contract for every way to run a model: the same objects, the same promises."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from runtime_cases import (
    CANVAS,
    CASES,
    GREY,
    MIN_SCORE,
    NEED_NO_EXPORT,
    Case,
    Exports,
    assert_equal,
    frame,
)
from torchvision.ops import box_iou

from models.detections import Detections
from models.runtimes import onnxruntime as onnxruntime_module
from models.runtimes.base import Canvas, Runtime
from models.runtimes.onnxruntime import OnnxRuntime
from models.runtimes.openvino import best_precision
from models.runtimes.torch_static import TorchStatic

# an export, and what torch.compile makes, take up to minutes where cores are busy
pytestmark = [pytest.mark.usefixtures("one_torch_thread"), pytest.mark.timeout(900)]

PICTURES = (0, 50, 100)
SCORE_MARGIN = 1e-3  # a score so near to the least one may be above it in one runtime only


def parameters(*, reopened: bool = False) -> list[Any]:
    without_bf16 = pytest.mark.skipif(
        best_precision() != "bf16", reason="this processor does not compute in bf16"
    )
    return [
        pytest.param(
            case,
            id=name,
            marks=[
                *([] if name in NEED_NO_EXPORT else [pytest.mark.slow]),
                *([without_bf16] if case.precision == "bf16" else []),
            ],
        )
        for name, case in CASES.items()
        if not (reopened and case.is_slow_to_open)
    ]


@pytest.fixture(scope="module", params=parameters())
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="module")
def runtime(case: Case, exports: Exports) -> Iterator[Runtime]:
    """Opened once for all tests that leave it as it is."""
    with case.open(exports, MIN_SCORE) as opened:
        yield opened


@pytest.fixture(scope="module")
def reference(exports: Exports) -> list[Detections]:
    """What torchvision itself finds."""
    with CASES["torch-eager"].open(exports, MIN_SCORE) as opened:
        return [opened.detect(frame(k)) for k in PICTURES]


reopened = pytest.mark.parametrize("case", parameters(reopened=True), scope="module")


def canvases(runtime: Runtime) -> list[Canvas]:
    return [runtime.preprocess(frame(k)) for k in PICTURES]


# The contract


def test_states_what_it_is(runtime: Runtime, case: Case) -> None:
    assert (runtime.name, runtime.device, runtime.precision) == (case.name, "cpu", case.precision)
    assert runtime.threads == 1
    assert runtime.model_name == "mask_rcnn_person"
    assert runtime.class_names == ("__background__", "person")


def test_types_shapes_and_order(runtime: Runtime) -> None:
    found = runtime.detect(frame())
    count = len(found)
    assert count > 3
    assert found.boxes.dtype == found.scores.dtype == np.float32
    assert found.labels.dtype == np.int64
    assert found.masks is not None
    assert (found.masks.dtype, found.masks.shape) == (np.float32, (count, 28, 28))
    assert found.keypoints is None
    assert (np.diff(found.scores) <= 0).all()
    assert (found.scores > MIN_SCORE).all()
    assert set(found.labels) == {1}
    assert 0 <= found.masks.min() < 0.1 < 0.9 < found.masks.max() <= 1


def test_boxes_are_inside_the_frame(runtime: Runtime) -> None:
    boxes = runtime.detect(frame()).boxes
    assert boxes.min() >= 0
    assert (boxes[:, 2:] <= (640, 480)).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert boxes[:, 2].max() > CANVAS[1]  # not left in canvas px


def test_nothing_found(runtime: Runtime) -> None:
    found = runtime.detect(GREY)
    assert len(found) == 0
    assert found.boxes.shape == (0, 4)
    assert found.masks is not None
    assert found.masks.shape == (0, 28, 28)


def test_a_batch_equals_singles(runtime: Runtime) -> None:
    """A picture without people among them."""
    every = [*canvases(runtime), runtime.preprocess(GREY), runtime.preprocess(frame(20))]
    found = runtime.infer_many(every)
    assert len(found) == len(every)
    assert len(found[3]) == 0
    for one, canvas in zip(found, every, strict=True):
        assert_equal(one, runtime.infer(canvas))


def test_no_pictures_give_no_results(runtime: Runtime) -> None:
    assert runtime.infer_many([]) == []


def test_results_stay_as_they_were(runtime: Runtime) -> None:
    """A runtime may use its memory again, but not that of what it gave away."""
    first = runtime.infer(canvases(runtime)[0])
    again = runtime.infer(canvases(runtime)[0])
    runtime.infer_many(canvases(runtime)[1:])
    assert_equal(first, again, px=0)


def test_a_canvas_stays_as_it_was(runtime: Runtime) -> None:
    canvas = runtime.preprocess(frame())
    pixels = canvas.pixels.copy()
    runtime.infer(canvas)
    np.testing.assert_array_equal(canvas.pixels, pixels)


def test_a_frame_that_is_a_view_is_as_good_as_its_copy(runtime: Runtime) -> None:
    resized = cv2.resize(frame(), (CANVAS[1], CANVAS[0]))
    view = np.repeat(resized, 2, axis=1)[:, ::2]
    assert not view.flags.c_contiguous
    assert_equal(runtime.detect(view), runtime.detect(resized), px=0)


def test_finds_what_torchvision_finds(
    runtime: Runtime, case: Case, reference: list[Detections]
) -> None:
    found = [runtime.detect(frame(k)) for k in PICTURES]
    if case.precision != "fp32":
        assert_similar_objects(found, reference)
        return
    for one, expected in zip(found, reference, strict=True):
        assert_same_objects(one, expected)


def assert_same_objects(found: Detections, expected: Detections) -> None:
    """Every one that is surely above the least score, in the same order."""
    sure = [int((each.scores > MIN_SCORE + SCORE_MARGIN).sum()) for each in (found, expected)]
    assert sure[0] == sure[1] > 3
    rows = slice(sure[0])
    # 0.05 px on the canvas
    np.testing.assert_allclose(found.boxes[rows], expected.boxes[rows], atol=0.05 * 640 / CANVAS[1])
    np.testing.assert_allclose(found.scores[rows], expected.scores[rows], atol=1e-3)
    assert found.masks is not None
    assert expected.masks is not None
    np.testing.assert_allclose(found.masks[rows], expected.masks[rows], atol=5e-3)


def assert_similar_objects(every: list[Detections], reference: list[Detections]) -> None:
    """Most of those it is confident of, within 5 px of the canvas."""
    near: list[bool] = []
    for found, expected in zip(every, reference, strict=True):
        confident = expected.select(expected.scores > 0.5).boxes
        distances = np.abs(found.boxes[:, None] - confident).max(axis=2).min(axis=0)
        near += list(distances < 5 * 640 / CANVAS[1])
    assert len(near) > 5
    assert np.mean(near) >= 0.8


@pytest.mark.parametrize("size", [(1280, 960), (320, 240), (640, 1000), (1100, 480)])
def test_frames_of_other_sizes_give_their_own_pixels(
    runtime: Runtime, size: tuple[int, int], case: Case
) -> None:
    """The picture at another scale, or with grey beside or below it."""
    width, height = size
    scale = min(width / 640, height / 480)
    other = np.full((height, width, 3), 114, np.uint8)
    resized = cv2.resize(frame(), (round(640 * scale), round(480 * scale)))
    other[: resized.shape[0], : resized.shape[1]] = resized
    certain = runtime.detect(frame())
    certain = certain.select(certain.scores > 0.9)
    found = runtime.detect(other)
    assert len(certain) >= 1
    assert (found.boxes[:, 2:] <= (width, height)).all()
    overlaps = box_iou(torch.from_numpy(certain.boxes * scale), torch.from_numpy(found.boxes))
    assert (overlaps.max(dim=1).values > 0.5).all()


# What needs a runtime of its own


@reopened
def test_min_score_drops_the_rest(case: Case, exports: Exports) -> None:
    with case.open(exports, 0.6) as runtime:
        found = runtime.detect(frame())
    with case.open(exports, MIN_SCORE) as runtime:
        every = runtime.detect(frame())
    assert (found.scores > 0.6).all()
    assert_equal(found, every.select(every.scores > 0.6), px=0.01)
    assert 0 < len(found) < len(every)


@reopened
def test_warm_up_then_close_twice_then_refuse(case: Case, exports: Exports) -> None:
    with case.open(exports, 0.5) as runtime:
        runtime.warm_up((320, 180))
        canvas = runtime.preprocess(frame())
    runtime.close()
    with pytest.raises(RuntimeError, match=f"The {case.name} runtime of .* is closed"):
        runtime.infer(canvas)
    with pytest.raises(RuntimeError, match="is closed"):
        runtime.infer_many([canvas])


@reopened
def test_two_at_once_do_not_disturb_each_other(case: Case, exports: Exports) -> None:
    with case.open(exports, MIN_SCORE) as first, case.open(exports, 0.6) as second:
        before = [first.detect(frame(k)) for k in PICTURES]
        for k, expected in zip(PICTURES, before, strict=True):
            other = second.detect(frame(k))
            assert_equal(first.detect(frame(k)), expected)
            assert len(other) < len(expected)


# On a GPU


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_onnxruntime_on_a_gpu(device: str, exports: Exports, reference: list[Detections]) -> None:
    provider = onnxruntime_module.PROVIDERS[device][0]
    if provider not in onnxruntime_module.ort.get_available_providers():
        pytest.skip(f"this ONNX Runtime has no {provider}")
    with OnnxRuntime(exports.file(".onnx"), min_score=MIN_SCORE, device=device) as runtime:
        assert runtime.device == "cuda"
        assert_similar_objects([runtime.detect(frame(k)) for k in PICTURES], reference)


@pytest.mark.gpu
def test_torch_static_on_a_gpu(exports: Exports, reference: list[Detections]) -> None:
    with TorchStatic.of_model(
        exports.model(), CANVAS, min_score=MIN_SCORE, device="cuda"
    ) as runtime:
        assert runtime.device == "cuda"
        assert_similar_objects([runtime.detect(frame(k)) for k in PICTURES], reference)
