"""What an export has to equal: torchvision's model, run eagerly on the very same canvas."""

from __future__ import annotations

import copy

from models.deploy.manifest import Manifest
from models.letterbox import Image
from models.runtimes.base import Canvas
from models.runtimes.static import fitted
from models.runtimes.torch_eager import TorchEager
from models.zoo import LoadedModel


class Original(TorchEager):
    """A torchvision detector that is given the frames as an export is.

    Args:
        loaded: the model; a copy of it is used.
        manifest: of the export, whose canvas and least score apply.
    """

    def __init__(self, loaded: LoadedModel, manifest: Manifest) -> None:
        own = LoadedModel(loaded.name, copy.deepcopy(loaded.module), loaded.class_names)
        super().__init__(own, min_score=manifest.min_score, device="cpu")
        self._manifest = manifest

    def preprocess(self, image: Image) -> Canvas:
        return fitted(image, self._manifest.canvas, self._manifest.padding_rgb)
