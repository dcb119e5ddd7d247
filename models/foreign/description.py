"""What must be known of somebody else's detector to run it; a YAML file may say it.

# yolo11n.yaml, beside yolo11n.onnx; every key may be left out if the file itself tells
layout: yolov8            # see ``LAYOUTS``
classes: [person, bicycle]
canvas: [640, 640]        # (height, width) px, of files that take any
colour: rgb               # or bgr
scale: 0.00392157         # what pixels of 0 to 255 are multiplied with
mean: [0, 0, 0]           # taken away after that, in the order of the colours
std: [1, 1, 1]            # and divided by
fit: letterbox            # or stretch
iou: 0.6                  # boxes of a class that overlap more are one object
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml  # type: ignore[import-untyped]
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.errors import UsageError

Layout = Literal["yolov5", "yolov8", "yolox", "end-to-end", "detr", "fastestdet", "boxes"]
LAYOUTS: dict[Layout, str] = {
    "yolov5": "(1,N,5+C): x, y, w, h px, objectness, classes; v5 and v7",
    "yolov8": "(1,4+C,N): x, y, w, h px, classes; v8 to v12, with masks or keypoints as well",
    "yolox": "(1,N,5+C): offsets in cells and logarithms of sizes, or px",
    "end-to-end": "(1,N,6): xyxy px, score, class; v10 and later exports with NMS inside",
    "detr": "(1,N,4+C), or boxes and logits: x, y, w, h as parts of the canvas; RT-DETR",
    "fastestdet": "(1,5+C,h,w): objectness, offsets and sizes, classes",
    "boxes": "boxes, labels and scores by these names; xyxy px; torchvision, RT-DETR",
}

_Number = Annotated[float, Field(allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Three = tuple[_Number, _Number, _Number]


class Description(BaseModel):
    """See the module. What is None is what the ONNX file says, or what the layout usually has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    layout: Layout | None = None
    classes: tuple[str, ...] | None = None
    canvas: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]] | None = None
    colour: Literal["rgb", "bgr"] | None = None
    scale: _Positive | None = None
    mean: Three = (0.0, 0.0, 0.0)
    std: tuple[_Positive, _Positive, _Positive] = (1.0, 1.0, 1.0)
    fit: Literal["letterbox", "stretch"] | None = None
    iou: Annotated[float, Field(gt=0, le=1)] = 0.6


def describe(model: Path) -> Description:
    """What the YAML file beside a model says; nothing if there is none.

    Args:
        model: for ``a.onnx`` the file is ``a.yaml``, or ``a.yml``.

    Raises:
        UsageError: if it says something that cannot be.
    """
    path = next((p for p in (model.with_suffix(s) for s in (".yaml", ".yml")) if p.exists()), None)
    if path is None:
        return Description()
    try:
        return Description.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(str(part) for part in fault["loc"]) or "the whole"
        raise UsageError(
            f"{path}: {key}: {fault['msg']}. Keys are {', '.join(Description.model_fields)}."
        ) from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(f"{path} cannot be read as YAML: {reason}.") from error
