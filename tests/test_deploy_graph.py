"""Static graphs against torchvision's own models: the same weights, the same pictures."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.export import Dim
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator

from models import zoo
from models.deploy.graph import WholeDetector, static_graph
from models.deploy.norm import ChannelwiseGroupNorm
from models.errors import ModelError
from models.runtimes.torch_eager import _CanvasTransform
from stream.sources.demo import DemoPicture

pytestmark = pytest.mark.usefixtures("one_torch_thread")

CANVASES = [(128, 128), (96, 160), (150, 110)]  # (height, width): square, wide, tall and odd
FEW = {"rpn_pre_nms_top_n_test": 100, "rpn_post_nms_top_n_test": 40}
LIGHT = ["embedded", "one level"]
HEAVY = [
    ("fasterrcnn_mobilenet_v3_large_320_fpn", (256, 352)),  # its maps are 32 times smaller
    ("fasterrcnn_resnet50_fpn", (150, 110)),
    ("fasterrcnn_resnet50_fpn_v2", (96, 160)),
    ("maskrcnn_resnet50_fpn", (150, 110)),
    ("maskrcnn_resnet50_fpn_v2", (96, 160)),
    ("keypointrcnn_resnet50_fpn", (150, 110)),
]


def pictures(canvas: tuple[int, int], count: int = 1) -> Tensor:
    """People, (N,H,W,3) uint8."""
    demo, size = DemoPicture(), (canvas[1], canvas[0])
    rows = [
        cv2.resize(demo.draw(50 * at), size, interpolation=cv2.INTER_AREA) for at in range(count)
    ]
    return torch.from_numpy(np.stack(rows))


def model_of(name: str, canvas: tuple[int, int] = CANVASES[0]) -> nn.Module:
    if name == "embedded":
        return zoo.load().module
    torch.manual_seed(3)
    if name == "one level":
        return decisive(one_level_model(), canvas)
    more = {"num_classes": 4, "box_detections_per_img": 12}
    if name.startswith(("mask", "keypoint")):
        more["box_detections_per_img"] = 5  # their heads take most of the time
    get = torchvision.models.get_model
    return decisive(get(name, weights=None, weights_backbone=None, **FEW, **more), canvas)


def one_level_model() -> FasterRCNN:
    """A detector without a feature pyramid, as in the original paper."""
    body = nn.Sequential(
        nn.Conv2d(3, 16, 7, stride=4, padding=3),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=4, padding=1),
        nn.GroupNorm(4, 32),
        nn.ReLU(),
    )
    body.out_channels = 32
    anchors = AnchorGenerator(((16, 32, 64),), ((0.5, 1.0, 2.0),))
    return FasterRCNN(body, 4, rpn_anchor_generator=anchors, box_detections_per_img=12, **FEW)


def decisive(model: nn.Module, canvas: tuple[int, int]) -> nn.Module:
    """Scale the random heads, so that they differ about each other as a trained model's do."""
    for module in model.backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # one picture's statistics, or random layers let nothing through
    model.backbone.train()(pictures(canvas).permute(0, 3, 1, 2) / 255)
    model.eval()
    heads = model.roi_heads
    spreads = [
        (model.rpn.head.cls_logits, 2.0),
        (model.rpn.head.bbox_pred, 0.3),
        (heads.box_predictor.cls_score, 1.0),
        (heads.box_predictor.bbox_pred, 0.5),
    ]
    if heads.has_mask():
        spreads.append((heads.mask_predictor.mask_fcn_logits, 3.0))
    if heads.has_keypoint():
        spreads.append((heads.keypoint_predictor.kps_score_lowres, 3.0))
    hooks = [layer.register_forward_hook(spread_to(spread)) for layer, spread in spreads]
    heads.score_thresh = 0.0
    eager(model, pictures(canvas))
    for hook in hooks:
        hook.remove()
    heads.score_thresh = 0.3
    return model


def spread_to(spread: float) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    """The layer changes its weights so that its first outputs have this standard deviation.

    And each channel mean 0, so that no class wins everywhere.
    """
    seen = set[nn.Module]()

    def hook(layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        if layer not in seen:
            seen.add(layer)
            mean = output.mean([at for at in range(output.ndim) if at != 1], keepdim=True)
            gain = spread / (output - mean).std()
            layer.weight.data *= gain
            layer.bias.data = (layer.bias.data - mean.flatten()) * gain
            output = (output - mean) * gain
        return output

    return hook


@torch.inference_mode()
def eager(model: nn.Module, pixels: Tensor) -> list[dict[str, Tensor]]:
    """torchvision's result for frames that are not resized: in canvas px, masks over boxes."""
    own = model.transform
    model.transform = _CanvasTransform(
        own.min_size, own.max_size, own.image_mean, own.image_std, own.size_divisible
    )
    maps: list[Tensor] = []
    hooks = []
    if model.roi_heads.has_keypoint():
        layer = model.roi_heads.keypoint_predictor
        hooks = [layer.register_forward_hook(lambda module, inputs, output: maps.append(output))]
    found: list[dict[str, Tensor]] = model(list(pixels.permute(0, 3, 1, 2) / 255))
    for hook in hooks:
        hook.remove()
    model.transform = own
    for row in found:
        row.pop("keypoints", None)  # from the heatmaps; see test_deploy_keypoints
    if maps:
        counts = [len(row["boxes"]) for row in found]
        for row, own_maps in zip(found, maps[0].split(counts), strict=True):
            row["details"] = own_maps
    for row in found:
        if "masks" in row:
            row["details"] = row["masks"][:, 0]
    return found


@torch.inference_mode()
def static(model: nn.Module, pixels: Tensor) -> list[dict[str, Tensor]]:
    """The same of the static graphs, without the padding."""
    graph = static_graph(model, (pixels.shape[1], pixels.shape[2]))
    names = ["boxes", "scores", "labels", "count", "details"]
    whole = (
        graph.detector if graph.details is None else WholeDetector(graph.detector, graph.details)
    )
    found = dict(zip(names, whole(pixels), strict=False))
    counts = found.pop("count")
    return [
        {name: values[number, :count] for name, values in found.items()}
        for number, count in enumerate(counts.tolist())
    ]


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """One to one: near ties may come in another order."""
    assert len(found["boxes"]) == len(expected["boxes"])
    distances = (found["boxes"][:, None] - expected["boxes"]).abs().amax(-1)
    distances += 1000 * (found["labels"][:, None] != expected["labels"])
    order = distances.argmin(0) if len(distances) else torch.zeros(0, dtype=torch.int64)
    assert sorted(order.tolist()) == list(range(len(order)))
    for name, tolerance in (("boxes", 1e-2), ("scores", 1e-4), ("labels", 0), ("details", 1e-3)):
        if name in expected:
            difference = (found[name][order] - expected[name]).abs()
            assert (difference <= tolerance).all(), f"{name}: up to {difference.max()}"


@pytest.fixture(scope="module", params=LIGHT)
def model(request: pytest.FixtureRequest) -> nn.Module:
    return model_of(request.param)


def assert_finds_torchvisions(model: nn.Module, canvas: tuple[int, int]) -> None:
    pixels = pictures(canvas)
    (expected,), (found,) = eager(model, pixels), static(model, pixels)
    assert len(expected["boxes"]) >= 3
    assert ("details" in found) == (model.roi_heads.has_mask() or model.roi_heads.has_keypoint())
    assert_same(found, expected)


@pytest.mark.parametrize("canvas", CANVASES)
def test_light_model_finds_what_torchvision_finds(
    model: nn.Module, canvas: tuple[int, int]
) -> None:
    assert_finds_torchvisions(model, canvas)


@pytest.mark.parametrize(("name", "canvas"), HEAVY)
def test_heavy_model_finds_what_torchvision_finds(name: str, canvas: tuple[int, int]) -> None:
    assert_finds_torchvisions(model_of(name, canvas), canvas)


def test_two_pictures_at_once_give_what_each_gives_alone(model: nn.Module) -> None:
    both = pictures(CANVASES[1], 2)
    first, second = static(model, both)
    assert len(first["boxes"]) > 0
    assert not first["scores"].equal(second["scores"])
    for found, pixels, expected in zip((first, second), both, eager(model, both), strict=True):
        assert_same(found, static(model, pixels[None])[0])
        assert_same(found, expected)


def test_nothing_is_in_a_black_picture() -> None:
    model = model_of("embedded")
    model.roi_heads.score_thresh = 0.5
    black = torch.zeros(1, *CANVASES[1], 3, dtype=torch.uint8)
    (expected,), (found,) = eager(model, black), static(model, black)
    assert len(expected["boxes"]) == len(found["boxes"]) == 0
    assert found["details"].shape == (0, 28, 28)


def test_nothing_found_is_a_count_of_zero(
    model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model.roi_heads, "score_thresh", 0.999)
    graph = static_graph(model, CANVASES[1])
    with torch.inference_mode():
        boxes, scores, _, count, *_ = graph.detector(pictures(CANVASES[1], 2))
    assert count.tolist() == [0, 0]
    assert boxes.shape == (2, graph.detector.boxes.count, 4)
    assert scores.eq(0).all()
    assert boxes.isfinite().all()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_graph_exports_for_any_number_of_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    # torch's trace of the compiler is hundreds of MB, and pytest would collect it
    monkeypatch.setattr(logging.getLogger("torch.__trace"), "propagate", False)
    if find_spec("tqdm"):  # torch shows its progress with it, and it keeps a thread
        monkeypatch.setattr("tqdm.tqdm.monitor_interval", 0)
    canvas = CANVASES[1]
    detector = static_graph(model_of("embedded"), canvas, iterations=2).detector
    sizes = {"pixels": {0: Dim("batch", min=1, max=64)}}
    with torch.no_grad():
        program = torch.export.export(
            detector, (pictures(canvas, 2),), dynamic_shapes=sizes, strict=True
        )
    for node in program.graph.nodes:
        # such as nonzero() has, whose size is known only when it has run
        assert not free_unbacked_symbols(node.meta.get("val")), f"{node} depends on the data"
        assert str(node.target) not in ("cond", "while_loop", "aten.item.default")
    for count in (1, 3):
        pixels = pictures(canvas, count)
        with torch.inference_mode():
            for found, expected in zip(program.module()(pixels), detector(pixels), strict=True):
                torch.testing.assert_close(found, expected)


def test_a_model_of_another_kind_is_refused() -> None:
    with pytest.raises(ModelError, match="Sequential is no R-CNN"):
        static_graph(nn.Sequential(nn.Conv2d(3, 3, 1)), CANVASES[0])


def test_heads_on_different_levels_are_refused() -> None:
    model = zoo.load().module
    model.roi_heads.mask_roi_pool.featmap_names = ["0", "1"]
    with pytest.raises(ModelError, match="different levels"):
        static_graph(model, CANVASES[0])


@pytest.mark.parametrize(("mean", "tolerance"), [(0.0, 1e-5), (1.0, 1e-5), (10.0, 1e-3)])
def test_channelwise_group_norm_is_group_norm(mean: float, tolerance: float) -> None:
    drawn = torch.Generator().manual_seed(0)
    norm = nn.GroupNorm(4, 12)
    nn.init.normal_(norm.weight, generator=drawn)
    nn.init.normal_(norm.bias, generator=drawn)
    x = torch.randn(2, 12, 19, 23, generator=drawn) * torch.arange(1, 13)[:, None, None] + mean
    torch.testing.assert_close(ChannelwiseGroupNorm(norm)(x), norm(x), atol=tolerance, rtol=0)


@pytest.mark.parametrize("value", [0.0, 1.0, 30.0, 333.3])
def test_channelwise_group_norm_of_a_constant_is_its_bias(value: float) -> None:
    norm = nn.GroupNorm(4, 12)
    nn.init.constant_(norm.bias, 0.5)
    found = ChannelwiseGroupNorm(norm)(torch.full((1, 12, 37, 41), value))
    torch.testing.assert_close(found, torch.full_like(found, 0.5), atol=0.05, rtol=0)
