"""Detectors as other projects export them, that find two given objects in every picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.foreign.decode import cells

Array = npt.NDArray[Any]

SIDE = 64  # px of the square canvas
STRIDES = (8, 16, 32)
COUNT = cells((SIDE, SIDE), STRIDES)
CLASSES = 3
# (N,4) xyxy px of the canvas; the second one's double is suppressed where there is NMS
BOXES = np.array([[8, 8, 24, 40], [30.5, 4, 62, 20]], np.float32)
LABELS, SCORES = (2, 0), (0.875, 0.75)
KEYPOINT = (12.0, 30.0, 0.5)


def write_detector(
    path: Path,
    outputs: dict[str, Array],
    *,
    notes: dict[str, str] | None = None,
    canvas: tuple[int | str, int | str] = (SIDE, SIDE),
    size_input: bool = False,
) -> Path:
    """An ONNX file that gives ``outputs`` whatever it is shown."""
    picture = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, *canvas])
    inputs, nodes = [picture], []
    if size_input:
        inputs.append(helper.make_tensor_value_info("orig_target_sizes", TensorProto.INT64, [1, 2]))
    nodes.append(helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0))
    nodes.append(helper.make_node("Sub", ["mean", "mean"], ["nothing"]))
    constants, ports = [], []
    for name, value in outputs.items():
        constants.append(numpy_helper.from_array(value, f"{name} given"))
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        nodes.append(helper.make_node("Cast", ["nothing"], [f"{name} nothing"], to=kind))
        nodes.append(helper.make_node("Add", [f"{name} given", f"{name} nothing"], [name]))
        ports.append(helper.make_tensor_value_info(name, kind, value.shape))
    graph = helper.make_graph(nodes, "detector", inputs, ports, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, notes or {})
    onnx.save(model, path)
    return path


def _centred(boxes: Array) -> Array:
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)


def _one_hot(values: tuple[float, ...]) -> Array:
    rows = np.zeros((len(values), CLASSES), np.float32)
    rows[np.arange(len(values)), LABELS] = values
    return rows


def _doubled() -> Array:
    """Centres and sizes; the last is the second object again, a little off."""
    return _centred(np.concatenate([BOXES, BOXES[1:] + 0.5]))


def yolov5() -> dict[str, Array]:
    rows = np.zeros((3 * COUNT, 5 + CLASSES), np.float32)
    rows[[5, 40, 41], :4] = _doubled()
    rows[[5, 40, 41], 4] = 1
    rows[[5, 40], 5:] = _one_hot(SCORES)
    rows[41, 5:] = rows[40, 5:] * 0.9
    return {"output0": rows[None]}


def yolov8(extra: int = 0) -> dict[str, Array]:
    rows = np.zeros((COUNT, 4 + CLASSES + extra), np.float32)
    rows[[3, 20, 21], :4] = _doubled()
    rows[[3, 20], 4 : 4 + CLASSES] = _one_hot(SCORES)
    rows[21] = rows[20] * 0.9
    rows[21, :4] = _doubled()[2]
    return {"output0": np.ascontiguousarray(rows.T[None])}


def yolov8_masks() -> dict[str, Array]:
    """The prototype is positive in the left half of the canvas; both objects take it as it is."""
    found = yolov8(extra=32)
    found["output0"][0, 4 + CLASSES] = 1
    prototypes = np.zeros((1, 32, SIDE // 4, SIDE // 4), np.float32)
    prototypes[0, 0] = -20
    prototypes[0, 0, :, : SIDE // 8] = 20
    return found | {"output1": prototypes}


def yolov8_keypoints() -> dict[str, Array]:
    found = yolov8(extra=3)
    found["output0"][0, 4 + CLASSES :] = np.array(KEYPOINT)[:, None]
    return found


def yolox_raw() -> dict[str, Array]:
    """The first object is centred on cell (2,3) of stride 8, the second on (2,0) of stride 16."""
    rows = np.zeros((COUNT, 5 + CLASSES), np.float32)
    places, sizes = _centred(BOXES)[:, :2], _centred(BOXES)[:, 2:]
    for row, stride, cell, number in ((3 * 8 + 2, 8, (2, 3), 0), (64 + 2, 16, (2, 0), 1)):
        rows[row, :2] = places[number] / stride - cell
        rows[row, 2:4] = np.log(sizes[number] / stride)
        rows[row, 4] = 1
        rows[row, 5:] = _one_hot(SCORES)[number]
    return {"output": rows[None]}


def yolox_decoded() -> dict[str, Array]:
    rows = np.zeros((COUNT, 5 + CLASSES), np.float32)
    rows[[3, 20], :4] = _centred(BOXES)
    rows[[3, 20], 4] = 1
    rows[[3, 20], 5:] = _one_hot(SCORES)
    return {"output": rows[None]}


def end_to_end() -> dict[str, Array]:
    rows = np.zeros((300, 6), np.float32)
    rows[:2] = np.column_stack([BOXES, SCORES, LABELS])
    return {"output0": rows[None]}


def detr_in_one() -> dict[str, Array]:
    rows = np.zeros((300, 4 + CLASSES), np.float32)
    rows[:2] = np.column_stack([_centred(BOXES) / SIDE, _one_hot(SCORES)])
    return {"output0": rows[None]}


def detr_in_two() -> dict[str, Array]:
    logits = np.full((1, 300, CLASSES), -9, np.float32)
    for number, (label, score) in enumerate(zip(LABELS, SCORES, strict=True)):
        logits[0, number, label] = np.log(score / (1 - score))
    boxes = np.zeros((1, 300, 4), np.float32)
    boxes[0, :2] = _centred(BOXES) / SIDE
    return {"logits": logits, "pred_boxes": boxes}


def boxes_by_name() -> dict[str, Array]:
    return {
        "labels": np.array([LABELS], np.int64),
        "boxes": BOXES[None],
        "scores": np.array([SCORES], np.float32),
    }


def fastestdet() -> dict[str, Array]:
    """4x4 cells of 16 px."""
    grid = np.zeros((5 + CLASSES, 4, 4), np.float32)
    for number, box in enumerate(_centred(BOXES)):
        column, row = (box[:2] // 16).astype(int)
        grid[0, row, column] = SCORES[number]
        grid[1:3, row, column] = np.arctanh(box[:2] / 16 - (column, row))
        parts = box[2:] / SIDE
        grid[3:5, row, column] = np.log(parts / (1 - parts))
        grid[5 + LABELS[number], row, column] = SCORES[number]
    return {"758": grid[None]}


LAYOUTS: dict[str, tuple[Callable[[], dict[str, Array]], str]] = {
    "yolov5": (yolov5, "yolov5"),
    "yolov8": (yolov8, "yolov8"),
    "yolov8 masks": (yolov8_masks, "yolov8"),
    "yolov8 keypoints": (yolov8_keypoints, "yolov8"),
    "yolox raw": (yolox_raw, "yolox"),
    "yolox decoded": (yolox_decoded, "yolox"),
    "end to end": (end_to_end, "end-to-end"),
    "detr in one": (detr_in_one, "detr"),
    "detr in two": (detr_in_two, "detr"),
    "boxes": (boxes_by_name, "boxes"),
    "fastestdet": (fastestdet, "fastestdet"),
}
