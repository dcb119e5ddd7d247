"""What is known of each model of the zoo without loading it; torchvision's own figures."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torchvision
from safetensors import safe_open

from models.lineage.systems import SYSTEMS, weights_of
from models.zoo import EMBEDDED, detector_names, segmentation_names

# of the model card, models/weights/README.md
_EMBEDDED_PARAMETERS, _EMBEDDED_GFLOPS = 5_680_000, 6.95
_FIGURES = {
    "box_map": "box AP",
    "mask_map": "mask AP",
    "kp_map": "keypoint AP",
    "miou": "mean IoU",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A model.

    Attributes:
        name: for ``--model``.
        task: what it finds.
        classes: that its weights tell apart, without the background.
        parameters: how many.
        gflops: billions of operations for one picture of its usual size; a multiply-add is two.
        figures: published, in percent, with the set they were measured on.
        licence: of the weights.
    """

    name: str
    task: str
    classes: int
    parameters: int
    gflops: float
    figures: str
    licence: str


def entries() -> list[Entry]:
    """Every model that ``--model`` accepts by name: the zoo's in its order, then the lineage's."""
    return [
        _embedded(),
        *(_of_torchvision(name, _detector_task) for name in detector_names()),
        *(
            _of_torchvision(name, lambda _: "semantic segmentation")
            for name in segmentation_names()
        ),
        *(_of_lineage(name) for name in SYSTEMS if weights_of(name).is_file()),
    ]


def _embedded() -> Entry:
    return Entry(
        EMBEDDED,
        "boxes, masks",
        1,
        _EMBEDDED_PARAMETERS,
        _EMBEDDED_GFLOPS,
        "AP@0.5 box 97.0, mask 95.6 (Penn-Fudan, 43 pictures)",
        "Apache-2.0, embedded",
    )


def _of_torchvision(name: str, task: Callable[[str], str]) -> Entry:
    meta: dict[str, Any] = torchvision.models.get_model_weights(name).DEFAULT.meta
    ((data, figures),) = meta["_metrics"].items()
    known = ", ".join(
        f"{text} {figures[key]:g}" for key, text in _FIGURES.items() if key in figures
    )
    classes = [label for label in meta["categories"] if label not in ("__background__", "N/A")]
    # torchvision counts a multiply-add as one
    return Entry(
        name,
        task(name),
        len(classes),
        meta["num_params"],
        2 * meta["_ops"],
        f"{known} ({data})",
        "torchvision's, BSD-3-Clause",
    )


def _detector_task(name: str) -> str:
    if name.startswith("maskrcnn"):
        return "boxes, masks"
    if name.startswith("keypointrcnn"):
        return "boxes, keypoints"
    return "boxes" if "rcnn" in name else "boxes, single stage"


def _of_lineage(name: str) -> Entry:
    """By the file of its weights, which says what was measured when it was trained."""
    with safe_open(weights_of(name), framework="pt") as file:
        known = file.metadata()
        shapes = [file.get_slice(key).get_shape() for key in file.keys()]  # noqa: SIM118
    return Entry(
        name,
        SYSTEMS[name].finds,
        len(json.loads(known["classes"])) - 1,
        sum(map(math.prod, shapes)),
        float(known[f"gflops {name}"]),
        known.get("figures", "-"),
        "Apache-2.0, come along",
    )
