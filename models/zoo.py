"""Models by name: the embedded person model, torchvision's detectors and segmentation models."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.error import URLError

import torchvision
from torch import nn

from models.batch_norm import freeze_batch_norm
from models.checkpoint import Checkpoint
from models.compact import PERSON_CLASSES, mask_rcnn_person
from models.errors import ModelError, UsageError

EMBEDDED = "mask_rcnn_person"
EMBEDDED_WEIGHTS = Path(__file__).parent / "weights" / "mask_rcnn_person.safetensors"
# Files of torchvision's that were trained before its frozen BatchNorm had an epsilon; torchvision,
# too, takes it away when it loads them
_WITHOUT_EPS = (
    "fasterrcnn_resnet50_fpn_coco-258fb6c6.pth",
    "keypointrcnn_resnet50_fpn_coco-fc266e95.pth",
    "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth",
    "retinanet_resnet50_fpn_coco-eeacb38b.pth",
)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A detector with weights.

    Attributes:
        name: name in this zoo.
        module: a torchvision detection or segmentation model in evaluation mode, on the CPU.
        class_names: name of each label, background first.
    """

    name: str
    module: nn.Module = field(repr=False)
    class_names: tuple[str, ...]


def model_names() -> list[str]:
    """Every name that ``load`` accepts, the default first."""
    return [EMBEDDED, *detector_names(), *segmentation_names()]


def detector_names() -> list[str]:
    """Torchvision's detectors, which find objects one by one."""
    return list(torchvision.models.list_models(module=torchvision.models.detection))


def segmentation_names() -> list[str]:
    """Torchvision's semantic segmentation models, which tell what each pixel shows."""
    return list(torchvision.models.list_models(module=torchvision.models.segmentation))


def load(name: str = EMBEDDED, weights: Path | None = None) -> LoadedModel:
    """A model ready for inference.

    Args:
        name: one of ``model_names()``.
        weights: a local .safetensors or .pth file; None for the embedded weights, or for
            torchvision's COCO weights, which torchvision downloads once.

    Raises:
        UsageError: if there is no model of that name or no such file.
        ModelError: if the weights cannot be had or belong to another model.
    """
    _check_name(name)
    if name == EMBEDDED:
        class_names, weights = PERSON_CLASSES, weights or EMBEDDED_WEIGHTS
    else:
        class_names = tuple(torchvision.models.get_model_weights(name).DEFAULT.meta["categories"])
    if weights is None:
        return LoadedModel(name, _download(name).eval(), class_names)
    loaded = _from_checkpoint(name, Checkpoint.read(weights), class_names)
    if weights.name in _WITHOUT_EPS:
        freeze_batch_norm(loaded.module, eps=0.0)
    return loaded


def build(
    name: str,
    *,
    num_classes: int,
    num_keypoints: int | None = None,
    has_auxiliary: bool = False,
) -> nn.Module:
    """A model with random weights.

    Args:
        name: one of ``model_names()``.
        num_classes: classes with background as class 0.
        num_keypoints: of a Keypoint R-CNN, if not a person's 17.
        has_auxiliary: whether a segmentation model has the second head that training uses.

    Raises:
        UsageError: if there is no model of that name.
    """
    _check_name(name)
    if name == EMBEDDED:
        return cast("nn.Module", mask_rcnn_person(num_classes=num_classes))
    more: dict[str, Any] = {} if num_keypoints is None else {"num_keypoints": num_keypoints}
    if has_auxiliary:
        more["aux_loss"] = True
    model = torchvision.models.get_model(
        name, weights=None, weights_backbone=None, num_classes=num_classes, **more
    )
    return cast("nn.Module", model)


def _check_name(name: str) -> None:
    if name not in model_names():
        close = difflib.get_close_matches(name, model_names(), n=3) or [EMBEDDED]
        raise UsageError(f"There is no model {name!r}: did you mean {' or '.join(close)}?")


def _from_checkpoint(
    name: str, checkpoint: Checkpoint, default_names: tuple[str, ...]
) -> LoadedModel:
    count = checkpoint.class_count() or len(checkpoint.class_names or default_names)
    if checkpoint.class_names is not None:
        class_names = checkpoint.class_names
        if len(class_names) != count:
            raise ModelError(
                f"{checkpoint.path} names {len(class_names)} classes, but its weights tell "
                f"{count} apart, background included."
            )
    elif count == len(default_names):
        class_names = default_names
    else:
        class_names = ("__background__", *(f"class {label}" for label in range(1, count)))
    model = build(
        name,
        num_classes=count,
        num_keypoints=checkpoint.keypoint_count(),
        has_auxiliary=checkpoint.has_auxiliary(),
    )
    checkpoint.load_into(model, name)
    return LoadedModel(name, model.eval(), class_names)


def _download(name: str) -> nn.Module:
    try:
        return cast("nn.Module", torchvision.models.get_model(name, weights="DEFAULT"))
    except (URLError, OSError, RuntimeError) as error:
        raise ModelError(
            f"The COCO weights of {name} could not be downloaded: connect to the network, give a "
            f"local copy with --weights FILE, or use the embedded --model {EMBEDDED}."
        ) from error
