"""A path becomes training and validation pictures: the layout is found out, not asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.data.coco import CocoPictures
from models.data.joined import JoinedPictures
from models.data.penn_fudan import PennFudan
from models.data.samples import LabelledPictures
from models.data.yolo import YoloSegPictures
from models.data.yolo_file import read_yolo
from models.errors import DataError, UsageError
from models.shapes.dataset import ShapesPictures
from models.shapes.settings import DATA_WORDS, is_shapes, parse_shapes

Part = Literal["train", "val", "all"]

LAYOUTS = (
    "a COCO annotation file (.json) or a folder with annotations/*.json or "
    "train/_annotations.coco.json, a YOLO data.yaml or a folder with one, or a Penn-Fudan folder "
    "with PNGImages and PedMasks; or shapes, which are drawn"
)
ROBOFLOW = "_annotations.coco.json"
YAML_NAMES = ("data.yaml", "data.yml", "dataset.yaml")


@dataclass(frozen=True)
class DataParts:
    """What a path has to offer.

    Attributes:
        train: pictures to learn from.
        validation: pictures to judge by, none of them in ``train``; may be empty.
        source: where both come from, for people to read.
    """

    train: LabelledPictures
    validation: LabelledPictures
    source: str

    def part(self, name: Part) -> LabelledPictures:
        """The part ``train`` or ``val``, or ``all``: one after the other."""
        if name == "all":
            return JoinedPictures((self.train, self.validation))
        return self.train if name == "train" else self.validation


@dataclass(frozen=True)
class _Opened:
    """Sets as a layout has them; ``validation`` is None where it has a single part."""

    train: LabelledPictures
    validation: LabelledPictures | None
    source: str


def open_data(
    path: Path,
    *,
    images: Path | None = None,
    keypoints: bool = False,
    validation_count: int | None = None,
) -> DataParts:
    """Open labelled pictures of any layout in ``LAYOUTS``.

    A set without parts of its own, or whose parts are the same pictures, is split as
    ``LabelledPictures.split`` does.

    Args:
        path: a file or folder, or ``shapes:WORD=VALUE,…`` (``models.shapes.settings``).
        images: where the pictures of COCO annotations lie, if not beside them.
        keypoints: prefer COCO's person_keypoints files to its instances files.
        validation_count: pictures to hold out of a set without parts; about a quarter when None.

    Raises:
        UsageError: if ``path`` or ``images`` does not exist or has no known layout, or if
            ``validation_count`` does not fit.
        DataError: if the data is damaged or contradicts itself.
    """
    drawn = is_shapes(str(path))
    for place in (None if drawn else path, images):
        if place is not None and not place.exists():
            raise UsageError(f"{place} does not exist; name {LAYOUTS}.")
    open_layout = _open_shapes if drawn else _layout(path)
    if images is not None and open_layout is not _open_coco:
        raise UsageError(f"{path} is no COCO data; a folder of pictures goes with COCO data only.")
    opened = _open_coco(path, images, keypoints) if open_layout is _open_coco else open_layout(path)
    return _parts(path, opened, validation_count)


def _layout(path: Path) -> Callable[..., _Opened]:
    if path.suffix.lower() in (".yaml", ".yml") or _yaml_in(path):
        return _open_yolo
    if path.suffix.lower() == ".json" and path.is_file():
        return _open_coco
    if (path / "PNGImages").is_dir() and (path / "PedMasks").is_dir():
        return _open_penn_fudan
    if any((path / folder / ROBOFLOW).is_file() for folder in ("", "train")):
        return _open_coco
    if any((path / "annotations").glob("*.json")):
        return _open_coco
    raise UsageError(f"{path} has no known layout; name {LAYOUTS}.")


def _parts(path: Path, opened: _Opened, validation_count: int | None) -> DataParts:
    train, validation = opened.train, opened.validation
    if validation is not None:
        shared = _paths(train) & _paths(validation)
        if shared and len(shared) == len(train) == len(validation):
            validation = None
        elif shared:
            raise DataError(
                f"{path}: {len(shared)} pictures are in both parts, {min(shared)} among them; "
                "a picture to judge by must not be learned from: remove them from one."
            )
    if validation is None:
        return _split(path, train, validation_count, opened.source)
    if validation_count is not None:
        raise UsageError(
            f"{path} has a validation part of its own, {len(validation)} pictures; a number of "
            "pictures to hold out goes with data without one."
        )
    _check_alike(path, train, validation)
    return DataParts(train, validation, opened.source)


def _paths(pictures: LabelledPictures) -> set[Path]:
    return {pictures.path(index) for index in range(len(pictures))}


def _split(path: Path, whole: LabelledPictures, count: int | None, source: str) -> DataParts:
    if count is not None and not 0 <= count < len(whole):
        raise UsageError(
            f"{count} pictures of the {len(whole)} in {path} cannot be held out for validation; "
            f"it must be 0 to {len(whole) - 1}."
        )
    train, validation = whole.split(count)
    return DataParts(train, validation, f"{source}, split into {len(train)} and {len(validation)}")


def _check_alike(path: Path, train: LabelledPictures, validation: LabelledPictures) -> None:
    """Both parts have the same classes, and the validation part all kinds of labels."""
    for what, ours, theirs in (
        ("classes", train.class_names[1:], validation.class_names[1:]),
        ("keypoints", train.keypoint_names, validation.keypoint_names),
    ):
        if ours != theirs:
            raise DataError(
                f"{path}: the {what} of its training part are {_listed(ours)}, of its validation "
                f"part {_listed(theirs)}; they must be the same in the same order."
            )
    if train.has_masks and not validation.has_masks:
        raise DataError(
            f"{path}: its training part has masks, its validation part only boxes; both must be "
            "of one kind."
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


# --- the layouts ---


def _open_penn_fudan(path: Path) -> _Opened:
    return _Opened(PennFudan.open(path), None, f"Penn-Fudan folder {path}")


def _open_shapes(path: Path) -> _Opened:
    train, validation = ShapesPictures.parts(parse_shapes(str(path), DATA_WORDS))
    return _Opened(train, validation, f"drawn {path}")


def _yaml_in(folder: Path) -> Path | None:
    return next((folder / name for name in YAML_NAMES if (folder / name).is_file()), None)


def _open_yolo(path: Path) -> _Opened:
    file = read_yolo(_yaml_in(path) or path)
    train = YoloSegPictures.open(file, "train")
    validation = YoloSegPictures.open(file, "val") if "val" in file.parts else None
    return _Opened(train, validation, f"YOLO set {file.path}")


def _open_coco(path: Path, images: Path | None, keypoints: bool) -> _Opened:
    train, validation = _annotation_files(path, keypoints)
    sets = [
        CocoPictures.open(file, *_picture_folders(file, images))
        for file in (train, validation)
        if file
    ]
    source = " and ".join(str(file) for file in (train, validation) if file)
    return _Opened(sets[0], sets[1] if validation else None, f"COCO annotations {source}")


def _annotation_files(path: Path, keypoints: bool) -> tuple[Path, Path | None]:
    """The annotation files of the training and the validation part; one or two."""
    if path.is_file():
        return path, None
    for train, validation in ((ROBOFLOW, ""), (f"train/{ROBOFLOW}", f"valid/{ROBOFLOW}")):
        if (path / train).is_file():
            own = validation and (path / validation).is_file()
            return path / train, path / validation if own else None
    return _chosen(path, sorted((path / "annotations").glob("*.json")), keypoints)


def _chosen(path: Path, files: list[Path], keypoints: bool) -> tuple[Path, Path | None]:
    """One file, or one for each part, among those of annotations/."""
    wanted = "person_keypoints_" if keypoints else "instances_"
    others = ("person_keypoints_", "captions_", "stuff_", "panoptic_", "image_info_")
    named = [file for file in files if file.name.startswith(wanted)] or [
        file for file in files if not file.name.startswith(others)
    ]
    if len(named) == 1:
        return named[0], None
    train = [file for file in named if "train" in file.stem]
    validation = [file for file in named if "val" in file.stem]
    if len(train) == len(validation) == 1 and train != validation:
        return train[0], validation[0]
    raise UsageError(
        f"{path / 'annotations'} has {', '.join(file.name for file in files)}; it must have one "
        "annotation file, or one with train and one with val in its name: name one of them."
    )


def _picture_folders(file: Path, images: Path | None) -> list[Path]:
    """Where the pictures of an annotation file may lie, the likeliest first."""
    part = file.stem.removeprefix("person_keypoints_").removeprefix("instances_")
    kinds = {"train": ("train",), "val": ("val", "valid")}
    parts = [part, *(name for kind, names in kinds.items() if kind in part for name in names)]
    if images is not None:
        return [images, *(images / name for name in parts)]
    roots = [file.parent, file.parent.parent]
    if file.parent.name == "annotations":
        roots.reverse()
    return [
        root / folder / name for root in roots for name in (*parts, "") for folder in ("images", "")
    ]
