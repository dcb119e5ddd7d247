from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from labelled import (
    KEYPOINTS,
    PEOPLE,
    SIZE,
    OpenCoco,
    coco_annotation,
    coco_content,
    draw,
    polygon,
    with_annotation,
)
from pycocotools import mask as coco_mask

from models.data.coco import CocoPictures
from models.data.person import everyday_parts, person_sets
from models.errors import UsageError

HELD_OUT = (338, 113, 446, 474, 436, 395, 382, 109, 415, 294, 634, 241, 110, 431, 397, 520)


def mask_of(box: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    x0, y0, x1, y1 = box
    mask[y0:y1, x0:x1] = 1
    return mask


def run_lengths(mask: np.ndarray) -> list[int]:
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    bounds = np.concatenate([[0], edges, [flat.size]])
    runs = np.diff(bounds).tolist()
    return [0, *runs] if flat[0] else runs


# --- what a sample holds ---


def test_sample(open_coco: OpenCoco) -> None:
    pictures = open_coco(coco_content())
    picture, target = pictures[0]
    np.testing.assert_array_equal(picture.permute(1, 2, 0).numpy(), draw(0)[0])
    assert target["boxes"].tolist() == [list(box) for box in PEOPLE[0]]
    assert target["boxes"].dtype == torch.float32
    assert target["labels"].tolist() == [1, 1]
    assert target["iscrowd"].tolist() == [False, False]
    np.testing.assert_array_equal(target["masks"].numpy(), [mask_of(box) for box in PEOPLE[0]])
    assert "keypoints" not in target
    assert (len(pictures), pictures.has_masks, pictures.keypoint_names) == (4, True, ())
    assert pictures.class_names == ("__background__", "person")


def test_pictures_come_in_the_order_of_their_ids(open_coco: OpenCoco) -> None:
    content = coco_content()
    content["images"].reverse()
    pictures = open_coco(content)
    assert [pictures.path(index).name for index in range(4)] == [f"{n}.png" for n in range(4)]
    part = pictures.take([2, 0])
    assert [int(part[index][1]["image_id"]) for index in range(2)] == [0, 1]
    assert [part.path(index).name for index in range(2)] == ["2.png", "0.png"]


def test_category_ids_become_labels_in_their_order(open_coco: OpenCoco) -> None:
    content = with_annotation(category_id=90)
    content["annotations"][1]["category_id"] = 7
    content["categories"] = [{"id": 90, "name": "dog"}, {"id": 1, "name": "person"}]
    content["categories"].append({"id": 7, "name": "cat"})
    pictures = open_coco(content)
    assert pictures.class_names == ("__background__", "person", "cat", "dog")
    assert pictures[0][1]["labels"].tolist() == [3, 2]


def test_a_heading_is_no_class(open_coco: OpenCoco) -> None:
    content = coco_content()
    content["categories"] = [
        {"id": 0, "name": "person", "supercategory": "none"},
        {"id": 1, "name": "person", "supercategory": "person"},
    ]
    assert open_coco(content).class_names == ("__background__", "person")


@pytest.mark.parametrize("kind", ["list", "string"])
def test_run_lengths(open_coco: OpenCoco, kind: str) -> None:
    mask = draw(0)[1] > 0
    counts: Any = run_lengths(mask.astype(np.uint8))
    if kind == "string":
        counts = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    crowd = with_annotation(segmentation={"size": [SIZE[1], SIZE[0]], "counts": counts}, iscrowd=1)
    _, target = open_coco(crowd)[0]
    np.testing.assert_array_equal(target["masks"][0].numpy(), mask)
    assert target["iscrowd"].tolist() == [True, False]


def test_a_string_of_many_run_lengths(open_coco: OpenCoco) -> None:
    mask = (np.random.default_rng(0).random((SIZE[1], SIZE[0])) > 0.5).astype(np.uint8)
    mask[:, 60:120] = 0  # one long run among the short
    counts = coco_mask.encode(np.asfortranarray(mask))["counts"].decode()
    shape = {"size": [SIZE[1], SIZE[0]], "counts": counts}
    _, target = open_coco(with_annotation(segmentation=shape))[0]
    np.testing.assert_array_equal(target["masks"][0].numpy(), mask)


def test_several_polygons_are_one_mask(open_coco: OpenCoco) -> None:
    left, right = (20, 10, 30, 80), (40, 10, 50, 80)
    _, target = open_coco(with_annotation(segmentation=[polygon(left), polygon(right)]))[0]
    np.testing.assert_array_equal(target["masks"][0].numpy(), mask_of(left) | mask_of(right))


def test_boxes_end_at_the_edges_of_the_picture(open_coco: OpenCoco) -> None:
    _, target = open_coco(with_annotation(bbox=[-5, 90, 15, 20]))[0]
    assert target["boxes"][0].tolist() == [0, 90, 10, 96]


def test_an_outline_between_pixels_has_a_pixel(open_coco: OpenCoco) -> None:
    thin = [127.6, 20, 127.7, 20, 127.7, 30]
    _, target = open_coco(with_annotation(bbox=[127.6, 20, 0.1, 10], segmentation=[thin]))[0]
    assert target["masks"][0].nonzero().tolist() == [[25, 127]]


def test_boxes_alone(open_coco: OpenCoco) -> None:
    pictures = open_coco(coco_content(masks=False))
    assert not pictures.has_masks
    assert "masks" not in pictures[0][1]
    assert pictures[0][1]["boxes"].tolist() == [list(box) for box in PEOPLE[0]]


def test_keypoints(open_coco: OpenCoco) -> None:
    content = coco_content(keypoints=True)
    del content["annotations"][1]["keypoints"]
    pictures = open_coco(content)
    assert pictures.keypoint_names == KEYPOINTS
    _, target = pictures[0]
    assert target["keypoints"].tolist() == [[[35, 15], [22, 60], [0, 0]], [[0, 0]] * 3]
    assert target["visibility"].tolist() == [[2, 1, 0], [0, 0, 0]]
    assert target["visibility"].dtype == torch.uint8


def test_a_category_with_keypoints_that_no_annotation_has(open_coco: OpenCoco) -> None:
    content = coco_content()
    content["categories"][0]["keypoints"] = list(KEYPOINTS)
    pictures = open_coco(content)
    assert pictures.keypoint_names == ()
    assert "keypoints" not in pictures[0][1]


@pytest.mark.parametrize("keypoints", [True, False])
def test_a_picture_without_objects(open_coco: OpenCoco, keypoints: bool) -> None:
    content = coco_content(keypoints=keypoints)
    content["annotations"] = [row for row in content["annotations"] if row["image_id"] != 1]
    _, target = open_coco(content)[1]
    assert target["boxes"].shape == (0, 4)
    assert target["labels"].shape == (0,)
    assert target["labels"].dtype == torch.int64
    assert target["masks"].shape == (0, SIZE[1], SIZE[0])
    if keypoints:
        assert target["keypoints"].shape == (0, 3, 2)
        assert target["visibility"].shape == (0, 3)


# --- parts of a set ---


def zoo_of(open_coco: OpenCoco) -> CocoPictures:
    """Pictures 0 to 19 with people, 20 a dog, 21 a crowd, 22 a speck, 23 nothing."""
    box = PEOPLE[1][0]
    rows = [coco_annotation(number + 1, number, box) for number in range(20)]
    rows += [
        coco_annotation(21, 0, (5, 5, 25, 45), category_id=2),
        coco_annotation(22, 20, box, category_id=2),
        coco_annotation(23, 21, box),
        coco_annotation(24, 21, (0, 0, 128, 96), iscrowd=1),
        coco_annotation(25, 22, (10, 10, 13, 40)),
    ]
    content = coco_content(24, names=("person", "dog"))
    content["annotations"] = rows
    return open_coco(content)


def numbers(pictures: CocoPictures) -> list[int]:
    return [picture.number for picture in pictures.pictures]


def test_only_some_classes(open_coco: OpenCoco) -> None:
    animals = zoo_of(open_coco)
    dogs = animals.only(["dog"])
    assert dogs.class_names == ("__background__", "dog")
    assert len(dogs) == 24
    assert dogs[0][1]["boxes"].tolist() == [[5, 5, 25, 45]]
    assert dogs[0][1]["labels"].tolist() == [1]
    assert animals.only(["dog", "person"])[0][1]["labels"].tolist() == [2, 1]
    assert animals[0][1]["labels"].tolist() == [1, 2]


def test_only_an_unknown_class(open_coco: OpenCoco) -> None:
    with pytest.raises(UsageError, match=r'no class "cat"; it has person, dog\.'):
        zoo_of(open_coco).only(["cat"])


def test_only_classes_without_keypoints(open_coco: OpenCoco) -> None:
    content = coco_content(keypoints=True, names=("person", "dog"))
    pictures = open_coco(content)
    assert pictures.only(["person"]).keypoint_names == KEYPOINTS
    assert pictures.only(["dog"]).keypoint_names == ()


def test_with_and_without(open_coco: OpenCoco) -> None:
    people = zoo_of(open_coco).only(["person"])
    assert numbers(people.with_objects()) == [*range(20), 21, 22]
    assert numbers(people.without_objects()) == [20, 23]
    assert numbers(people.without_crowds()) == [*range(21), 22, 23]
    assert numbers(people.without_small(4).with_objects()) == [*range(20), 21]
    assert numbers(people.without_small(3).with_objects()) == [*range(20), 21, 22]


def test_parts_of_the_person_model(open_coco: OpenCoco) -> None:
    learned, held_out, nobody = everyday_parts(zoo_of(open_coco))
    order = torch.randperm(20, generator=torch.Generator().manual_seed(42)).tolist()
    assert numbers(held_out) == order[:16]
    assert numbers(learned) == order[16:]
    assert numbers(nobody) == [20, 22, 23]
    assert learned.class_names == ("__background__", "person")


@pytest.mark.real_data
def test_parts_of_the_person_model_are_still_the_published_ones(shared: Path) -> None:
    sets = person_sets(shared / "data")
    assert (len(sets.pedestrians_train), len(sets.pedestrians_test)) == (127, 43)
    assert sets.pedestrians_test.path(0).name == "FudanPed00067.png"
    assert sets.people_train is not None
    assert sets.people_held_out is not None
    assert sets.nobody is not None
    assert tuple(numbers(sets.people_held_out)) == HELD_OUT
    assert (len(sets.people_train), len(sets.nobody)) == (40, 67)
    _, target = sets.people_held_out[0]
    assert len(target["boxes"]) == len(target["masks"]) > 0


@pytest.mark.real_data
def test_every_real_picture(shared: Path) -> None:
    coco128 = shared / "data" / "coco128"
    pictures = CocoPictures.open(
        coco128 / "annotations" / "instances_val2017.json", coco128 / "images"
    )
    assert (len(pictures), len(pictures.class_names), pictures.has_masks) == (128, 81, True)
    objects = 0
    for index in range(len(pictures)):
        _, target = pictures[index]
        objects += len(target["boxes"])
        assert target["masks"].flatten(1).any(1).all()
        assert (target["boxes"][:, 2:] > target["boxes"][:, :2]).all()
    assert objects == 939
