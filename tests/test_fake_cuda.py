"""Graphs on tensors that say they are on a GPU: nothing is left on the host, and nobody waits.

PyTorch follows types, shapes and devices of such tensors through every operator, and refuses what
would have to look at a value. So what passes can be captured as a CUDA graph.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from runtime_cases import CANVAS, model_of
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from models.deploy.graph import static_graph
from models.deploy.manifest import Kind
from models.letterbox import Letterbox
from models.runtimes.gpu_canvas import to_canvas
from models.runtimes.torch_half import in_half

GPU = torch.device("cuda:0")


class Elsewhere(TorchDispatchMode):
    """Notes operators that take or give a tensor which is not on the GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        tensors = [each for each in tree_leaves((args, kwargs, found)) if isinstance(each, Tensor)]
        if any(each.device != GPU for each in tensors):
            self.names.append(str(func))
        return found


def on_fake_gpu(module: nn.Module, mode: FakeTensorMode) -> nn.Module:
    """A copy there."""
    moved = copy.deepcopy(module)

    def there(tensor: Tensor) -> Tensor:
        fake = mode.from_tensor(tensor.detach())
        with mode:
            return fake.to(GPU)

    for part in moved.modules():
        for name, value in part.named_parameters(recurse=False):
            part._parameters[name] = nn.Parameter(there(value), requires_grad=False)
        for name, value in part.named_buffers(recurse=False):
            part._buffers[name] = there(value)
    return moved


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("kind", ["boxes", "masks", "keypoints"])
def test_a_whole_graph_stays_on_the_gpu(kind: Kind, precision: str) -> None:
    graph = static_graph(model_of(kind).module, CANVAS)
    if precision != "fp32":
        graph = in_half(graph, precision)
    mode = FakeTensorMode()
    whole = on_fake_gpu(graph.whole, mode)
    with mode, torch.inference_mode():
        pixels = torch.empty((2, *CANVAS, 3), dtype=torch.uint8, device=GPU)
        with Elsewhere() as elsewhere:
            found = whole(pixels)
    assert not elsewhere.names
    assert {each.device for each in found} == {GPU}
    assert found[0].shape == (2, graph.detector.boxes.count, 4)


@pytest.mark.parametrize("kind", ["boxes", "masks", "keypoints"])
def test_it_is_one_graph_to_the_compiler(kind: Kind) -> None:
    """As ``torch-compiled`` hands it over; kernels are made only where there is a GPU."""
    mode, graphs = FakeTensorMode(), []
    whole = on_fake_gpu(in_half(static_graph(model_of(kind).module, CANVAS), "fp16").whole, mode)

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        graphs.append(graph)
        return graph.forward

    with mode, torch.inference_mode():
        pixels = torch.empty((2, *CANVAS, 3), dtype=torch.uint8, device=GPU)
        compiled: Any = torch.compile(whole, fullgraph=True, dynamic=False, backend=backend)
        found = compiled(pixels)
    assert {each.device for each in found} == {GPU}
    assert len(graphs) == 1


def test_a_frame_is_laid_out_on_the_gpu() -> None:
    letterbox = Letterbox.inside((64, 48), (80, 80))
    frame: Any = torch.zeros((48, 64, 3), dtype=torch.uint8).numpy()
    with FakeTensorMode(), torch.inference_mode():
        there = torch.empty((48, 64, 3), dtype=torch.uint8, device=GPU)
        with Elsewhere() as elsewhere:
            canvas = to_canvas(frame, [there], letterbox, (80, 80), (1, 2, 3))
    assert not elsewhere.names
    assert (canvas.device, tuple(canvas.shape)) == (GPU, (80, 80, 3))


class Careless(nn.Module):
    """What both of the above would stumble over."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, pixels: Tensor) -> Tensor:
        if self.kind == "waits":
            return pixels[: int(pixels.sum())]
        return pixels * torch.tensor([1, 2, 3], device=pixels.device)


def test_constants_of_the_host_and_waiting_are_noticed() -> None:
    with FakeTensorMode(), Elsewhere() as elsewhere:
        pixels = torch.empty((2, 3), dtype=torch.uint8, device=GPU)
        Careless("copies")(pixels)
        assert elsewhere.names
        with pytest.raises(DataDependentOutputException):
            Careless("waits")(pixels)
