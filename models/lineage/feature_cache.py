"""Features of proposals on disk: they take longest of all of R-CNN's training."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.lineage.examples import Example, match

CLOSE_IOU = 0.6  # of a region with an object, from which regressions learn


@dataclass(frozen=True, slots=True, eq=False)
class RegionFeatures:
    """The R regions of one picture, its N objects first.

    Attributes:
        example: the picture.
        boxes: (R,4) float32 xyxy px.
        features: (R,F) float32.
        overlap: (R,) IoU with the object that fits best.
        which: (R,) that object's number.
        close: (C,) the regions of at least ``CLOSE_IOU``.
        pooled: (C,P) float32, theirs.
    """

    example: Example
    boxes: Tensor
    features: Tensor
    overlap: Tensor
    which: Tensor
    close: Tensor
    pooled: Tensor


class FeatureCache:
    """Computes the features of a picture's regions, unless it has them.

    Args:
        folder: where they are kept; None to keep none.
        module: whose features they are; others are another module's.
    """

    def __init__(self, folder: Path | None, module: nn.Module) -> None:
        self._folder = folder
        digest = hashlib.sha256()
        if folder is not None:
            for value in module.state_dict().values():
                digest.update(value.numpy().tobytes())
        self._key = digest.digest()

    def get(
        self, example: Example, boxes: Tensor, compute: Callable[[], tuple[Tensor, Tensor]]
    ) -> RegionFeatures:
        """The features of the regions ``boxes`` (R,4).

        Args:
            example: the picture.
            boxes: its objects first.
            compute: gives pooled features (R,P) and features (R,F).
        """
        overlap, which = match(boxes, example.boxes)
        close = (overlap >= CLOSE_IOU).nonzero().flatten()
        file = self._file(example, boxes)
        if file is not None and file.is_file():
            kept = load_file(file)
        else:
            pooled, features = compute()
            kept = {"features": features.half(), "pooled": pooled[close].half()}
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
                save_file(kept, file)
        return RegionFeatures(
            example,
            boxes,
            kept["features"].float(),
            overlap,
            which,
            close,
            kept["pooled"].float(),
        )

    def _file(self, example: Example, boxes: Tensor) -> Path | None:
        if self._folder is None:
            return None
        what = self._key + example.image.tobytes() + boxes.numpy().tobytes()
        return self._folder / "features" / f"{hashlib.sha256(what).hexdigest()[:24]}.safetensors"
