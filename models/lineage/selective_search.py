"""Proposals without learning: selective search (Uijlings et al., 2013), by OpenCV.

A graph segmentation gives many small regions (Felzenszwalb and Huttenlocher, 2004); the two most
alike neighbours by colour, texture, size and fill are merged until one is left; the box of every
region on the way is a proposal.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from models.errors import UsageError
from models.letterbox import Image

Mode = Literal["fast", "quality"]
MODES: tuple[Mode, ...] = ("fast", "quality")
PROPOSALS = 2000  # at most, as in the papers of R-CNN and Fast R-CNN
# What the segmentation begins with: the scale at which regions are left alone, and the smoothing.
# OpenCV's own scale of 150 is for photographs; on shapes it leaves 300 regions.
_SCALES: dict[Mode, int] = {"fast": 20, "quality": 40}
_SIGMA = 0.5
_LEAST_SIDE = 6  # px: no object is smaller


class SelectiveSearch:
    """Finds boxes in which something may be.

    Args:
        mode: ``fast`` looks at one colour space, ``quality`` at several and with more measures of
            likeness, for three times as long.
        count: proposals of a picture, at most.
        cache: folder that keeps what was found; None for none.

    Raises:
        UsageError: if OpenCV's contrib modules are not here.
    """

    def __init__(
        self, mode: Mode = "fast", *, count: int = PROPOSALS, cache: Path | None = None
    ) -> None:
        self.mode, self.count = mode, count
        self._cache = cache
        self._search = _create()

    def __call__(self, image: Image) -> Tensor:
        """Boxes (N,4) float32 xyxy px of a picture (H,W,3) uint8 RGB, the smallest first."""
        file = self._file(image)
        if file is not None and file.is_file():
            return torch.from_numpy(np.load(file).astype(np.float32))
        boxes = self._propose(image)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, boxes.numpy().astype(np.int16))
        return boxes

    def _propose(self, image: Image) -> Tensor:
        if min(image.shape[:2]) < _LEAST_SIDE:
            return torch.zeros(0, 4)
        scale = _SCALES[self.mode]
        self._search.setBaseImage(np.ascontiguousarray(image[..., ::-1]))
        if self.mode == "fast":
            self._search.switchToSelectiveSearchFast(scale, scale, _SIGMA)
        else:
            self._search.switchToSelectiveSearchQuality(scale, scale, _SIGMA)
        x, y, width, height = np.asarray(self._search.process(), np.int64).reshape(-1, 4).T
        kept = (width >= _LEAST_SIDE) & (height >= _LEAST_SIDE)
        boxes = np.unique(np.stack([x, y, x + width, y + height], 1)[kept], axis=0)
        # OpenCV's order is random; all sizes have the same chance when there are too many
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        boxes = boxes[np.argsort(area, kind="stable")]
        if len(boxes) > self.count:
            boxes = boxes[np.linspace(0, len(boxes) - 1, self.count).round().astype(int)]
        return torch.from_numpy(boxes.astype(np.float32))

    def _file(self, image: Image) -> Path | None:
        if self._cache is None:
            return None
        what = f"{self.mode} {_SCALES[self.mode]} {_SIGMA} {self.count} {image.shape}".encode()
        key = hashlib.sha256(what + image.tobytes()).hexdigest()[:24]
        return self._cache / "proposals" / f"{key}.npy"


def _create() -> Any:
    if not hasattr(cv2, "ximgproc"):
        raise UsageError(
            "Selective search needs OpenCV's contrib modules, which take the place of OpenCV: "
            "pip install --force-reinstall --no-deps "
            f"opencv-contrib-python=={version('opencv-python')}"
        )
    return cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
