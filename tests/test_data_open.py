from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from labelled import (
    KEYPOINTS,
    coco_content,
    make_coco,
    make_penn_fudan,
    make_yolo,
    write_coco,
)

from models.data.coco import CocoPictures
from models.data.joined import JoinedPictures
from models.data.open import DataParts, open_data
from models.data.penn_fudan import PennFudan
from models.data.samples import LabelledPictures
from models.data.yolo import YoloSegPictures
from models.errors import DataError, UsageError

# pycocotools decodes masks with an interface that numpy is about to change


def paths(pictures: LabelledPictures) -> list[Path]:
    return [pictures.path(index) for index in range(len(pictures))]


def names(pictures: LabelledPictures) -> list[str]:
    return [path.name for path in paths(pictures)]


def counts(parts: DataParts) -> tuple[int, int]:
    assert not set(paths(parts.train)) & set(paths(parts.validation))
    return len(parts.train), len(parts.validation)


def renumbered(content: dict[str, Any], offset: int) -> dict[str, Any]:
    """The same content with other pictures: n.png becomes (n + offset).png."""
    for image in content["images"]:
        image["id"] += offset
        image["file_name"] = f"{image['id']}.png"
    for row in content["annotations"]:
        row["image_id"] += offset
    return content


def make_parts(root: Path, train: tuple[str, str], val: tuple[str, str]) -> Path:
    """Two COCO files of 4 and 2 pictures; each given as its path and its pictures' folder."""
    write_coco(root / train[0], root / train[1], coco_content(4))
    write_coco(root / val[0], root / val[1], renumbered(coco_content(2), 4))
    return root


# --- layouts ---


def test_penn_fudan(tmp_path: Path) -> None:
    parts = open_data(make_penn_fudan(tmp_path / "pedestrians", count=10))
    assert isinstance(parts.train, PennFudan)
    assert counts(parts) == (7, 3)
    assert parts.source.startswith("Penn-Fudan folder ")
    assert parts.source.endswith("pedestrians, split into 7 and 3")


def test_a_coco_folder_with_one_file(tmp_path: Path) -> None:
    parts = open_data(make_coco(tmp_path / "coco", count=8))
    assert isinstance(parts.train, CocoPictures)
    assert counts(parts) == (6, 2)
    assert parts.train[0][0].shape == (3, 96, 128)


@pytest.mark.parametrize(
    ("train", "val"),
    [
        (
            ("annotations/instances_train2017.json", "train2017"),
            ("annotations/instances_val2017.json", "val2017"),
        ),
        (
            ("annotations/instances_train.json", "images/train"),
            ("annotations/instances_val.json", "images/val"),
        ),
        (("annotations/train.json", "images"), ("annotations/val.json", "images")),
        (("train/_annotations.coco.json", "train"), ("valid/_annotations.coco.json", "valid")),
    ],
)
def test_a_coco_folder_with_two_parts(
    tmp_path: Path, train: tuple[str, str], val: tuple[str, str]
) -> None:
    parts = open_data(make_parts(tmp_path, train, val))
    assert names(parts.train) == ["0.png", "1.png", "2.png", "3.png"]
    assert names(parts.validation) == ["4.png", "5.png"]
    assert paths(parts.train)[0].parent == tmp_path / train[1]
    assert paths(parts.validation)[0].parent == tmp_path / val[1]
    assert all(str(tmp_path / file) in parts.source for file in (train[0], val[0]))


def test_one_part_of_an_export(tmp_path: Path) -> None:
    file = write_coco(tmp_path / "_annotations.coco.json", tmp_path, coco_content())
    assert paths(open_data(tmp_path).train) == paths(open_data(file).train)
    assert counts(open_data(tmp_path)) == (3, 1)
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "train").symlink_to(tmp_path)
    assert counts(open_data(tmp_path / "all")) == (3, 1)


@pytest.mark.parametrize(
    ("file", "folder"),
    [
        ("a/labels.json", "a"),
        ("a/labels.json", "a/images"),
        ("a/b/labels.json", "a/images"),
        ("a/annotations/labels.json", "a/images"),
        ("a/annotations/instances_val2017.json", "a/val2017"),
        ("a/annotations/instances_val2017.json", "a"),
    ],
)
def test_a_coco_file(tmp_path: Path, file: str, folder: str) -> None:
    write_coco(tmp_path / file, tmp_path / folder, coco_content())
    parts = open_data(tmp_path / file)
    assert counts(parts) == (3, 1)
    assert paths(parts.train)[0].parent == tmp_path / folder


def test_pictures_elsewhere(tmp_path: Path) -> None:
    file = write_coco(tmp_path / "a.json", tmp_path / "far" / "away", coco_content())
    parts = open_data(file, images=tmp_path / "far" / "away")
    assert paths(parts.train)[0].parent == tmp_path / "far" / "away"
    with pytest.raises(DataError, match=r"\.png is missing, 4 of 4 in all"):
        open_data(file)


def test_keypoints_have_a_file_of_their_own(tmp_path: Path) -> None:
    root = make_parts(
        tmp_path,
        ("annotations/instances_train2017.json", "train2017"),
        ("annotations/instances_val2017.json", "val2017"),
    )
    for part, content in (
        ("train", coco_content(4, keypoints=True)),
        ("val", renumbered(coco_content(2, keypoints=True), 4)),
    ):
        file = root / "annotations" / f"person_keypoints_{part}2017.json"
        write_coco(file, root, content, pictures=False)
    (root / "annotations" / "captions_train2017.json").write_text("{}")
    assert open_data(root).train.keypoint_names == ()
    assert open_data(root, keypoints=True).train.keypoint_names == KEYPOINTS
    assert open_data(root, keypoints=True).validation.keypoint_names == KEYPOINTS


def test_keypoints_in_a_file_of_another_name(tmp_path: Path) -> None:
    parts = open_data(make_coco(tmp_path / "coco", keypoints=True), keypoints=True)
    assert parts.train.keypoint_names == KEYPOINTS


@pytest.mark.parametrize("name", ["", "data.yaml"])
def test_yolo(tmp_path: Path, name: str) -> None:
    parts = open_data(make_yolo(tmp_path / "yolo", count=3) / name)
    assert isinstance(parts.train, YoloSegPictures)
    assert names(parts.train) == ["0.png", "1.png", "2.png"]
    assert names(parts.validation) == ["3.png", "4.png", "5.png"]
    assert parts.source == f"YOLO set {tmp_path / 'yolo' / 'data.yaml'}"


@pytest.mark.parametrize("val", ["", "val: images/train"])
def test_yolo_without_a_validation_part_of_its_own(tmp_path: Path, val: str) -> None:
    root = make_yolo(tmp_path / "yolo")
    (root / "data.yaml").write_text(f"train: images/train\n{val}\nnames: [person]\n")
    parts = open_data(root)
    assert counts(parts) == (3, 1)
    assert parts.source.endswith("split into 3 and 1")


# --- parts ---


def test_the_number_held_out(tmp_path: Path) -> None:
    root = make_coco(tmp_path / "coco", count=5)
    assert counts(open_data(root, validation_count=2)) == (3, 2)
    assert counts(open_data(root, validation_count=0)) == (5, 0)
    assert names(open_data(root, validation_count=2).validation) == names(
        open_data(root, validation_count=2).part("val")
    )
    for count in (5, -1):
        sentence = rf"{count} pictures of the 5 in .* cannot be held out .* must be 0 to 4\."
        with pytest.raises(UsageError, match=sentence):
            open_data(root, validation_count=count)


def test_the_number_held_out_of_two_parts(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has a validation part of its own, 4 pictures"):
        open_data(make_yolo(tmp_path / "yolo"), validation_count=2)


def test_all_pictures(tmp_path: Path) -> None:
    parts = open_data(make_yolo(tmp_path / "yolo"))
    everything = parts.part("all")
    assert names(everything) == [f"{number}.png" for number in range(8)]
    assert names(parts.part("train")) == names(parts.train)
    picture, target = everything[6]
    expected, expected_target = parts.validation[2]
    assert torch.equal(picture, expected)
    assert torch.equal(target["boxes"], expected_target["boxes"])
    assert [int(everything[index][1]["image_id"]) for index in range(8)] == list(range(8))
    assert names(everything.take([7, 0])) == ["7.png", "0.png"]
    assert everything.class_names == ("__background__", "person")
    assert everything.has_masks


def test_joined_sets_have_masks_if_all_have(tmp_path: Path) -> None:
    masks = open_data(make_yolo(tmp_path / "a")).train
    boxes = open_data(make_yolo(tmp_path / "b", masks=False)).train
    joined = JoinedPictures((masks, boxes))
    assert not joined.has_masks
    assert all("masks" not in joined[index][1] for index in range(8))
    cats = CocoPictures((), ("__background__", "cat"), has_masks=True)
    with pytest.raises(ValueError, match="must have the same classes"):
        JoinedPictures((masks, cats))


# --- what is refused ---


def test_a_path_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"absent does not exist; name a COCO .*\.json.*YOLO.*Penn"
    ):
        open_data(tmp_path / "absent")
    with pytest.raises(UsageError, match=r"nowhere does not exist"):
        open_data(make_coco(tmp_path / "coco"), images=tmp_path / "nowhere")


def test_an_unknown_layout(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no data")
    for path in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(UsageError, match=r"has no known layout; name a COCO .*Penn-Fudan"):
            open_data(path)


def test_a_picture_folder_beside_no_coco_data(tmp_path: Path) -> None:
    root = make_penn_fudan(tmp_path / "pedestrians")
    with pytest.raises(UsageError, match="is no COCO data; a folder of pictures goes with COCO"):
        open_data(root, images=root)


def test_several_annotation_files(tmp_path: Path) -> None:
    root = make_coco(tmp_path / "coco")
    shutil.copy(root / "annotations" / "instances.json", root / "annotations" / "more.json")
    with pytest.raises(UsageError, match=r"has instances\.json, more\.json; it must have one anno"):
        open_data(root)
    (root / "annotations" / "instances.json").rename(root / "annotations" / "instances_all.json")
    assert counts(open_data(root)) == (3, 1)  # the one that is named as COCO names it


def test_a_picture_in_both_parts(tmp_path: Path) -> None:
    train, val = tmp_path / "annotations" / "train.json", tmp_path / "annotations" / "val.json"
    write_coco(train, tmp_path / "images", coco_content(4))
    write_coco(val, tmp_path / "images", renumbered(coco_content(4), 2))
    with pytest.raises(DataError, match=r"2 pictures are in both parts, .*2\.png among them"):
        open_data(tmp_path)


def test_parts_of_other_classes(tmp_path: Path) -> None:
    root = make_parts(
        tmp_path, ("annotations/train.json", "images"), ("annotations/val.json", "images")
    )
    file = root / "annotations" / "val.json"
    content = json.loads(file.read_text())
    content["categories"].append({"id": 2, "name": "dog"})
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"training part are person, of .* part person, dog; they"):
        open_data(root)


def test_parts_of_other_kinds(tmp_path: Path) -> None:
    root = make_yolo(tmp_path / "yolo")
    for file in (root / "labels" / "val").iterdir():
        file.write_text("0 0.5 0.5 0.5 0.5")
    with pytest.raises(DataError, match="its training part has masks, its validation part only"):
        open_data(root)


@pytest.mark.real_data
def test_the_real_sets(shared: Path) -> None:
    parts = open_data(shared / "data" / "PennFudanPed")
    assert counts(parts) == (127, 43)
    assert names(parts.validation)[0] == "FudanPed00067.png"
    assert counts(open_data(shared / "data" / "coco128")) == (96, 32)
