"""What detectors of other projects give, as boxes in canvas px; without thresholds and NMS.

The layouts are those of the projects' own exports: YOLOv5, YOLOX (Ge et al. 2021, section 2),
YOLOv8 (Ultralytics), RT-DETR (Zhao et al. 2023), FastestDet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.detections import Floats, Labels
from models.foreign.description import Layout

Size = tuple[int, int]  # (height, width) px
LARGE_OFFSET = 30.0  # cells; further away than any YOLOX puts a centre, nearer than most pixels are


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """N boxes of one picture.

    Attributes:
        boxes: (N,4) float32 xyxy px of the canvas.
        scores: (N,) float32 in 0..1.
        labels: (N,) int64 from 0.
        extra: (N,E) float32: mask coefficients or keypoints; E may be 0.
        is_final: whether there are no doubles among them.
    """

    boxes: Floats
    scores: Floats
    labels: Labels
    extra: Floats
    is_final: bool = False

    def select(self, keep: Labels) -> Candidates:
        """Those at ``keep``, in that order."""
        return Candidates(
            self.boxes[keep], self.scores[keep], self.labels[keep], self.extra[keep], self.is_final
        )


Outputs = Mapping[str, Floats]  # by name, of one picture, with its axis
Decoder = Callable[[Outputs, int, Size], Candidates]


def cells(canvas: Size, strides: Sequence[int]) -> int:
    """How many cells grids of these strides have over a canvas."""
    height, width = canvas
    return sum((height // stride) * (width // stride) for stride in strides)


def strides_of(count: int, canvas: Size, anchors: int = 1) -> tuple[int, ...] | None:
    """The strides of grids with so many cells, or None."""
    for strides in ((8, 16, 32), (8, 16, 32, 64)):
        if anchors * cells(canvas, strides) == count:
            return strides
    return None


def _xyxy(centres: Floats, sizes: Floats) -> Floats:
    corners: Floats = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)
    return corners


def _best(boxes: Floats, scores: Floats, extra: Floats | None = None) -> Candidates:
    """With the likeliest of the classes (N,C)."""
    labels = scores.argmax(axis=1)
    if extra is None:
        extra = np.zeros((len(boxes), 0), np.float32)
    return Candidates(boxes, scores[np.arange(len(labels)), labels], labels, extra)


def _only(outputs: Outputs) -> Floats:
    """The first output, without the picture's axis."""
    first: Floats = next(iter(outputs.values()))[0]
    return first


def _yolov5(outputs: Outputs, class_count: int, _canvas: Size) -> Candidates:
    rows = _only(outputs)
    scores = rows[:, 4:5] * rows[:, 5 : 5 + class_count]
    return _best(_xyxy(rows[:, :2], rows[:, 2:4]), scores, rows[:, 5 + class_count :])


def _yolov8(outputs: Outputs, class_count: int, _canvas: Size) -> Candidates:
    rows = _only(outputs).T
    scores = rows[:, 4 : 4 + class_count]
    return _best(_xyxy(rows[:, :2], rows[:, 2:4]), scores, rows[:, 4 + class_count :])


def _yolox(outputs: Outputs, class_count: int, canvas: Size) -> Candidates:
    rows = _only(outputs)
    centres, sizes = rows[:, :2], rows[:, 2:4]
    if np.abs(centres).max(initial=0) < LARGE_OFFSET:  # not yet decoded inside of the file
        places, strides = _grid(canvas, strides_of(len(rows), canvas) or (8, 16, 32))
        centres, sizes = (centres + places) * strides, np.exp(sizes) * strides
    return _best(_xyxy(centres, sizes), rows[:, 4:5] * rows[:, 5 : 5 + class_count])


def _grid(canvas: Size, strides: Sequence[int]) -> tuple[Floats, Floats]:
    """Column and row (N,2) of each cell, and its stride (N,1)."""
    places, sizes = [], []
    for stride in strides:
        rows, columns = np.mgrid[: canvas[0] // stride, : canvas[1] // stride]
        places.append(np.stack([columns, rows], axis=-1).reshape(-1, 2))
        sizes.append(np.full((rows.size, 1), stride))
    return np.concatenate(places).astype(np.float32), np.concatenate(sizes).astype(np.float32)


def _end_to_end(outputs: Outputs, class_count: int, _canvas: Size) -> Candidates:
    rows = _only(outputs)
    rows = rows[rows[:, 5] < class_count]
    labels = rows[:, 5].astype(np.int64)
    return Candidates(rows[:, :4], rows[:, 4], labels, rows[:, 6:], is_final=True)


def box_output(shapes: Mapping[str, Sequence[int | None]]) -> str:
    """Name of the output with boxes, of two that may both have four columns."""
    fitting = [name for name, shape in shapes.items() if shape[-1] == 4]
    return next((name for name in fitting if "box" in name), fitting[0])


def _detr(outputs: Outputs, _class_count: int, canvas: Size) -> Candidates:
    if len(outputs) == 1:
        rows = _only(outputs)
        boxes, scores = rows[:, :4], rows[:, 4:]
    else:
        name = box_output({name: part.shape for name, part in outputs.items()})
        boxes = outputs[name][0]
        logits = next(part[0] for other, part in outputs.items() if other != name)
        scores = 1 / (1 + np.exp(-logits))
    height, width = canvas
    found = _best(
        _xyxy(boxes[:, :2], boxes[:, 2:]) * np.array([width, height] * 2, np.float32), scores
    )
    return Candidates(found.boxes, found.scores, found.labels, found.extra, is_final=True)


def _fastestdet(outputs: Outputs, class_count: int, canvas: Size) -> Candidates:
    """The score is objectness to the power of 0.6 times the class's to that of 0.4, as upstream."""
    grid = _only(outputs)
    _, rows, columns = grid.shape
    values = grid.reshape(len(grid), -1).T
    places = np.mgrid[:rows, :columns][::-1].reshape(2, -1).T
    scale = np.array([canvas[1] / columns, canvas[0] / rows], np.float32)
    centres = (places + np.tanh(values[:, 1:3])) * scale
    sizes = np.array(canvas[::-1], np.float32) / (1 + np.exp(-values[:, 3:5]))
    scores = values[:, :1] ** 0.6 * values[:, 5 : 5 + class_count] ** 0.4
    return _best(_xyxy(centres, sizes).astype(np.float32), scores)


def _boxes(outputs: Outputs, _class_count: int, _canvas: Size) -> Candidates:
    boxes, scores, labels = (
        part[0] if part.ndim > dimensions else part
        for part, dimensions in (
            (outputs["boxes"], 2),
            (outputs["scores"], 1),
            (outputs["labels"], 1),
        )
    )
    nothing = np.zeros((len(boxes), 0), np.float32)
    return Candidates(boxes, scores, labels.astype(np.int64), nothing, is_final=True)


DECODERS: dict[Layout, Decoder] = {
    "yolov5": _yolov5,
    "yolov8": _yolov8,
    "yolox": _yolox,
    "end-to-end": _end_to_end,
    "detr": _detr,
    "fastestdet": _fastestdet,
    "boxes": _boxes,
}
