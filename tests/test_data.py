from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset
from torchvision.models import mobilenet_v2
from torchvision.models.detection import MaskRCNN
from torchvision.ops import masks_to_boxes
from torchvision.transforms import v2

from models.compact import load_imagenet_body, mask_rcnn_person
from models.data.augment import CROP_SIZE, Augmented, person_augmentation
from models.data.coco import CocoPeople
from models.data.penn_fudan import PennFudan, Sample, person_target
from models.train import TrainSettings, train

SIZE = 128, 96  # (width, height) px
PEOPLE = (((20, 10, 50, 80), (70, 20, 100, 90)), ((40, 15, 80, 85),))  # boxes of each picture

# pycocotools decodes masks with an interface that numpy is about to change
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def draw(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture (H,W,3) with bright boxes for people, and its mask (H,W) of person numbers."""
    picture = np.random.default_rng(number).integers(0, 60, (SIZE[1], SIZE[0], 3), np.uint8)
    mask = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    for person, (x0, y0, x1, y1) in enumerate(PEOPLE[number % len(PEOPLE)], start=1):
        picture[y0:y1, x0:x1] = (250, 120 + 20 * person, 40)
        mask[y0:y1, x0:x1] = person
    return picture, mask


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tensors this small are slower on two threads, and much slower on busy cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def penn_fudan(tmp_path: Path) -> PennFudan:
    root = tmp_path / "PennFudanPed"
    for folder in ("PNGImages", "PedMasks"):
        (root / folder).mkdir(parents=True)
    for number in range(4):
        picture, mask = draw(number)
        cv2.imwrite(str(root / "PNGImages" / f"P{number}.png"), picture[:, :, ::-1])
        cv2.imwrite(str(root / "PedMasks" / f"P{number}_mask.png"), mask)
    return PennFudan.open(root)


def small_model() -> MaskRCNN:
    torch.manual_seed(0)
    model = mask_rcnn_person()
    model.transform.min_size, model.transform.max_size = (SIZE[1],), SIZE[0]
    model.roi_heads.fg_bg_sampler.batch_size_per_image = 16
    return model


def as_floats(samples: Dataset[Sample]) -> Augmented:
    return Augmented(samples, v2.ToDtype(torch.float32, scale=True))


# --- Penn-Fudan ---


def test_penn_fudan_sample(penn_fudan: PennFudan) -> None:
    assert len(penn_fudan) == 4
    picture, target = penn_fudan[0]
    expected, _ = draw(0)
    np.testing.assert_array_equal(picture.permute(1, 2, 0).numpy(), expected)
    assert target["boxes"].tolist() == [list(box) for box in PEOPLE[0]]
    assert target["labels"].tolist() == [1, 1]
    assert target["masks"].shape == (2, SIZE[1], SIZE[0])
    assert target["masks"].unique().tolist() == [0, 1]


def test_penn_fudan_split_is_the_documented_one() -> None:
    names = tuple(Path(f"{number:03}.png") for number in range(170))
    masks = tuple(Path(f"{number:03}_mask.png") for number in range(170))
    train_part, test_part = PennFudan(names, masks).split()
    order = torch.randperm(170, generator=torch.Generator().manual_seed(42)).tolist()
    assert (len(train_part), len(test_part)) == (127, 43)
    assert [int(path.stem) for path in train_part.images] == order[:127]
    assert [int(path.stem) for path in test_part.images] == order[127:]
    assert all(
        mask.stem == f"{image.stem}_mask"
        for part in (train_part, test_part)
        for image, mask in zip(part.images, part.masks, strict=True)
    )


def test_penn_fudan_without_a_mask_is_refused(penn_fudan: PennFudan) -> None:
    penn_fudan.masks[2].unlink()
    with pytest.raises(FileNotFoundError, match="is not a Penn-Fudan folder"):
        PennFudan.open(penn_fudan.images[0].parent.parent)


def test_an_unreadable_picture_is_named(penn_fudan: PennFudan) -> None:
    penn_fudan.images[1].write_bytes(b"")
    with pytest.raises(OSError, match=r"P1\.png"):
        penn_fudan[1]


# --- COCO format ---


def annotation(image_id: int, box: tuple[int, int, int, int], **more: int) -> dict[str, object]:
    x0, y0, x1, y1 = box
    return {
        "image_id": image_id,
        "category_id": 1,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": (x1 - x0) * (y1 - y0),
        "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]],
        "iscrowd": 0,
        **more,
    }


@pytest.fixture
def coco(tmp_path: Path) -> CocoPeople:
    """Pictures 0 to 19 with people, 20 with a dog, 21 with a crowd, 22 with a speck, 23 empty."""
    box = PEOPLE[1][0]
    rows = [annotation(image_id, box) for image_id in range(20)]
    rows += [
        annotation(0, (5, 5, 25, 45), category_id=2),
        annotation(20, box, category_id=2),
        annotation(21, box),
        annotation(21, (0, 0, 128, 96), iscrowd=1),
        annotation(22, (10, 10, 13, 40)),
    ]
    content = {
        "images": [
            {"id": image_id, "file_name": f"{image_id}.png", "width": SIZE[0], "height": SIZE[1]}
            for image_id in range(24)
        ],
        "annotations": [{"id": number, **row} for number, row in enumerate(rows, start=1)],
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}],
    }
    for image_id in (0, 20):
        cv2.imwrite(str(tmp_path / f"{image_id}.png"), draw(1)[0][:, :, ::-1])
    annotations = tmp_path / "annotations.json"
    annotations.write_text(json.dumps(content))
    return CocoPeople.open(annotations, tmp_path)


def test_coco_leaves_pictures_with_crowds_out(coco: CocoPeople) -> None:
    assert coco.ids == (*range(21), 22, 23)


def test_coco_split(coco: CocoPeople) -> None:
    learned, held_out, nobody = coco.split()
    assert (len(learned), len(held_out)) == (4, 16)
    assert sorted(learned.ids + held_out.ids) == list(range(20))
    assert nobody.ids == (20, 22, 23)
    assert coco.split()[1].ids == held_out.ids


def test_coco_sample_has_people_alone(coco: CocoPeople) -> None:
    picture, target = coco[coco.ids.index(0)]
    assert picture.shape == (3, SIZE[1], SIZE[0])
    assert target["boxes"].tolist() == [list(PEOPLE[1][0])]
    x0, y0, x1, y1 = PEOPLE[1][0]
    assert target["masks"][0, y0 + 1 : y1 - 1, x0 + 1 : x1 - 1].all()
    assert target["masks"][0].sum() == pytest.approx((x1 - x0) * (y1 - y0), rel=0.05)


def test_coco_sample_without_people(coco: CocoPeople) -> None:
    _, target = coco[coco.ids.index(20)]
    assert target["boxes"].shape == (0, 4)
    assert target["masks"].shape == (0, SIZE[1], SIZE[0])
    assert target["labels"].shape == (0,)


def test_coco_without_its_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.json does not exist"):
        CocoPeople.open(tmp_path / "absent.json", tmp_path)
