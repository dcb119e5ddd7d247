from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from labelled import PEOPLE, SIZE, draw, make_yolo, save_picture, yolo_line

from models.data.yolo import YoloSegPictures
from models.data.yolo_file import label_path, read_yolo
from models.errors import DataError

# pycocotools decodes masks with an interface that numpy is about to change


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_yolo(tmp_path / "yolo")


def train(root: Path) -> YoloSegPictures:
    return YoloSegPictures.open(read_yolo(root / "data.yaml"), "train")


def say(root: Path, text: str) -> None:
    (root / "data.yaml").write_text(text, encoding="utf-8")


def label(root: Path, text: str, name: str = "0") -> None:
    (root / "labels" / "train" / f"{name}.txt").write_text(text, encoding="utf-8")


def names(pictures: YoloSegPictures) -> list[str]:
    return [pictures.path(index).name for index in range(len(pictures))]


# --- what a sample holds ---


def test_sample(root: Path) -> None:
    pictures = train(root)
    picture, target = pictures[0]
    expected, mask = draw(0)
    np.testing.assert_array_equal(picture.permute(1, 2, 0).numpy(), expected)
    torch.testing.assert_close(
        target["boxes"].as_subclass(torch.Tensor), torch.tensor(PEOPLE[0]).float()
    )
    np.testing.assert_array_equal(target["masks"].numpy(), [mask == 1, mask == 2])
    assert target["labels"].tolist() == [1, 1]
    assert target["iscrowd"].tolist() == [False, False]
    assert (len(pictures), pictures.has_masks, pictures.keypoint_names) == (4, True, ())
    assert pictures.class_names == ("__background__", "person")


def test_parts(root: Path) -> None:
    validation = YoloSegPictures.open(read_yolo(root / "data.yaml"), "val")
    assert names(train(root)) == ["0.png", "1.png", "2.png", "3.png"]
    assert names(validation) == ["4.png", "5.png", "6.png", "7.png"]
    assert names(validation.take([2, 0])) == ["6.png", "4.png"]
    assert int(validation.take([2, 0])[1][1]["image_id"]) == 1


def test_boxes_alone(tmp_path: Path) -> None:
    pictures = train(make_yolo(tmp_path / "boxes", masks=False))
    _, target = pictures[0]
    assert not pictures.has_masks
    assert "masks" not in target
    torch.testing.assert_close(
        target["boxes"].as_subclass(torch.Tensor), torch.tensor(PEOPLE[0]).float()
    )


@pytest.mark.parametrize("text", [None, "", "\n \n"])
def test_a_picture_without_labels_holds_nothing(root: Path, text: str | None) -> None:
    if text is None:
        (root / "labels" / "train" / "1.txt").unlink()
    else:
        label(root, text, "1")
    _, target = train(root)[1]
    assert target["boxes"].shape == (0, 4)
    assert target["masks"].shape == (0, SIZE[1], SIZE[0])


def test_numbers_just_outside_are_moved_to_the_edge(root: Path) -> None:
    label(root, "0 -0.005 0.5 1.01 0.5 1.01 1.01 -0.005 1.01")
    _, target = train(root)[0]
    assert target["boxes"].tolist() == [[0, 48, 128, 96]]
    assert target["masks"].sum() == 128 * 48


def test_an_upright_size_is_that_of_the_picture_itself(root: Path) -> None:
    assert cv2.imwrite(str(root / "images" / "train" / "0.png"), np.zeros((50, 20, 3), np.uint8))
    label(root, "0 0.5 0.5 1 0.5 1 1")
    assert train(root)[0][1]["boxes"].tolist() == [[10, 25, 20, 50]]


# --- data.yaml and where things lie ---


@pytest.mark.parametrize(
    ("text", "class_names"),
    [
        ("train: images/train\nnames: [cat, dog]", ("cat", "dog")),
        ("train: images/train\nnames: {1: dog, 0: cat}\nnc: 2", ("cat", "dog")),
        ("path: .\ntrain: [images/train]\nnames: [1]", ("1",)),
        ("path: ../absent\ntrain: images/train\nnames: [cat]", ("cat",)),
        ("train: ../images/train\nval:\nnames: [cat]", ("cat",)),
    ],
)
def test_data_yaml(root: Path, text: str, class_names: tuple[str, ...]) -> None:
    say(root, text)
    pictures = train(root)
    assert pictures.class_names == ("__background__", *class_names)
    assert len(pictures) == 4


def test_a_root_elsewhere(root: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "other" / "set.yaml"
    elsewhere.parent.mkdir()
    for path in ("../yolo", root):
        elsewhere.write_text(f"path: {path}\ntrain: images/train\nnames: [person]")
        pictures = YoloSegPictures.open(read_yolo(elsewhere), "train")
        assert names(pictures) == ["0.png", "1.png", "2.png", "3.png"]


def test_a_list_of_pictures(root: Path) -> None:
    (root / "some.txt").write_text("./images/train/2.png\n\nimages/val/4.png\n")
    say(root, "train: some.txt\nnames: [person]")
    pictures = train(root)
    assert names(pictures) == ["2.png", "4.png"]
    assert all(len(pictures[index][1]["boxes"]) == 2 for index in range(2))


def test_label_path() -> None:
    assert label_path(Path("a/images/b/images/c/d.jpg")) == Path("a/images/b/labels/c/d.txt")
    assert label_path(Path("images.jpg")) == Path("images.txt")
    assert label_path(Path("a/d.jpg")) == Path("a/d.txt")


# --- what is refused ---


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("0 a 0.5 1 1 0 1", r"0\.txt:2 has a word that is no number; correct or remove it\."),
        ("1 0 0 1 1 0 1", r"0\.txt:2 has the class 1; data\.yaml names the classes 0 to 0\."),
        ("-1 0 0 1 1 0 1", r"0\.txt:2 has the class -1"),
        ("0.5 0 0 1 1 0 1", r"0\.txt:2 has the class 0\.5"),
        ("nan 0 0 1 1 0 1", r"0\.txt:2 has the class nan"),
        ("0 0 0 1 1.02 0 1", r"0\.txt:2 has the number 1\.02; places must be shares"),
        ("0 0 0 1 nan 0 1", r"0\.txt:2 has the number nan"),
        ("0 10 20 30 40 50 60", r"0\.txt:2 has the number 10;"),
        ("0 0 0 1 1 0 1 0", r"0\.txt:2 has 7 numbers after the class; it takes 4 for a box"),
        ("0 0 0 1 1 0", r"0\.txt:2 has 5 numbers after the class"),
        ("0 0 0", r"0\.txt:2 has 2 numbers after the class"),
        ("0", r"0\.txt:2 has 0 numbers after the class"),
        ("0 0.5 0 0.5 1 0.5 0.5", r"0\.txt:2 has no width or no height; correct or remove it\."),
        ("0 0.5 0.5 0.5 0.5", r"0\.txt:2 is a box and .*0\.txt:1 a polygon; all labels must be"),
    ],
)
def test_a_faulty_line(root: Path, line: str, sentence: str) -> None:
    label(root, f"{yolo_line(PEOPLE[0][0])}\n{line}\n")
    with pytest.raises(DataError, match=sentence):
        train(root)


def test_a_polygon_among_boxes(tmp_path: Path) -> None:
    root = make_yolo(tmp_path / "boxes", masks=False)
    label(root, yolo_line(PEOPLE[0][0]), "3")
    with pytest.raises(DataError, match=r"3\.txt:1 is a polygon and .*0\.txt:1 a box; all"):
        train(root)


def test_labels_that_are_no_text(root: Path) -> None:
    (root / "labels" / "train" / "0.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"0\.txt cannot be read as text in UTF-8; correct or"):
        train(root)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("train: [", r"data\.yaml is no YAML: .* in line 1, column 9\."),
        ("just a text", r'must have the entries "train", "val" and "names"'),
        ("train: images/train", r'must have "names": a list of the classes'),
        ("train: images/train\nnames: []", r'must have "names"'),
        ("train: images/train\nnames: {1: cat}", r'must have "names"'),
        ("train: images/train\nnames: [cat, cat]", r'two of its "names" are the same'),
        ("train: images/train\nnc: 3\nnames: [cat]", r'says "nc: 3" and has 1 "names"'),
        ("val: images/val\nnames: [cat]", r'has no "train"; it must name a folder of pictures'),
        ("train: nowhere\nnames: [cat]", r"nowhere, its train part, does not exist; correct it"),
        ("train: labels\nnames: [cat]", r"labels, its train part, has no pictures; they must end"),
        (
            "train: images/train\nnames: [cat]\nkpt_shape: [17, 3]",
            r"describes keypoints \(kpt_shape\), which are read from COCO files only",
        ),
    ],
)
def test_a_faulty_data_yaml(root: Path, text: str, sentence: str) -> None:
    say(root, text)
    with pytest.raises(DataError, match=sentence):
        train(root)


def test_no_label_file_at_all(root: Path) -> None:
    save_picture(root / "unlabelled" / "0.png", 0)
    say(root, "train: unlabelled\nnames: [person]")
    with pytest.raises(DataError, match=r"has a label file; .*unlabelled/0\.png must be .*0\.txt"):
        train(root)


def test_a_listed_picture_that_is_missing(root: Path) -> None:
    (root / "some.txt").write_text("images/train/2.png\nimages/train/absent.png\n")
    say(root, "train: some.txt\nnames: [person]")
    with pytest.raises(DataError, match=r"absent\.png of its train part is missing, 1 of 2 in all"):
        train(root)


def test_a_part_that_is_not_there(root: Path) -> None:
    say(root, "train: images/train\nnames: [person]")
    with pytest.raises(DataError, match='has no "val"; it must name a folder'):
        YoloSegPictures.open(read_yolo(root / "data.yaml"), "val")
