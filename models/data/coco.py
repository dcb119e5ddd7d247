"""People from a COCO-format set (Lin et al., 2014), with a fixed part held out."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from torch.utils.data import Dataset
from torchvision import tv_tensors

from models.data.penn_fudan import SPLIT_SEED, Sample, person_target, read_rgb

HELD_OUT = 16
MIN_SIDE_PX = 4.0


@dataclass(frozen=True)
class CocoPeople(Dataset[Sample]):
    """Pictures of a COCO-format set, only their ``person`` instances labelled.

    Pictures with a crowd region are left out: its people have no masks of their own, so they
    would be taught as background.

    Attributes:
        coco: the parsed annotations.
        folder: where the pictures lie.
        ids: COCO image ids of this part.
    """

    coco: COCO
    folder: Path
    ids: tuple[int, ...]

    @classmethod
    def open(cls, annotations: Path, folder: Path) -> CocoPeople:
        """Every picture without a crowd of people, in id order.

        Raises:
            FileNotFoundError: if the annotation file or the folder is missing.
        """
        for path in (annotations, folder):
            if not path.exists():
                raise FileNotFoundError(f"{path} does not exist")
        coco = COCO()
        coco.dataset = json.loads(annotations.read_text(encoding="utf-8"))
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
            coco.createIndex()
        crowded = {
            annotation["image_id"]
            for annotation in coco.dataset["annotations"]
            if annotation["iscrowd"] and _is_person(coco, annotation)
        }
        return cls(coco, folder, tuple(sorted(set(coco.imgs) - crowded)))

    def split(self) -> tuple[CocoPeople, CocoPeople, CocoPeople]:
        """Parts: training pictures with people, held-out pictures with people, the rest."""
        with_people = tuple(i for i in self.ids if self._people(i))
        without = tuple(i for i in self.ids if not self._people(i))
        generator = torch.Generator().manual_seed(SPLIT_SEED)
        order = [with_people[i] for i in torch.randperm(len(with_people), generator=generator)]
        return (
            self._take(tuple(order[HELD_OUT:])),
            self._take(tuple(order[:HELD_OUT])),
            self._take(without),
        )

    def _take(self, ids: tuple[int, ...]) -> CocoPeople:
        return CocoPeople(self.coco, self.folder, ids)

    def _people(self, image_id: int) -> list[dict[str, Any]]:
        return [
            annotation
            for annotation in self.coco.imgToAnns[image_id]
            if _is_person(self.coco, annotation) and min(annotation["bbox"][2:]) >= MIN_SIDE_PX
        ]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        """As ``PennFudan.__getitem__``; a picture may hold nobody (N = 0)."""
        image_id = self.ids[index]
        picture = read_rgb(self.folder / self.coco.imgs[image_id]["file_name"])
        people = self._people(image_id)
        masks = np.zeros((len(people), *picture.shape[-2:]), np.uint8)
        boxes = np.zeros((len(people), 4), np.float32)
        for row, person in enumerate(people):
            masks[row] = self.coco.annToMask(person)
            x, y, width, height = person["bbox"]
            boxes[row] = x, y, x + width, y + height
        target = person_target(torch.from_numpy(boxes), torch.from_numpy(masks), image_id=index)
        return tv_tensors.Image(picture), target


def _is_person(coco: COCO, annotation: dict[str, Any]) -> bool:
    return bool(coco.cats[annotation["category_id"]]["name"] == "person")
