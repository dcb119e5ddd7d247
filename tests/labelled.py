"""Small labelled sets, drawn: bright boxes on a dark picture stand for people."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from models.data.coco import CocoPictures

Box = tuple[int, int, int, int]  # x0, y0, x1, y1 px, half-open
OpenCoco = Callable[..., CocoPictures]  # of a file's content, and whether it has its pictures

SIZE = 128, 96  # (width, height) px
PEOPLE: tuple[tuple[Box, ...], ...] = (
    ((20, 10, 50, 80), (70, 20, 100, 90)),
    ((40, 15, 80, 85),),
)  # boxes of each picture, even and odd
KEYPOINTS = ("head", "left_hand", "right_hand")


def people_of(number: int) -> tuple[Box, ...]:
    """Boxes of the people in picture ``number``."""
    return PEOPLE[number % len(PEOPLE)]


def draw(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture (H,W,3) uint8 RGB with bright boxes for people, and its mask (H,W) of numbers."""
    picture = np.random.default_rng(number).integers(0, 60, (SIZE[1], SIZE[0], 3), np.uint8)
    mask = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    for person, (x0, y0, x1, y1) in enumerate(people_of(number), start=1):
        picture[y0:y1, x0:x1] = (250, 120 + 20 * person, 40)
        mask[y0:y1, x0:x1] = person
    return picture, mask


def save_picture(path: Path, number: int) -> Path:
    """Writes the picture ``number`` and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), draw(number)[0][:, :, ::-1])
    return path


def make_penn_fudan(root: Path, count: int = 4) -> Path:
    """A Penn-Fudan folder: PNGImages/P0.png …, PedMasks/P0_mask.png …; returns ``root``."""
    (root / "PedMasks").mkdir(parents=True)
    for number in range(count):
        save_picture(root / "PNGImages" / f"P{number}.png", number)
        assert cv2.imwrite(str(root / "PedMasks" / f"P{number}_mask.png"), draw(number)[1])
    return root


def polygon(box: Box) -> list[int]:
    """The corners of a box, as COCO writes a polygon: x, y, x, y …."""
    x0, y0, x1, y1 = box
    return [x0, y0, x1, y0, x1, y1, x0, y1]


def coco_annotation(number: int, image_id: int, box: Box, **more: Any) -> dict[str, Any]:
    """A COCO annotation of class 1 whose mask is its whole box; ``more`` replaces its fields."""
    x0, y0, x1, y1 = box
    return {
        "id": number,
        "image_id": image_id,
        "category_id": 1,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": (x1 - x0) * (y1 - y0),
        "segmentation": [polygon(box)],
        "iscrowd": 0,
        **more,
    }


def coco_content(
    count: int = 4, *, masks: bool = True, keypoints: bool = False, names: tuple[str, ...] = ()
) -> dict[str, Any]:
    """What a COCO file of ``count`` pictures says; the picture ``n.png`` has the id n.

    Args:
        count: pictures.
        masks: whether the annotations have a segmentation.
        keypoints: whether they have ``KEYPOINTS``: two visible ones and one without a label.
        names: classes, of which all people are the first; ``person`` by default.
    """
    annotations: list[dict[str, Any]] = []
    for image_id in range(count):
        for box in people_of(image_id):
            row = coco_annotation(len(annotations) + 1, image_id, box)
            if not masks:
                del row["segmentation"]
            if keypoints:
                middle = (box[0] + box[2]) / 2
                row["keypoints"] = [middle, box[1] + 5, 2, box[0] + 2, box[3] - 20, 1, 0, 0, 0]
                row["num_keypoints"] = 2
            annotations.append(row)
    categories = [
        {"id": number, "name": name} for number, name in enumerate(names or ("person",), start=1)
    ]
    if keypoints:
        categories[0] |= {"keypoints": list(KEYPOINTS), "skeleton": [[1, 2], [1, 3]]}
    images = [
        {"id": image_id, "file_name": f"{image_id}.png", "width": SIZE[0], "height": SIZE[1]}
        for image_id in range(count)
    ]
    return {"images": images, "annotations": annotations, "categories": categories}


def with_annotation(**changed: Any) -> dict[str, Any]:
    """The usual content, with fields of its first annotation changed."""
    content = coco_content()
    content["annotations"][0] |= changed
    return content


def write_coco(
    annotations: Path, folder: Path, content: dict[str, Any], *, pictures: bool = True
) -> Path:
    """Writes a COCO file, and its pictures into ``folder``; returns ``annotations``."""
    annotations.parent.mkdir(parents=True, exist_ok=True)
    annotations.write_text(json.dumps(content), encoding="utf-8")
    for image in content["images"] if pictures else ():
        save_picture(folder / image["file_name"], image["id"])
    return annotations


def make_coco(root: Path, count: int = 4, *, masks: bool = True, keypoints: bool = False) -> Path:
    """A COCO folder: annotations/instances.json, images/0.png …; returns ``root``.

    Args:
        root: the folder to make.
        count: pictures.
        masks: whether the annotations have a segmentation.
        keypoints: whether they have ``KEYPOINTS``.
    """
    content = coco_content(count, masks=masks, keypoints=keypoints)
    write_coco(root / "annotations" / "instances.json", root / "images", content)
    return root


def yolo_line(box: Box, *, masks: bool = True, label: int = 0) -> str:
    """A line of a YOLO label file: a box as a polygon, or without ``masks`` its middle and size."""
    width, height = SIZE
    if masks:
        corners = polygon(box)
        numbers = [corner / (height if at % 2 else width) for at, corner in enumerate(corners)]
    else:
        x0, y0, x1, y1 = box
        numbers = [(x0 + x1) / 2 / width, (y0 + y1) / 2 / height]
        numbers += [(x1 - x0) / width, (y1 - y0) / height]
    return " ".join(str(number) for number in (label, *numbers))


def make_yolo(root: Path, count: int = 4, *, masks: bool = True) -> Path:
    """A YOLO folder: data.yaml, and ``count`` pictures in each of images/train and images/val.

    Args:
        root: the folder to make.
        count: pictures of each part.
        masks: whether its labels are polygons, not boxes.
    """
    for offset, part in enumerate(("train", "val")):
        (root / "labels" / part).mkdir(parents=True)
        for number in range(offset * count, (offset + 1) * count):
            save_picture(root / "images" / part / f"{number}.png", number)
            lines = [yolo_line(box, masks=masks) for box in people_of(number)]
            label_file = root / "labels" / part / f"{number}.txt"
            label_file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    (root / "data.yaml").write_text(
        "train: images/train\nval: images/val\nnames: [person]\n", encoding="utf-8"
    )
    return root
