from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from labelled import OpenCoco, coco_content, save_picture, with_annotation

from models.data.coco import CocoPictures
from models.errors import DataError


def test_broken_json(tmp_path: Path) -> None:
    file = tmp_path / "broken.json"
    file.write_text('{"images": [],\n "annotations": [}')
    with pytest.raises(DataError, match=r"broken\.json is no JSON: .* in line 2, column 18\."):
        CocoPictures.open(file)
    file.write_text("[1, 2]")
    with pytest.raises(DataError, match=r"broken\.json is no COCO file: it must be an object"):
        CocoPictures.open(file)
    file.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(DataError, match=r"broken\.json is no JSON: it is no text in UTF-8\."):
        CocoPictures.open(file)


@pytest.mark.parametrize("name", ["images", "annotations", "categories"])
def test_a_missing_list(open_coco: OpenCoco, name: str) -> None:
    content = coco_content()
    del content[name]
    with pytest.raises(DataError, match=f'must have the lists .* and "{name}" is missing'):
        open_coco(content, pictures=False)


def test_a_missing_field(open_coco: OpenCoco) -> None:
    content = coco_content()
    del content["annotations"][2]["category_id"]
    sentence = r'entry 2 of "annotations" \(id 3\) must have "category_id", a whole number\.'
    with pytest.raises(DataError, match=sentence):
        open_coco(content)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"bbox": [1, 2, 0, 4]}, r"annotation 1 has the box \[1, 2, 0, 4\] in 0\.png; it must be"),
        ({"bbox": [1, 2, 3, -4]}, r"annotation 1 has the box \[1, 2, 3, -4\] in 0\.png"),
        ({"bbox": [128, 2, 3, 4]}, r"lie in the picture's 128x96: correct or remove it\."),
        ({"bbox": [1, 2, 3]}, r"annotation 1 has the box \[1, 2, 3\]"),
        ({"bbox": [1, 2, 3, "4"]}, r"annotation 1 has the box \[1, 2, 3, '4'\]"),
        ({"bbox": [1, 2, 3, float("nan")]}, r"annotation 1 has the box \[1, 2, 3, nan\]"),
        ({"bbox": [1, 2, 3, 10**400]}, r"annotation 1 has the box \[1, 2, 3, 10000"),
        ({"category_id": 5}, r"annotation 1 has the category_id 5, .* the file's 1 categories"),
        ({"image_id": 99}, r"annotation 1 has the image_id 99, .* the file's 4 pictures; correct"),
        ({"segmentation": []}, r"annotation 1 in 0\.png has no segmentation, as 1 of 6 have none"),
        ({"segmentation": None}, r"annotation 1 in 0\.png has no segmentation"),
        ({"segmentation": [[1, 2, 3, 4]]}, r"annotation 1 in 0\.png has a polygon of 4 numbers"),
        ({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, r"a polygon of 7 numbers, where it takes"),
        ({"segmentation": [[1, 2, 3, 4, 5, "6"]]}, r"a polygon that is no list of numbers"),
        ({"segmentation": [[1, 2, 3, 4, 5, 6e9]]}, r"a polygon that is no list of numbers below"),
        ({"segmentation": "0"}, r"a segmentation that is neither a list of polygons nor run"),
        ({"segmentation": {"size": [9, 9], "counts": [81]}}, r"of the size \[9, 9\], not \[96, 1"),
        ({"segmentation": {"size": [96, 128], "counts": [5]}}, r"do not fill its 128x96 px"),
        ({"segmentation": {"size": [96, 128], "counts": ""}}, r"do not fill its 128x96 px"),
        ({"segmentation": {"size": [96, 128], "counts": "0"}}, r"do not fill its 128x96 px"),
        ({"segmentation": {"size": [96, 128], "counts": "o" * 9}}, r"do not fill its 128x96 px"),
        ({"segmentation": {"size": [96, 128], "counts": "ÿ!"}}, r"do not fill its 128x96 px"),
        ({"segmentation": {"size": [96, 128], "counts": [-1, 12289]}}, r"do not fill its"),
    ],
)
def test_a_faulty_annotation(open_coco: OpenCoco, changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        open_coco(with_annotation(**changed))


def test_several_faulty_boxes_are_listed(open_coco: OpenCoco) -> None:
    content = coco_content(9)
    for row in content["annotations"][1:11]:
        row["bbox"][2] = 0
    listed = r"annotation 2 \(as well as 3, 4, 5, 6, 7, 8, 9 …\) has the box \[70, 20, 0, 70\]"
    with pytest.raises(DataError, match=listed):
        open_coco(content)


@pytest.mark.parametrize("values", [[1, 2], [1, 2, 2] * 2, [1, 2, 3] * 3, ["1", 2, 2] * 3])
def test_faulty_keypoints(open_coco: OpenCoco, values: list[Any]) -> None:
    content = coco_content(keypoints=True)
    content["annotations"][4]["keypoints"] = values
    with pytest.raises(DataError, match=r"annotation 5 must have x, y and visibility .* 9 numbers"):
        open_coco(content)


def test_keypoints_without_names(open_coco: OpenCoco) -> None:
    content = coco_content(keypoints=True)
    del content["categories"][0]["keypoints"]
    with pytest.raises(DataError, match=r"have keypoints, and 0 different lists of their names"):
        open_coco(content)


def test_ids_and_names_that_occur_twice(open_coco: OpenCoco) -> None:
    content = coco_content()
    content["images"][1]["id"] = 0
    with pytest.raises(DataError, match="the picture id 0 occurs twice; ids must differ"):
        open_coco(content)
    with pytest.raises(DataError, match='two categories are named "person"; names must differ'):
        open_coco(coco_content(names=("person", "person")))


def test_no_pictures_and_no_categories(open_coco: OpenCoco) -> None:
    with pytest.raises(DataError, match="lists no pictures; there must be at least one"):
        open_coco(coco_content(0))
    content = coco_content()
    content["categories"], content["annotations"] = [], []
    with pytest.raises(DataError, match="names no categories; there must be at least one"):
        open_coco(content)


def test_missing_pictures(open_coco: OpenCoco, tmp_path: Path) -> None:
    save_picture(tmp_path / "images" / "0.png", 0)
    save_picture(tmp_path / "images" / "2.png", 0)
    with pytest.raises(DataError, match=r"images/1\.png is missing, 2 of 4 in all; add them or"):
        open_coco(coco_content(), pictures=False)


def test_a_picture_of_another_size(open_coco: OpenCoco) -> None:
    content = coco_content()
    content["images"][1] |= {"width": 96, "height": 128}
    content["annotations"][2] |= {"bbox": [40, 15, 40, 70]}
    pictures = open_coco(content)
    with pytest.raises(DataError, match=r"1\.png is 128x96 px upright, and its .* says 96x128"):
        pictures[1]


def test_a_size_of_nothing(open_coco: OpenCoco) -> None:
    content = coco_content()
    content["images"][1]["width"] = 0
    with pytest.raises(DataError, match=r"the picture 1\.png is 0x96 px; both must be at least 1"):
        open_coco(content)
