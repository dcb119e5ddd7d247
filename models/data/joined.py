"""Several labelled sets as one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Self

import torch

from models.data.samples import LabelledPictures, Sample


class JoinedPictures(LabelledPictures):
    """The pictures of several sets, one set after the other.

    Args:
        sets: at least one; all have the same classes and keypoints.
        indices: which pictures, counted through all sets, in which order; all when None.

    Raises:
        ValueError: if classes or keypoints differ, or if there is no set.
    """

    def __init__(
        self, sets: Sequence[LabelledPictures], indices: Sequence[int] | None = None
    ) -> None:
        kinds = {(one.class_names, one.keypoint_names) for one in sets}
        if len(kinds) != 1:
            raise ValueError("joined sets must have the same classes and keypoints")
        self.class_names, self.keypoint_names = kinds.pop()
        self.has_masks = all(one.has_masks for one in sets)
        self.sets = tuple(sets)
        self._ends = list(accumulate(len(one) for one in sets))
        self.indices = tuple(range(self._ends[-1]) if indices is None else indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        """As the set has it; without masks if another set has none."""
        one, at = self._find(index)
        picture, target = one[at]
        target["image_id"] = torch.tensor(index)
        if not self.has_masks:
            target.pop("masks", None)
        return picture, target

    def path(self, index: int) -> Path:
        one, at = self._find(index)
        return one.path(at)

    def take(self, indices: Sequence[int]) -> Self:
        return type(self)(self.sets, [self.indices[i] for i in indices])

    def _find(self, index: int) -> tuple[LabelledPictures, int]:
        number = self.indices[index]
        at = bisect_right(self._ends, number)
        return self.sets[at], number - (self._ends[at - 1] if at else 0)
