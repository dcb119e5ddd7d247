"""What an export is made from and with: it is the same only if all of it is."""

from __future__ import annotations

import hashlib
from importlib import metadata
from pathlib import Path

import torch

from models import zoo
from models.zoo import LoadedModel

PACKAGES = ("rcnn-live", "torch", "torchvision", "onnx", "onnxscript", "onnxslim", "openvino")


def weights_digest(loaded: LoadedModel, weights: Path | None) -> str:
    """SHA-256 of the weights' file; of the tensors themselves where torchvision fetched them."""
    if weights is None and loaded.name == zoo.EMBEDDED:
        weights = zoo.EMBEDDED_WEIGHTS
    if weights is not None:
        return file_digest(weights)
    digest = hashlib.sha256()
    for name, tensor in sorted(loaded.module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Of the packages that have a say in an export, those that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
