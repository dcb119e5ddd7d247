"""Half precision in PyTorch: which operation computes in which type, and what that costs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from runtime_cases import CANVAS, GREY, MIN_SCORE, frame, model_of
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.ops import FrozenBatchNorm2d, box_iou

from models.deploy.graph import StaticGraph, static_graph
from models.deploy.manifest import Kind
from models.errors import ModelError, UsageError
from models.runtimes.torch_half import NORMS, Cast, in_half
from models.runtimes.torch_static import TorchStatic

pytestmark = pytest.mark.usefixtures("one_torch_thread")

LOW, FULL = torch.bfloat16, torch.float32
PRODUCTS = {"conv2d", "conv_transpose2d", "linear"}
# whatever knows of coordinates, probabilities or order, and what sums over whole maps
ISLANDS = {
    "exp", "softmax", "sigmoid", "roi_align", "topk", "log2", "sqrt", "rsqrt", "gather",
    "linalg_vector_norm", "minimum", "maximum", "gt", "ge",
}  # fmt: skip


class Recorder(TorchDispatchMode):
    """Notes the float types each operation is given."""

    def __init__(self) -> None:
        super().__init__()
        self.types: dict[str, set[torch.dtype]] = defaultdict(set)

    def __torch_dispatch__(
        self,
        function: Any,
        types: Any,
        given: tuple[Any, ...] = (),
        named: dict[str, Any] | None = None,
    ) -> Any:
        name = function.overloadpacket.__name__
        for each in given:
            if isinstance(each, Tensor) and each.is_floating_point():
                self.types[name].add(each.dtype)
        return function(*given, **(named or {}))


def pixels() -> Tensor:
    """People, (1,H,W,3)."""
    return torch.from_numpy(cv2.resize(frame(), CANVAS[::-1]))[None]


@pytest.fixture(scope="module")
def halved() -> StaticGraph:
    graph = static_graph(model_of("masks").module, CANVAS)
    graph.detector.boxes.min_score = MIN_SCORE
    return in_half(graph, "bf16")


@pytest.mark.parametrize("autocast", [False, True], ids=["plain", "autocast"])
def test_products_are_half_and_islands_are_full(halved: StaticGraph, autocast: bool) -> None:
    """Even where somebody turns autocast on around it, no island is left."""
    with (
        torch.inference_mode(),
        torch.autocast("cpu", LOW, enabled=autocast),
        Recorder() as recorder,
    ):
        boxes, scores, labels, count, details = halved.whole(pixels())
    expected = {name: {LOW if name in PRODUCTS else FULL} for name in PRODUCTS | ISLANDS}
    assert {name: recorder.types.get(name) for name in expected} == expected
    assert [each.dtype for each in (boxes, scores, details)] == [FULL] * 3
    assert [each.dtype for each in (labels, count)] == [torch.int64] * 2
    assert int(count) > 3


def test_every_module_is_given_what_it_should_be(halved: StaticGraph) -> None:
    seen: dict[str, set[torch.dtype]] = defaultdict(set)

    def hook(name: str) -> Callable[..., None]:
        def note(_module: nn.Module, given: tuple[Any, ...]) -> None:
            floats = [each for each in given if isinstance(each, Tensor)]
            seen[name] |= {each.dtype for each in floats if each.is_floating_point()}

        return note

    named = list(halved.whole.named_modules())
    handles = [module.register_forward_pre_hook(hook(name)) for name, module in named]
    with torch.inference_mode():
        halved.whole(pixels())
    for handle in handles:
        handle.remove()
    kinds = {name: type(module) for name, module in named}
    norms = [name for name, kind in kinds.items() if issubclass(kind, NORMS)]
    products = [name for name, kind in kinds.items() if kind in (nn.Conv2d, nn.Linear)]
    assert len(norms) == 5
    assert len(products) > 20
    assert all(seen[name] == {FULL} for name in norms)
    assert all(seen[name] == {LOW} for name in products)
    assert seen["detector.boxes.pool"] == seen["detector.detail_pool"] == {FULL}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("kind", ["boxes", "masks", "keypoints"])
def test_a_gpu_is_never_waited_for(kind: Kind, precision: str) -> None:
    """On tensors without content: whoever asks for one, or makes one on the host, fails."""
    graph = static_graph(model_of(kind).module, CANVAS)
    if precision != "fp32":
        graph = in_half(graph, precision)
    with torch.inference_mode():
        nothing = torch.empty(2, *CANVAS, 3, dtype=torch.uint8, device="meta")
        found = graph.whole.to("meta")(nothing)
    count = graph.detector.boxes.count
    shapes = [(2, count, 4), (2, count), (2, count), (2,)]
    shapes += {"boxes": [], "masks": [(2, count, 28, 28)], "keypoints": [(2, count, 5, 56, 56)]}[
        kind
    ]
    assert [each.shape for each in found] == shapes
    assert {each.device.type for each in found} == {"meta"}


@pytest.mark.slow
def test_it_is_compiled_as_one_graph(halved: StaticGraph) -> None:
    """What compiles the graph, once it is known to be one, is a GPU's own."""
    with torch.inference_mode():
        expected = halved.whole(pixels())
        found = torch.compile(halved.whole, fullgraph=True, dynamic=False, backend="eager")(
            pixels()
        )
    assert all(map(torch.equal, found, expected))


def test_the_model_keeps_its_weights() -> None:
    loaded = model_of("masks")
    before = {name: value.clone() for name, value in loaded.module.state_dict().items()}
    in_half(static_graph(loaded.module, CANVAS), "fp16")
    after = loaded.module.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert {value.dtype for value in after.values() if value.is_floating_point()} == {FULL}


def test_norms_keep_their_weights_of_any_kind() -> None:
    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                nn.Conv2d(4, 4, 1), FrozenBatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
            )

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.layers(x)
            return found

    graph = static_graph(model_of("masks").module, CANVAS)
    assert graph.details is not None
    graph.details.head = Head()
    head: Any = in_half(graph, "bf16").details.head  # type: ignore[union-attr]
    layers = head.eval().module.layers
    types = {name: value.dtype for name, value in layers.state_dict().items()}
    assert {types[name] for name in ("0.weight", "0.bias", "2.weight")} == {LOW}
    assert {types[name] for name in ("1.module.running_var", "3.module.weight")} == {FULL}
    assert isinstance(layers[1], Cast)
    assert head(torch.ones(2, 4, 3, 3)).dtype == LOW


def test_a_weight_beyond_fp16_is_refused() -> None:
    loaded = model_of("masks")
    loaded.module.roi_heads.box_head.fc6.weight.data[0, 0] = 7e4
    with pytest.raises(ModelError, match=r"The weight weight of a Linear is too large for float16"):
        in_half(static_graph(loaded.module, CANVAS), "fp16")
    in_half(static_graph(loaded.module, CANVAS), "bf16")


def test_bf16_finds_what_fp32_finds() -> None:
    loaded = model_of("masks")
    settings = {"min_score": MIN_SCORE, "threads": 1}
    with (
        TorchStatic.of_model(loaded, CANVAS, precision="bf16", **settings) as half,
        TorchStatic.of_model(loaded, CANVAS, **settings) as full,
    ):
        assert (half.precision, full.precision) == ("bf16", "fp32")
        assert len(half.detect(GREY)) == 0
        for k in (0, 50):
            found, expected = half.detect(frame(k)), full.detect(frame(k))
            certain = expected.select(expected.scores > 0.7)
            overlaps = box_iou(torch.from_numpy(certain.boxes), torch.from_numpy(found.boxes))
            assert len(certain) >= 1
            assert overlaps.max(1).values.min() > 0.85
            best = overlaps.argmax(1).numpy()
            assert np.abs(found.scores[best] - certain.scores).max() < 0.05
            assert found.masks is not None
            assert certain.masks is not None
            assert np.abs(found.masks[best] - certain.masks).mean() < 0.05


@pytest.mark.parametrize(("precision", "device"), [("fp16", "cpu"), ("int8", "cpu")])
def test_what_the_device_does_not_compute_in(precision: str, device: str) -> None:
    with pytest.raises(UsageError, match=rf"fp32 or bf16 on cpu here: .*--precision {precision}"):
        TorchStatic.of_model(model_of("boxes"), CANVAS, precision=precision, device=device)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("compiled", [False, True])
def test_on_a_gpu_it_finds_what_the_cpu_finds(precision: str, compiled: bool) -> None:
    with TorchStatic.of_model(model_of("masks"), CANVAS, min_score=MIN_SCORE) as on_cpu:
        expected = on_cpu.detect(frame())
    with TorchStatic.of_model(
        model_of("masks"),
        CANVAS,
        min_score=MIN_SCORE,
        precision=precision,
        device="cuda",
        compiled=compiled,
    ) as runtime:
        every = runtime.infer_many([runtime.preprocess(frame(k)) for k in (0, 50, 0)])
        assert runtime.gpu_ms is not None
        assert set(runtime.gpu_ms) == {"copy_in", "compute", "copy_out"}
        assert all(value > 0 for value in runtime.gpu_ms.values())
        certain = expected.select(expected.scores > 0.7)
        for found in (every[0], every[2]):
            overlaps = box_iou(
                torch.from_numpy(certain.boxes),
                torch.from_numpy(found.boxes * (640 / CANVAS[1])),
            )
            assert overlaps.max(1).values.min() > (0.95 if precision == "fp32" else 0.85)
        assert len(every[1]) != len(every[0])
