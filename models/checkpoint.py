"""Read weights from a file, safely, with one clear sentence for each way a file can be wrong."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from models.errors import ModelError, UsageError

# BatchNorm counts its training steps here; torchvision's frozen form does not, and none is needed
_STEP_COUNT = "num_batches_tracked"
_CLASSIFIERS = (
    "roi_heads.box_predictor.cls_score.weight",
    "classifier.4.weight",  # FCN's and DeepLabV3's
    "classifier.low_classifier.weight",  # LRASPP's
)
_LFS_MARK = b"version https://git-lfs.github.com/spec"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Weights and what the file says of them.

    Attributes:
        path: where they were read from.
        state: parameter name to tensor.
        class_names: class names with the background first, or None when the file has none.
    """

    path: Path
    state: dict[str, Tensor]
    class_names: tuple[str, ...] | None

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Read a .safetensors file, or a .pth file without running any code in it.

        Raises:
            UsageError: if there is no such file.
            ModelError: if the file is empty, truncated, a git-lfs pointer or no weights at all.
        """
        if not path.is_file():
            raise UsageError(f"The weights file {path} does not exist.")
        with path.open("rb") as file:
            head = file.read(len(_LFS_MARK))
        if head == _LFS_MARK:
            raise ModelError(
                f"{path} is a git-lfs pointer, not the weights: run 'git lfs pull' at its source."
            )
        if path.suffix == ".safetensors":
            return cls(path, *_read_safetensors(path))
        return cls(path, _read_pickle(path), None)

    def class_count(self) -> int | None:
        """Classes with background by the shape of the last layer; None for single stages."""
        found = (self.state[name] for name in _CLASSIFIERS if name in self.state)
        return next((len(classifier) for classifier in found), None)

    def has_auxiliary(self) -> bool:
        """Whether it has the second head of a segmentation model."""
        return any(name.startswith("aux_classifier.") for name in self.state)

    def keypoint_count(self) -> int | None:
        """Keypoints of each object by the shape of a Keypoint R-CNN's predictor, else None."""
        predictor = self.state.get("roi_heads.keypoint_predictor.kps_score_lowres.weight")
        return None if predictor is None else predictor.shape[1]

    def load_into(self, model: nn.Module, model_name: str) -> None:
        """Copy the weights into ``model``; every name and shape must match.

        BatchNorm's step counts are no weights: either side may lack them.

        Raises:
            ModelError: if they belong to another model.
        """
        own = model.state_dict()
        missing = _weights(own) - self.state.keys()
        surplus = _weights(self.state) - own.keys()
        reshaped = [
            name
            for name in own.keys() & self.state.keys()
            if own[name].shape != self.state[name].shape
        ]
        if missing or surplus or reshaped:
            raise ModelError(
                f"{self.path} does not hold weights of {model_name}: {len(missing)} tensors are "
                f"missing, {len(surplus)} are not part of it and {len(reshaped)} have another "
                "shape; give the --model they were trained with."
            )
        model.load_state_dict(self.state, strict=False)  # what may differ was compared above


def _weights(state: dict[str, Tensor]) -> set[str]:
    return {name for name in state if not name.endswith(_STEP_COUNT)}


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], tuple[str, ...] | None]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise _damaged(path) from error
    return state, _class_names(path, metadata["classes"]) if "classes" in metadata else None


def _class_names(path: Path, text: str) -> tuple[str, ...]:
    try:
        names = json.loads(text)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ModelError(f"The class names in {path} are not a JSON list of strings: {text!r}.")
    return tuple(names)


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings(action="ignore"):  # of pickles that torch has not written
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make the unpickler fail in any way
        if "unsupported global" in str(error).lower():
            raise ModelError(
                f"{path} holds more than weights, which is not safe to load: save "
                "model.state_dict() alone."
            ) from error
        raise _damaged(path) from error
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]  # torchvision's reference training scripts nest it
    if not _is_state_dict(content):
        raise ModelError(f"{path} is not a state dict: save model.state_dict() alone.")
    return content


def _is_state_dict(content: object) -> TypeGuard[dict[str, Tensor]]:
    return (
        isinstance(content, dict)
        and len(content) > 0
        and all(isinstance(n, str) and isinstance(t, Tensor) for n, t in content.items())
    )


def _damaged(path: Path) -> ModelError:
    return ModelError(
        f"{path} is not a readable weights file: it may be truncated; fetch it again "
        "(.safetensors and .pth are read)."
    )
