"""Models by name: the embedded person model and every torchvision detector."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from urllib.error import URLError

import torchvision
from torch import nn

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
        module: a torchvision detection model in evaluation mode, on the CPU.
        class_names: name of each label, background first.
    """

    name: str
    module: nn.Module = field(repr=False)
    class_names: tuple[str, ...]


def model_names() -> list[str]:
    """Every name that ``load`` accepts, the default first."""
    return [EMBEDDED, *torchvision.models.list_models(module=torchvision.models.detection)]


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
    if name not in model_names():
        close = difflib.get_close_matches(name, model_names(), n=3) or [EMBEDDED]
        raise UsageError(f"There is no model {name!r}: did you mean {' or '.join(close)}?")
    if name == EMBEDDED:
        checkpoint = Checkpoint.read(weights or EMBEDDED_WEIGHTS)
        return _from_checkpoint(name, checkpoint, PERSON_CLASSES, mask_rcnn_person)
    categories = tuple(torchvision.models.get_model_weights(name).DEFAULT.meta["categories"])
    if weights is None:
        return LoadedModel(name, _download(name).eval(), categories)

    def build(*, num_classes: int) -> nn.Module:
        model = torchvision.models.get_model(
            name, weights=None, weights_backbone=None, num_classes=num_classes
        )
        return cast("nn.Module", model)

    loaded = _from_checkpoint(name, Checkpoint.read(weights), categories, build)
    if weights.name in _WITHOUT_EPS:
        for module in loaded.module.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 0.0
    return loaded


def _from_checkpoint(
    name: str,
    checkpoint: Checkpoint,
    default_names: tuple[str, ...],
    build: Callable[..., nn.Module],
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
    model = build(num_classes=count)
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
