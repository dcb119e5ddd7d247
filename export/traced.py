"""A static graph as PyTorch's own exported programs, which every other form is made from."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from models.deploy.graph import StaticGraph
from models.deploy.roi_heads import Masks

LARGEST_BATCH = 64


def trace_detector(graph: StaticGraph, batch: int | None) -> ExportedProgram:
    """The first graph.

    Args:
        graph: see ``models.deploy.graph``.
        batch: pictures at a time; None for any number.
    """
    return _trace(graph.detector, graph.canvas, batch)


def trace_whole(graph: StaticGraph, batch: int | None) -> ExportedProgram:
    """Both graphs as one; arguments as for ``trace_detector``."""
    return _trace(graph.whole, graph.canvas, batch)


def _trace(module: nn.Module, canvas: tuple[int, int], batch: int | None) -> ExportedProgram:
    # two, as torch takes a one for a constant
    pixels = torch.zeros(batch or 2, *canvas, 3, dtype=torch.uint8)
    sizes = None if batch else {"pixels": {0: Dim("batch", min=1, max=LARGEST_BATCH)}}
    with torch.no_grad():
        return torch.export.export(module, (pixels,), dynamic_shapes=sizes, strict=False)


def trace_details(graph: StaticGraph) -> ExportedProgram:
    """The second graph, for any number of objects."""
    assert graph.details is not None
    pixels = torch.zeros(1, *graph.canvas, 3, dtype=torch.uint8)
    rows = {0: Dim("objects", min=1, max=LARGEST_BATCH * graph.detector.boxes.count)}
    with torch.no_grad():
        labels, under = (graph.detector(pixels)[at][0, :2] for at in (2, 4))
        given: tuple[Tensor, ...] = (under,)
        sizes = {"under": rows}
        if isinstance(graph.details, Masks):
            given, sizes = (under, labels), {"under": rows, "labels": rows}
        return torch.export.export(graph.details, given, dynamic_shapes=sizes, strict=False)
