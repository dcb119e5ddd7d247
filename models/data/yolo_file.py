"""The files of a set in Ultralytics' YOLO layout: data.yaml, lists of pictures, label files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from models.data.shapes import POLYGON_NUMBERS, Box
from models.errors import DataError

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
TOLERANCE = 0.01  # of the picture's side, by which a number may lie outside 0 to 1
MIN_SIDE = 1e-5  # of the picture's side: float32 px still tell the edges of such a box apart
BOX_NUMBERS = 4


@dataclass(frozen=True, slots=True)
class YoloObject:
    """One line of a label file.

    Attributes:
        line: its number in the file, from 1.
        label: 1 is the first class.
        box: xyxy as shares of the picture's width and height, in 0 to 1.
        polygon: x, y, x, y … in the same unit; empty for a line that is a box.
    """

    line: int
    label: int
    box: Box
    polygon: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class YoloFile:
    """What a data.yaml says.

    Attributes:
        path: the file.
        root: where ``train`` and ``val`` are looked for.
        class_names: of labels 1, 2, …
        parts: what ``train`` and ``val`` name, those that are there.
    """

    path: Path
    root: Path
    class_names: tuple[str, ...]
    parts: dict[str, tuple[str, ...]]

    def pictures(self, part: str) -> tuple[Path, ...]:
        """The pictures of a part, in the order of their paths within each folder.

        Raises:
            DataError: if there is no such part, or if it has no pictures.
        """
        if part not in self.parts:
            raise DataError(f'{self.path} has no "{part}"; it must name a folder of pictures.')
        found: list[Path] = []
        for entry in self.parts[part]:
            found += _pictures(self._place(part, entry))
        if not found:
            entries = ", ".join(self.parts[part])
            raise DataError(
                f"{self.path}: {entries}, its {part} part, has no pictures; they must end in one "
                f"of {' '.join(sorted(SUFFIXES))}."
            )
        return tuple(found)

    def _place(self, part: str, entry: str) -> Path:
        """Where an entry is; an export's ``../train`` may be meant from inside a folder of it."""
        places = [self.root / entry, self.path.parent / entry]
        places.append(self.path.parent / entry.removeprefix("../"))
        for place in places:
            if place.exists():
                return place
        raise DataError(f"{self.path}: {places[0]}, its {part} part, does not exist; correct it.")


def read_yolo(path: Path) -> YoloFile:
    """Read a data.yaml.

    Raises:
        DataError: if it is damaged, or describes no boxes and no masks.
    """
    content = _read_yaml(path)
    if "kpt_shape" in content:
        raise DataError(
            f"{path} describes keypoints (kpt_shape), which are read from COCO files only; convert "
            "the set to the COCO format."
        )
    names = _class_names(path, content)
    root = path.parent / str(content.get("path") or "")
    parts = {}
    for part in ("train", "val"):
        entries = content.get(part)
        if entries:
            parts[part] = tuple(map(str, entries if isinstance(entries, list) else [entries]))
    if "train" not in parts:
        raise DataError(f'{path} has no "train"; it must name a folder of pictures.')
    return YoloFile(path, root, names, parts)


def read_labels(path: Path, class_count: int) -> tuple[YoloObject, ...]:
    """Read a label file; empty lines count for nothing.

    Raises:
        DataError: naming the line that is neither a box nor a polygon of a known class.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text in UTF-8; correct or remove it.") from error
    return tuple(
        _object(f"{path}:{number}", line, number, class_count)
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip()
    )


def label_path(picture: Path) -> Path:
    """Where a picture's labels are: its last folder ``images`` becomes ``labels``."""
    parts = list(picture.parts)
    for at in range(len(parts) - 2, -1, -1):
        if parts[at] == "images":
            parts[at] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


# --- data.yaml ---


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise DataError(f"{path} is no YAML: {error.problem}{where}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no YAML: it is no text in UTF-8.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    if not isinstance(content, dict):
        raise DataError(f'{path} must have the entries "train", "val" and "names".')
    return content


def _class_names(path: Path, content: dict[str, Any]) -> tuple[str, ...]:
    names = content.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names or set(names) != set(range(len(names))):
        raise DataError(
            f'{path} must have "names": a list of the classes, or their numbers 0, 1, … and names.'
        )
    ordered = tuple(str(names[number]) for number in range(len(names)))
    if len(set(ordered)) < len(ordered):
        raise DataError(f'{path}: two of its "names" are the same; they must differ.')
    count = content.get("nc", len(ordered))
    if count != len(ordered):
        raise DataError(f'{path} says "nc: {count}" and has {len(ordered)} "names"; correct one.')
    return ordered


def _pictures(place: Path) -> Iterable[Path]:
    """The pictures below a folder, of a list (one path a line), or the file itself."""
    if place.is_dir():
        return sorted(path for path in place.rglob("*") if _is_picture(path))
    if place.suffix.lower() != ".txt":
        return filter(_is_picture, [place])
    try:
        lines = place.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{place} cannot be read as a list of pictures in UTF-8.") from error
    return [place.parent / line.strip() for line in lines if line.strip()]


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


# --- label files ---


def _object(where: str, line: str, number: int, class_count: int) -> YoloObject:
    """One line: ``class x y width height`` or ``class x y x y x y …``, all but class in 0 to 1."""
    try:
        first, *shares = (float(word) for word in line.split())
    except ValueError as error:
        raise DataError(f"{where} has a word that is no number; correct or remove it.") from error
    if first not in range(class_count):
        raise DataError(
            f"{where} has the class {first:g}; data.yaml names the classes 0 to {class_count - 1}."
        )
    outside = [share for share in shares if not -TOLERANCE <= share <= 1 + TOLERANCE]
    if outside:
        raise DataError(
            f"{where} has the number {outside[0]:g}; places must be shares of the picture's width "
            "and height, 0 to 1."
        )
    is_box = len(shares) == BOX_NUMBERS
    if not is_box and (len(shares) < POLYGON_NUMBERS or len(shares) % 2):
        raise DataError(
            f"{where} has {len(shares)} numbers after the class; it takes 4 for a box (middle and "
            f"size), or an even number of them, at least {POLYGON_NUMBERS}, for a polygon."
        )
    box = _box(shares) if is_box else _extent(shares)
    if min(box[2] - box[0], box[3] - box[1]) < MIN_SIDE:
        raise DataError(f"{where} has no width or no height; correct or remove it.")
    return YoloObject(number, int(first) + 1, box, () if is_box else tuple(map(_within, shares)))


def _box(shares: list[float]) -> Box:
    x, y, width, height = shares
    edges = x - width / 2, y - height / 2, x + width / 2, y + height / 2
    x0, y0, x1, y1 = map(_within, edges)
    return x0, y0, x1, y1


def _extent(shares: list[float]) -> Box:
    xs, ys = [_within(x) for x in shares[::2]], [_within(y) for y in shares[1::2]]
    return min(xs), min(ys), max(xs), max(ys)


def _within(share: float) -> float:
    return min(max(share, 0.0), 1.0)
