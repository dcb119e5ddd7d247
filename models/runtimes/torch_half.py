"""A static graph in PyTorch with its products in fp16 or bf16, and all the rest in fp32.

Convolutions and matrix products take most of the time, and half precision is enough for them. The
rest is fp32, because every other module of the graph is: where the picture is normalised, boxes
decoded and suppressed, scores made probabilities, features read under boxes; and inside the halved
modules, what normalises, as it sums over whole maps. It needs no autocast, so that what is
compiled, captured or exported is what stands here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.ops import FrozenBatchNorm2d

from models.deploy.graph import StaticGraph
from models.deploy.norm import ChannelwiseGroupNorm
from models.errors import ModelError

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
NORMS = (ChannelwiseGroupNorm, FrozenBatchNorm2d, _BatchNorm, nn.GroupNorm, nn.LayerNorm)


class Cast(nn.Module):
    """A module that takes and gives floats of other types than it is called with.

    Args:
        module: called with positional tensors, or lists or dicts of them.
        takes: what floats become before.
        gives: what they become after.
    """

    def __init__(self, module: nn.Module, *, takes: torch.dtype, gives: torch.dtype) -> None:
        super().__init__()
        self.module, self.takes, self.gives = module, takes, gives

    def forward(self, *given: Any) -> Any:
        """What the module gives."""
        return _as(self.module(*_as(given, self.takes)), self.gives)


def in_half(graph: StaticGraph, precision: str) -> StaticGraph:
    """The graph with its products in half precision; it is changed, the model's weights are not.

    What it takes and gives stays as it was.

    Args:
        graph: of ``static_graph``, fp32.
        precision: one of ``DTYPES``.

    Raises:
        ModelError: if a weight is too large for it.
    """
    low, full = DTYPES[precision], torch.float32
    detector, details = graph.detector, graph.details
    halves: list[tuple[nn.Module, str, torch.dtype]] = [
        (detector, "backbone", low),
        (detector.proposals, "head", full),
        (detector, "atlas", full),  # read at fp32 coordinates, which takes fp32 features
        (detector.boxes, "head", low),
        (detector.boxes, "predictor", full),
    ]
    if details is not None:
        halves += [(details, "head", low), (details, "predictor", full)]
    for parent, name, gives in halves:
        module = getattr(parent, name)
        _keep_norms(module, low)
        _halve(module, low)
        setattr(parent, name, Cast(module, takes=low, gives=gives))
    return graph


def _keep_norms(module: nn.Module, dtype: torch.dtype) -> None:
    """Have everything that normalises compute in fp32, between products that do not."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, NORMS):
                setattr(parent, name, Cast(child, takes=torch.float32, gives=dtype))


def _halve(module: nn.Module, dtype: torch.dtype) -> None:
    """New weights in place of the fp32 ones, which the model shares, but for the norms' own."""
    if isinstance(module, NORMS):
        return
    largest = torch.finfo(dtype).max
    for name, weight in module._parameters.items():
        if weight is None:
            continue
        if not bool((weight.detach().abs() <= largest).all()):
            raise ModelError(
                f"The weight {name} of a {type(module).__name__} is too large for "
                f"{str(dtype).removeprefix('torch.')}: use --precision fp32 or bf16."
            )
        module._parameters[name] = nn.Parameter(weight.detach().to(dtype), requires_grad=False)
    for child in module.children():
        _halve(child, dtype)


def _as(values: Any, dtype: torch.dtype) -> Any:
    """The same tensor, list, tuple or dict with its floats in another type."""
    if isinstance(values, Tensor):
        return values.to(dtype) if values.is_floating_point() else values
    if isinstance(values, dict):
        return {name: _as(value, dtype) for name, value in values.items()}
    return type(values)(_as(value, dtype) for value in values)
