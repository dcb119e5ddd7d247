"""The systems by name."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

from torch.utils.flop_counter import FlopCounterMode

from models.data.samples import LabelledPictures, as_image
from models.errors import ModelError, UsageError
from models.lineage.base import Budget, Lineage

WEIGHTS = Path(__file__).parents[1] / "weights" / "shapes"


class System(NamedTuple):
    """Where a system is.

    Attributes:
        module: of this package.
        class_name: in that module.
        weights: name of the file that comes along.
        finds: for people to read.
    """

    module: str
    class_name: str
    weights: str
    finds: str = "boxes"


# In historical order
SYSTEMS = {
    "sliding_window_shapes": System("sliding_window", "SlidingWindow", "sliding_window"),
    "fully_convolutional_shapes": System("sliding_window", "FullyConvolutional", "sliding_window"),
    "rcnn_shapes": System("rcnn", "RCNN", "rcnn"),
    "fast_rcnn_shapes": System("fast_rcnn", "FastRCNN", "fast_rcnn"),
    "faster_rcnn_shapes": System("faster_rcnn", "FasterRCNN", "faster_rcnn"),
    "mask_rcnn_shapes": System("mask_rcnn", "MaskRCNN", "mask_rcnn", "boxes, masks"),
    "mask_rcnn_pool_shapes": System("mask_rcnn", "MaskRCNNPool", "mask_rcnn_pool", "boxes, masks"),
    "keypoint_rcnn_shapes": System(
        "mask_rcnn", "KeypointRCNN", "mask_rcnn", "boxes, masks, keypoints"
    ),
    "grid_shapes": System("grid", "Grid", "grid", "boxes, single stage"),
    "localise_shapes": System("localise", "Localise", "localise", "the largest object's box"),
    "pose_shapes": System("pose", "Pose", "localise", "the largest object's box, keypoints"),
    "fcn_shapes": System("fcn", "FCN", "fcn", "semantic segmentation"),
}


def system_class(name: str) -> type[Lineage]:
    """The class of a system; what it needs is imported only now.

    Raises:
        UsageError: if there is no system of that name.
    """
    if name not in SYSTEMS:
        close = difflib.get_close_matches(name, SYSTEMS, n=1) or list(SYSTEMS)
        raise UsageError(f"There is no system {name!r} in the lineage: use {' or '.join(close)}.")
    place = SYSTEMS[name]
    system = getattr(importlib.import_module(f"models.lineage.{place.module}"), place.class_name)
    return cast("type[Lineage]", system)


def weights_of(name: str) -> Path:
    """The file that comes along with a system."""
    return WEIGHTS / f"{SYSTEMS[name].weights}.safetensors"


def load_system(name: str, weights: Path | None = None) -> Lineage:
    """A system with what it has learned.

    Args:
        name: of ``SYSTEMS``.
        weights: what ``Lineage.save`` wrote; None for the weights that come along.

    Raises:
        UsageError: if there is no system of that name or no such file.
        ModelError: if the weights belong to another system, or none come along.
    """
    system = system_class(name)
    if weights is None and not weights_of(name).is_file():
        raise ModelError(f"No weights come along for {name}: train it, then give --weights FILE.")
    return system.load(weights or weights_of(name))


def train_system(
    name: str,
    pictures: LabelledPictures,
    budget: Budget,
    weights: Path,
    validation: LabelledPictures | None = None,
) -> Lineage:
    """A system that has learned ``pictures``, and what it has learned in the file ``weights``.

    Args:
        name: of ``SYSTEMS``.
        pictures: to learn from.
        budget: how much.
        weights: a new file, or one to write over.
        validation: pictures to judge by; the file then says how good it is.

    Raises:
        UsageError: if there is no system of that name, or a package is not here that it needs.
    """
    system = system_class(name)(pictures.class_names)
    system.train(pictures, budget)
    system.save(weights)
    sharing = [load_system(other, weights) for other in sharing_weights(name)]
    system.save(weights, known_of(sharing, pictures, validation))
    return system


def sharing_weights(name: str) -> list[str]:
    """The systems that have their weights in one file with ``name``, itself included."""
    return [other for other in SYSTEMS if SYSTEMS[other].weights == SYSTEMS[name].weights]


def known_of(
    systems: Sequence[Lineage], pictures: LabelledPictures, validation: LabelledPictures | None
) -> dict[str, str]:
    """What ``rcnn-live models`` tells: GFLOPs of a picture, and how well it finds.

    Args:
        systems: that share their weights, and so find the same; the last is the fastest.
        pictures: of which the first is looked at.
        validation: pictures to judge by; None to say nothing of that.
    """
    from models.lineage.measure import figures  # not for every model that is loaded

    known = {}
    for system in systems:
        with FlopCounterMode(display=False) as counter:
            system.detect(as_image(pictures[0][0]))
        known[f"gflops {system.name}"] = f"{counter.get_total_flops() / 1e9:.2f}"
    if validation is not None:
        told = figures(systems[-1], validation)
        known["figures"] = f"{told} ({len(validation)} shapes pictures)"
    return known
