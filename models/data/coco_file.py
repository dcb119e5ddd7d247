"""A COCO annotation file, read and checked as a whole before the first picture is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.data.coco_rows import Row, by_id, read_json, read_rows
from models.data.shapes import Box, are_numbers, outline_fault
from models.errors import DataError

MIN_SIDE_PX = 0.01  # of the part of a box inside its picture: float32 still tells its edges apart
LISTED = 8  # how many of several faulty annotations a message names


@dataclass(frozen=True, slots=True)
class CocoObject:
    """One annotation.

    Attributes:
        number: its ``id``.
        label: 1 is the first class.
        box: xyxy px, as the file has it: it may reach outside the picture.
        crowd: whether it is a group that counts as one.
        outline: polygons or run lengths; None without.
        keypoints: x, y, visibility of each; empty without.
    """

    number: int
    label: int
    box: Box
    crowd: bool
    outline: Any
    keypoints: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class CocoPicture:
    """One picture.

    Attributes:
        number: its ``id``.
        path: its file.
        size: (height, width) px.
        objects: what is labelled in it.
    """

    number: int
    path: Path
    size: tuple[int, int]
    objects: tuple[CocoObject, ...]


@dataclass(frozen=True, slots=True)
class CocoFile:
    """What an annotation file says.

    Attributes:
        pictures: in the order of their ids.
        class_names: of labels 1, 2, …
        has_masks: whether every object has an outline.
        keypoint_names: empty if no object has keypoints.
    """

    pictures: tuple[CocoPicture, ...]
    class_names: tuple[str, ...]
    has_masks: bool
    keypoint_names: tuple[str, ...]


def read_coco(path: Path, folders: Sequence[Path]) -> CocoFile:
    """Read an annotation file and check every line of it that training relies on.

    Args:
        path: the JSON file.
        folders: the pictures lie in the first of these that has the first picture.

    Raises:
        DataError: if it is damaged, contradicts itself, or a picture is missing.
    """
    content = read_json(path)
    images = by_id(read_rows(path, content, "images"), path, "picture")
    categories = read_rows(path, content, "categories")
    rows = read_rows(path, content, "annotations")
    if not images:
        raise DataError(f"{path} lists no pictures; there must be at least one.")
    sizes = {number: _size(path, image) for number, image in images.items()}
    paths = _picture_paths(path, images, folders)
    classes = _classes(path, categories, rows)
    _check_references(path, rows, images, classes)
    names = _keypoint_names(path, categories, rows)
    _check_boxes(path, rows, paths, sizes)
    has_masks = _check_outlines(path, rows, paths, sizes)
    labels = {category: label for label, category in enumerate(classes, start=1)}
    objects: dict[int, list[CocoObject]] = {number: [] for number in images}
    for row in rows:
        keypoints = _keypoints(path, row, len(names))
        objects[row["image_id"]].append(_object(row, labels, keypoints))
    pictures = (
        CocoPicture(number, paths[number], sizes[number], tuple(objects[number]))
        for number in sorted(images)
    )
    return CocoFile(tuple(pictures), tuple(classes.values()), has_masks, names)


def _object(row: Row, labels: dict[int, int], keypoints: tuple[float, ...]) -> CocoObject:
    x, y, width, height = row["bbox"]
    box = (x, y, x + width, y + height)
    label, crowd = labels[row["category_id"]], bool(row.get("iscrowd", 0))
    return CocoObject(row["id"], label, box, crowd, row.get("segmentation") or None, keypoints)


# --- pictures ---


def _size(path: Path, image: Row) -> tuple[int, int]:
    if min(image["width"], image["height"]) < 1:
        raise DataError(
            f"{path}: the picture {image['file_name']} is {image['width']}x{image['height']} px; "
            "both must be at least 1."
        )
    return image["height"], image["width"]


def _picture_paths(path: Path, images: dict[int, Row], folders: Sequence[Path]) -> dict[int, Path]:
    names = {number: image["file_name"] for number, image in images.items()}
    first = next(iter(names.values()))
    folder = next((folder for folder in folders if (folder / first).is_file()), None)
    folder = folder or next(filter(Path.is_dir, folders), folders[0])
    paths = {number: folder / name for number, name in names.items()}
    missing = [picture for picture in paths.values() if not picture.is_file()]
    if missing:
        raise DataError(
            f"{path} lists pictures that are not there: {missing[0]} is missing, {len(missing)} "
            f"of {len(paths)} in all; add them or name the folder that has them."
        )
    return paths


# --- classes and keypoints ---


def _classes(path: Path, categories: list[Row], rows: list[Row]) -> dict[int, str]:
    """Name of each class by its category id, in the order of the ids.

    Roboflow's exports begin with a heading: a category without objects that the others name as
    their supercategory. It is no class.
    """
    used = {row["category_id"] for row in rows}
    found = by_id(categories, path, "category")
    parents = {str(row.get("supercategory")) for row in categories} - {"none"}
    headings = {
        number
        for number, row in found.items()
        if row.get("supercategory") == "none" and row["name"] in parents and number not in used
    }
    names = {number: found[number]["name"] for number in sorted(found.keys() - headings)}
    twice = [name for name in names.values() if list(names.values()).count(name) > 1]
    if twice:
        raise DataError(f'{path}: two categories are named "{twice[0]}"; names must differ.')
    if not names:
        raise DataError(f"{path} names no categories; there must be at least one.")
    return names


def _check_references(
    path: Path, rows: list[Row], images: dict[int, Row], classes: dict[int, str]
) -> None:
    for row in rows:
        for key, known, what in (
            ("image_id", images, "pictures"),
            ("category_id", classes, "categories"),
        ):
            if row[key] not in known:
                raise DataError(
                    f"{path}: annotation {row['id']} has the {key} {row[key]}, which is not among "
                    f"the file's {len(known)} {what}; correct or remove it."
                )


def _keypoint_names(path: Path, categories: list[Row], rows: list[Row]) -> tuple[str, ...]:
    if not any(row.get("keypoints") for row in rows):
        return ()
    lists = {
        tuple(map(str, row["keypoints"]))
        for row in categories
        if row.get("keypoints") and isinstance(row["keypoints"], list)
    }
    if len(lists) != 1:
        raise DataError(
            f"{path}: its annotations have keypoints, and {len(lists)} different lists of their "
            'names are among its categories; there must be one, "keypoints" of a category.'
        )
    return lists.pop()


def _keypoints(path: Path, row: Row, count: int) -> tuple[float, ...]:
    values = row.get("keypoints") or []
    if not count or not values:
        return ()
    if not are_numbers(values) or len(values) != 3 * count or not set(values[2::3]) <= {0, 1, 2}:
        raise DataError(
            f"{path}: annotation {row['id']} must have x, y and visibility (0, 1 or 2) for each of "
            f"{count} keypoints, {3 * count} numbers."
        )
    return tuple(values)


# --- shapes ---


def _check_boxes(
    path: Path, rows: list[Row], paths: dict[int, Path], sizes: dict[int, tuple[int, int]]
) -> None:
    faulty = [row for row in rows if not _is_box(row["bbox"], sizes[row["image_id"]])]
    if not faulty:
        return
    first = faulty[0]
    others = ", ".join(str(row["id"]) for row in faulty[1:LISTED])
    more = f" (as well as {others}{' …' if len(faulty) > LISTED else ''})" if others else ""
    height, width = sizes[first["image_id"]]
    raise DataError(
        f"{path}: annotation {first['id']}{more} has the box {first['bbox']} in "
        f"{paths[first['image_id']].name}; it must be x, y, width and height, and at least "
        f"{MIN_SIDE_PX} px each way lie in the picture's {width}x{height}: correct or remove it."
    )


def _is_box(box: Any, size: tuple[int, int]) -> bool:
    if not are_numbers(box) or len(box) != 4:
        return False
    x, y, width, height = box
    sides = min(x + width, size[1]) - max(x, 0), min(y + height, size[0]) - max(y, 0)
    return bool(min(sides) >= MIN_SIDE_PX)


def _check_outlines(
    path: Path, rows: list[Row], paths: dict[int, Path], sizes: dict[int, tuple[int, int]]
) -> bool:
    """Whether all rows have an outline; none may be faulty."""
    without = [row for row in rows if not row.get("segmentation")]
    if without and len(without) < len(rows):
        row = without[0]
        raise DataError(
            f"{path}: annotation {row['id']} in {paths[row['image_id']].name} has no segmentation, "
            f"as {len(without)} of {len(rows)} have none; all must have one, or none."
        )
    for row in rows if not without else ():
        fault = outline_fault(row["segmentation"], sizes[row["image_id"]])
        if fault:
            raise DataError(
                f"{path}: annotation {row['id']} in {paths[row['image_id']].name} has {fault}; "
                "correct or remove it."
            )
    return not without
