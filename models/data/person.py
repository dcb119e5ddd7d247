"""What the embedded person model learns from, and what it is judged by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from models.data.coco import CocoPictures
from models.data.penn_fudan import PennFudan
from models.data.samples import SPLIT_SEED

HELD_OUT = 16  # pictures of the everyday scenes
MIN_SIDE_PX = 4.0  # smaller people are not labelled


@dataclass(frozen=True)
class PersonSets:
    """Street scenes (Penn-Fudan), and everyday scenes (coco128) where they are there.

    Pictures with a crowd of people are in no part.

    Attributes:
        pedestrians_train: 127 street scenes.
        pedestrians_test: the other 43.
        people_train: everyday scenes with people.
        people_held_out: 16 more of them.
        nobody: everyday scenes without people, to learn from.
    """

    pedestrians_train: PennFudan
    pedestrians_test: PennFudan
    people_train: CocoPictures | None = None
    people_held_out: CocoPictures | None = None
    nobody: CocoPictures | None = None


def person_sets(root: Path) -> PersonSets:
    """The parts below ``root``: PennFudanPed/ and, where it is there, coco128/.

    The parts are the same on every machine.

    Raises:
        DataError: if one of them cannot be read.
    """
    pedestrians = PennFudan.open(root / "PennFudanPed").split()
    coco = root / "coco128"
    if not coco.is_dir():
        return PersonSets(*pedestrians)
    everyday = CocoPictures.open(coco / "annotations" / "instances_val2017.json", coco / "images")
    return PersonSets(*pedestrians, *everyday_parts(everyday))


def everyday_parts(everyday: CocoPictures) -> tuple[CocoPictures, CocoPictures, CocoPictures]:
    """Training pictures with people, held-out pictures with people, pictures without.

    Args:
        everyday: a COCO set that has the class ``person``.
    """
    everyday = everyday.only(["person"]).without_crowds().without_small(MIN_SIDE_PX)
    people = everyday.with_objects()
    order = torch.randperm(len(people), generator=torch.Generator().manual_seed(SPLIT_SEED))
    shuffled = people.take(order.tolist())
    held_out = shuffled.take(range(min(HELD_OUT, len(people))))
    learned = shuffled.take(range(HELD_OUT, len(people)))
    return learned, held_out, everyday.without_objects()
