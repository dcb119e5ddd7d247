"""The runtime against torchvision itself, on models with random weights that find something."""

from __future__ import annotations

import copy
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.ops import box_iou

from models import zoo
from models.compact import PERSON_CLASSES, mask_rcnn_person
from models.detections import Detections
from models.errors import ModelError, UsageError
from models.letterbox import Image
from models.roi_masks import paste
from models.runtimes.torch_eager import DEVICES, TorchEager, pick_device
from models.zoo import LoadedModel

CANVAS = 224, 176  # (width, height) px of a frame that the model of these tests does not resize


pytestmark = pytest.mark.usefixtures("one_torch_thread")


def decisive_model() -> nn.Module:
    """Random weights, scaled so that scores and masks are not all close to one half.

    In the memory layout of the runtime, without which the last digits would differ.
    """
    torch.manual_seed(3)
    model = mask_rcnn_person().eval()
    for layer, gain in (
        (model.rpn.head.cls_logits, 100),
        (model.roi_heads.box_predictor.cls_score, 10),
        (model.roi_heads.mask_predictor.mask_fcn_logits, 100),
    ):
        layer.weight.data *= gain
    model.roi_heads.score_thresh = 0.3
    model.transform.min_size, model.transform.max_size = (CANVAS[1],), 320
    model.roi_heads.detections_per_img = 20
    _centre_masks(model)
    return model.to(memory_format=torch.channels_last)


def _centre_masks(model: nn.Module) -> None:
    """Half of all mask pixels become likely, half unlikely."""
    layer, outputs = model.roi_heads.mask_predictor.mask_fcn_logits, []
    hook = layer.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    by_torchvision(model, smooth_frame(*CANVAS))
    hook.remove()
    layer.bias.data -= outputs[0].transpose(0, 1).flatten(1).median(dim=1).values


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return decisive_model()


def runtime_of(model: nn.Module, **settings: object) -> TorchEager:
    loaded = LoadedModel("mask_rcnn_person", copy.deepcopy(model), PERSON_CLASSES)
    return TorchEager(loaded, **({"device": "cpu", "min_score": 0.3} | settings))  # type: ignore[arg-type]


def smooth_frame(width: int, height: int, seed: int = 0) -> Image:
    noise = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)
    return np.asarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def by_torchvision(model: nn.Module, frame: Image) -> dict[str, Tensor]:
    with torch.inference_mode():
        (found,) = model([torch.from_numpy(frame).permute(2, 0, 1) / 255])
    assert len(found["boxes"]) > 5
    return dict(found)


def full_masks(found: Detections, size: tuple[int, int]) -> np.ndarray:
    assert found.masks is not None
    full = np.zeros((len(found), size[1], size[0]), bool)
    for row, (mask, box) in enumerate(zip(found.masks, found.boxes, strict=True)):
        x, y, crop = paste(mask, box, size)
        full[row, y : y + crop.shape[0], x : x + crop.shape[1]] = crop
    return full


def test_frame_of_canvas_size_gives_exactly_torchvisions_result(model: nn.Module) -> None:
    frame = smooth_frame(*CANVAS)
    expected = by_torchvision(model, frame)
    with runtime_of(model) as runtime:
        found = runtime.detect(frame)
    np.testing.assert_array_equal(found.boxes, expected["boxes"])
    np.testing.assert_array_equal(found.labels, expected["labels"])
    np.testing.assert_array_equal(found.scores, expected["scores"])
    masks = expected["masks"][:, 0].numpy() > 0.5
    assert 0.1 < masks.sum() / (found.boxes[:, 2:] - found.boxes[:, :2]).prod(1).sum() < 0.9
    assert (full_masks(found, CANVAS) != masks).mean() < 1e-4


def matches(found: Detections, expected: dict[str, Tensor]) -> list[tuple[int, int]]:
    """Rows (found, expected) of boxes within half a pixel of each other.

    A quarter may have none: OpenCV resizes in 8 bits and torchvision in floating point, and with
    random weights a thousandth of a score decides on which boxes are kept.
    """
    distances = np.abs(found.boxes[:, None] - expected["boxes"].numpy()).max(axis=2)
    assert np.median(distances.min(axis=0)) < 0.15
    pairs = [(int(d.argmin()), row) for row, d in enumerate(distances.T) if d.min() < 0.5]
    assert len(pairs) >= 0.75 * max(distances.shape)
    return pairs


@pytest.mark.parametrize("size", [(448, 352), (320, 240), (180, 320)])
def test_resized_frame_gives_torchvisions_result_to_half_a_pixel(
    model: nn.Module, size: tuple[int, int]
) -> None:
    frame = smooth_frame(*size)
    expected = by_torchvision(model, frame)
    with runtime_of(model) as runtime:
        found = runtime.detect(frame)
    masks, expected_masks = full_masks(found, size), expected["masks"][:, 0].numpy() > 0.5
    overlaps = []
    for row, expected_row in matches(found, expected):
        assert found.labels[row] == expected["labels"][expected_row]
        assert found.scores[row] == pytest.approx(float(expected["scores"][expected_row]), abs=0.01)
        both = masks[row] & expected_masks[expected_row]
        overlaps.append(both.sum() / (masks[row] | expected_masks[expected_row]).sum())
    assert np.median(overlaps) > 0.95


@pytest.mark.parametrize(
    ("size", "resized_size"), [((320, 240), (160, 120)), ((640, 160), (218, 54))]
)
def test_canvas_side_is_torchvisions_min_size(
    model: nn.Module, size: tuple[int, int], resized_size: tuple[int, int]
) -> None:
    """And the longer side's limit stays in proportion to it."""
    frame = smooth_frame(*size)
    smaller = copy.deepcopy(model)
    smaller.transform.min_size, smaller.transform.max_size = (120,), 320 * 120 / CANVAS[1]
    expected = by_torchvision(smaller, frame)
    with runtime_of(model, canvas_side=120) as runtime:
        assert runtime.preprocess(frame).pixels.shape == (*resized_size[::-1], 3)
        assert matches(runtime.detect(frame), expected)


def test_result_is_in_source_pixels_and_inside_the_frame(model: nn.Module) -> None:
    with runtime_of(model) as runtime:
        boxes = runtime.detect(smooth_frame(1280, 720)).boxes
    assert boxes.min() >= 0
    assert boxes[:, [0, 2]].max() <= 1280
    assert boxes[:, [1, 3]].max() <= 720
    assert boxes[:, 2].max() > 640  # not left in canvas px


def test_zero_detections(model: nn.Module) -> None:
    with runtime_of(model, min_score=1.0) as runtime:
        found = runtime.detect(smooth_frame(320, 240))
    assert len(found) == 0
    assert found.boxes.shape == (0, 4)
    assert found.masks is not None
    assert found.masks.shape == (0, 28, 28)
    assert found.labels.dtype == np.int64


def test_min_score_drops_the_rest_and_keeps_the_order(model: nn.Module) -> None:
    frame = smooth_frame(*CANVAS)
    with runtime_of(model) as runtime:
        scores = runtime.detect(frame).scores
    assert (np.diff(scores) <= 0).all()
    with runtime_of(model, min_score=float(scores[3])) as runtime:
        np.testing.assert_allclose(runtime.detect(frame).scores, scores[:3], atol=1e-6)


def test_a_frame_that_is_a_view_is_as_good_as_its_copy(model: nn.Module) -> None:
    wide = smooth_frame(CANVAS[0] * 2, CANVAS[1])
    view = wide[:, : CANVAS[0]]
    assert not view.flags.c_contiguous
    with runtime_of(model) as runtime:
        np.testing.assert_array_equal(
            runtime.detect(view).boxes, runtime.detect(np.ascontiguousarray(view)).boxes
        )


def test_warm_up_and_describes_itself(model: nn.Module) -> None:
    with runtime_of(model) as runtime:
        runtime.warm_up((64, 48))
        assert (runtime.name, runtime.device, runtime.precision) == ("torch-eager", "cpu", "fp32")
        assert runtime.model_name == "mask_rcnn_person"
        assert runtime.class_names == PERSON_CLASSES


def test_close_is_legal_twice(model: nn.Module) -> None:
    runtime = runtime_of(model)
    runtime.close()
    runtime.close()


def test_memory_error_is_one_sentence(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = runtime_of(model)
    canvas = runtime.preprocess(smooth_frame(64, 48))

    def fail(*arguments: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")

    monkeypatch.setattr(runtime._model, "forward", fail)
    with pytest.raises(ModelError, match="does not fit into the memory of cpu") as raised:
        runtime.infer(canvas)
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_keypoints_are_torchvisions_with_their_scores() -> None:
    torch.manual_seed(0)
    reference = torchvision.models.get_model(
        "keypointrcnn_resnet50_fpn", weights=None, weights_backbone=None, min_size=128, max_size=256
    ).eval()
    reference.roi_heads.score_thresh = 0.0
    reference.roi_heads.detections_per_img = 10
    frame = smooth_frame(160, 128)
    expected = by_torchvision(reference, frame)
    loaded = LoadedModel("keypointrcnn", copy.deepcopy(reference), ("no person", "person"))
    with TorchEager(loaded, device="cpu", min_score=0.0) as runtime:
        found = runtime.detect(frame)
    assert found.masks is None
    assert found.keypoints is not None
    np.testing.assert_allclose(found.keypoints[..., :2], expected["keypoints"][..., :2], atol=1e-2)
    np.testing.assert_allclose(found.keypoints[..., 2], expected["keypoints_scores"], rtol=1e-3)
    loaded = LoadedModel("keypointrcnn", reference, ("no person", "person"))
    with TorchEager(loaded, device="cpu", min_score=1.0) as runtime:
        none = runtime.detect(frame)
    assert none.keypoints is not None
    assert none.keypoints.shape == (0, 17, 3)


def test_canvas_side_of_a_model_with_one_size_is_wrong_usage() -> None:
    loaded = LoadedModel("ssdlite", fixed_size_model(), ("a", "b"))
    with pytest.raises(UsageError, match="ssdlite always works at 320x256 px"):
        TorchEager(loaded, device="cpu", canvas_side=128)


def fixed_size_model() -> nn.Module:
    model = nn.Module()
    model.transform = torchvision.models.detection.transform.GeneralizedRCNNTransform(
        320, 320, [0.5] * 3, [0.5] * 3, fixed_size=(320, 256)
    )
    return model


def here(*present: str) -> Callable[[pytest.MonkeyPatch], None]:
    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("torch.cuda.is_available", lambda: "cuda" in present)
        monkeypatch.setattr("torch.backends.mps.is_available", lambda: "mps" in present)

    return patch


@pytest.mark.parametrize(
    ("patch", "expected"),
    [(here(), "cpu"), (here("mps"), "mps"), (here("cuda"), "cuda"), (here("cuda", "mps"), "cuda")],
)
def test_auto_picks_the_fastest(
    monkeypatch: pytest.MonkeyPatch, patch: Callable[[pytest.MonkeyPatch], None], expected: str
) -> None:
    patch(monkeypatch)
    assert pick_device("auto") == expected


@pytest.mark.parametrize("device", [name for name in DEVICES if name not in ("auto", "cpu")])
def test_absent_device_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, model: nn.Module, device: str
) -> None:
    here()(monkeypatch)
    with pytest.raises(UsageError) as raised:
        runtime_of(model, device=device)
    assert str(raised.value) == f"There is no {device} device here: use --device cpu."
    assert raised.value.exit_code == 2


def test_unknown_device_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="There is no tpu device here"):
        pick_device("tpu")


def test_embedded_weights_give_torchvisions_people() -> None:
    if not zoo.EMBEDDED_WEIGHTS.is_file():
        pytest.skip("the embedded weights are not there yet")
    from stream.sources.demo import DemoPicture

    frame = DemoPicture().draw(0)
    reference = zoo.load().module
    reference.roi_heads.score_thresh = 0.5
    with torch.inference_mode():
        (expected,) = reference([torch.from_numpy(frame).permute(2, 0, 1) / 255])
    with TorchEager(zoo.load(), device="cpu", min_score=0.5) as runtime:
        found = runtime.detect(frame)
    certain = expected["boxes"][expected["scores"] > 0.7]  # others may fall on either side of 0.5
    overlaps = box_iou(certain, torch.from_numpy(found.boxes))
    assert len(certain) > 0
    assert (overlaps.max(dim=1).values > 0.95).all()


def test_a_gpu_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert pick_device("cuda:1") == "cuda:1"  # a training process's own
    for name in ("cuda:2", "cuda:first"):
        with pytest.raises(UsageError, match=f"There is no {name} here: the last one is cuda:1"):
            pick_device(name)
