"""Which project a detector comes from, seen from the shapes of what it takes and gives."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchvision.models.detection import SSD300_VGG16_Weights

from models.errors import ModelError
from models.foreign.decode import Size, box_output, strides_of
from models.foreign.description import LAYOUTS, Description, Layout

USUAL_CANVAS = 640
PROTOTYPES = 32  # of masks, in YOLO's segmentation models
# COCO's 80 classes in the order of the projects, which is torchvision's without its gaps
COCO_CLASSES = tuple(
    name
    for name in SSD300_VGG16_Weights.COCO_V1.meta["categories"]
    if name not in ("__background__", "N/A")
)

Shape = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Ports:
    """What an ONNX file takes and gives.

    Attributes:
        image: name of the input that takes the picture.
        shape: of that input, (N,3,H,W); None for what is not fixed.
        size_input: name of the input that takes the picture's size, if there is one.
        outputs: shape by name.
        notes: the metadata in the file.
    """

    image: str
    shape: Shape
    size_input: str | None
    outputs: Mapping[str, Shape]
    notes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Recognised:
    """All that is needed to run it.

    Attributes:
        layout: of its outputs.
        canvas: (height, width) px.
        class_names: name of each label, from 0.
        keypoints: how many numbers of each object are keypoints: 3 a point, or 0.
        prototypes: name of the output with the prototypes of masks, None without.
        colour: rgb or bgr.
        scale: what pixels of 0 to 255 are multiplied with.
        is_stretched: whether pictures are stretched into the canvas.
    """

    layout: Layout
    canvas: Size
    class_names: tuple[str, ...]
    keypoints: int
    prototypes: str | None
    colour: str
    scale: float
    is_stretched: bool


def recognise(path: Path, ports: Ports, described: Description) -> Recognised:
    """What is known of a model, from itself and from its description.

    Raises:
        ModelError: if it is none that is known, and is not described.
    """
    notes = _notes(ports.notes)
    canvas = _canvas(ports, described, notes)
    layout = described.layout or _layout(ports, canvas, notes)
    if layout is None:
        shapes = ", ".join(f"{name} {list(shape)}" for name, shape in ports.outputs.items())
        raise ModelError(
            f"{path} gives {shapes} for {canvas[1]}x{canvas[0]} px, which is no layout that is "
            f"known: describe it in {path.with_suffix('.yaml').name}, with a layout of "
            f"{', '.join(LAYOUTS)}; or it was made by 'rcnn-live export' and is damaged."
        )
    prototypes = _prototypes(ports)
    keypoints = _product(notes.get("kpt_shape"))
    count = _class_count(ports, layout, keypoints, prototypes)
    is_raw = layout in ("yolox", "fastestdet")
    return Recognised(
        layout=layout,
        canvas=canvas,
        class_names=_class_names(path, described, notes, count),
        keypoints=keypoints,
        prototypes=prototypes,
        colour=described.colour or ("bgr" if is_raw else "rgb"),
        scale=described.scale or (1.0 if layout == "yolox" else 1 / 255),
        is_stretched=(described.fit or ("stretch" if _stretches(layout) else "letterbox"))
        == "stretch",
    )


def _stretches(layout: Layout) -> bool:
    return layout in ("fastestdet", "detr", "boxes")


def _notes(notes: Mapping[str, str]) -> dict[str, Any]:
    """Ultralytics writes Python's own literals."""
    read = {}
    for key in ("names", "imgsz", "kpt_shape", "end2end"):
        try:
            read[key] = ast.literal_eval(notes[key])
        except (KeyError, ValueError, SyntaxError):
            continue
    return read


def _canvas(ports: Ports, described: Description, notes: Mapping[str, Any]) -> Size:
    """What the file fixes; of the rest, what is described, or what the file notes."""
    height, width = ports.shape[2:]
    sides = notes.get("imgsz")
    if described.canvas is not None:
        free = described.canvas
    elif isinstance(sides, list) and len(sides) == 2 and all(isinstance(s, int) for s in sides):
        free = sides[0], sides[1]
    else:
        free = USUAL_CANVAS, USUAL_CANVAS
    return height or free[0], width or free[1]


def _layout(ports: Ports, canvas: Size, notes: Mapping[str, Any]) -> Layout | None:
    shapes = [shape for shape in ports.outputs.values() if len(shape) == 3]
    if {"boxes", "labels", "scores"} <= set(ports.outputs):
        return "boxes"
    if len(shapes) == 2 and any(shape[2] == 4 for shape in shapes):
        return "detr"
    shape = next(iter(ports.outputs.values()))
    if len(shape) == 4 and len(ports.outputs) == 1:
        return "fastestdet"
    if len(shape) != 3:
        return None
    _, rows, columns = shape
    if rows is None or columns is None:  # any canvas, so the larger is what is not known
        return "yolov8" if columns is None and rows is not None else None
    if strides_of(columns, canvas):
        return "yolov8"
    if strides_of(rows, canvas, anchors=3):
        return "yolov5"
    if strides_of(rows, canvas):
        return "yolox"
    names = notes.get("names", ())
    if columns == 6 and (notes.get("end2end", True) or len(names) != 2):
        return "end-to-end"
    return "detr" if columns == 4 + len(names) or columns == 4 + len(COCO_CLASSES) else None


def _prototypes(ports: Ports) -> str | None:
    for name, shape in ports.outputs.items():
        if len(shape) == 4 and shape[1] == PROTOTYPES and len(ports.outputs) > 1:
            return name
    return None


def _class_count(
    ports: Ports, layout: Layout, keypoints: int, prototypes: str | None
) -> int | None:
    """How many classes the shapes leave room for; None if they do not tell."""
    shape = next(iter(ports.outputs.values()))
    more = keypoints + (PROTOTYPES if prototypes else 0)
    channels, before = {
        "yolov5": (shape[-1], 5),
        "yolox": (shape[-1], 5),
        "yolov8": (shape[1], 4),
        "fastestdet": (shape[1], 5),
        "detr": (shape[-1], 4),
    }.get(layout, (None, 0))
    if layout == "detr" and len(ports.outputs) > 1:
        boxes = box_output(ports.outputs)
        channels, before = next(s[-1] for name, s in ports.outputs.items() if name != boxes), 0
    return None if channels is None else channels - before - more


def _class_names(
    path: Path, described: Description, notes: Mapping[str, Any], count: int | None
) -> tuple[str, ...]:
    names = notes.get("names")
    if described.classes is not None:
        told = described.classes
    elif isinstance(names, dict):
        told = tuple(str(names[number]) for number in sorted(names))
    elif count in (None, len(COCO_CLASSES)):
        told = COCO_CLASSES
    else:
        told = tuple(f"class {number}" for number in range(count))
    if count is not None and len(told) != count:
        raise ModelError(
            f"{path} tells {count} classes apart, but {len(told)} names are given for them: "
            f"correct 'classes' in {path.with_suffix('.yaml').name}."
        )
    return told


def _product(shape: Any) -> int:
    """Numbers of an object's keypoints, of (K,3)."""
    if isinstance(shape, list) and len(shape) == 2 and shape[1] == 3:
        return int(shape[0] * shape[1])
    return 0
