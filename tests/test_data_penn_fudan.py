from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from labelled import PEOPLE, SIZE, draw, make_penn_fudan

from models.data.penn_fudan import PennFudan
from models.errors import DataError


@pytest.fixture
def penn_fudan(tmp_path: Path) -> PennFudan:
    return PennFudan.open(make_penn_fudan(tmp_path / "PennFudanPed"))


def test_sample(penn_fudan: PennFudan) -> None:
    assert len(penn_fudan) == 4
    picture, target = penn_fudan[0]
    expected, mask = draw(0)
    np.testing.assert_array_equal(picture.permute(1, 2, 0).numpy(), expected)
    assert target["boxes"].tolist() == [list(box) for box in PEOPLE[0]]
    assert target["boxes"].dtype == torch.float32
    assert target["labels"].tolist() == [1, 1]
    assert target["iscrowd"].tolist() == [False, False]
    assert target["masks"].dtype == torch.uint8
    np.testing.assert_array_equal(target["masks"].numpy(), [mask == 1, mask == 2])


@pytest.mark.parametrize("kind", ["16 bit", "palette", "opaque"])
def test_masks_of_other_kinds(penn_fudan: PennFudan, kind: str) -> None:
    expected = draw(0)[1]
    ids = expected.astype(np.uint16)  # grey in 8 bits, both would be 0
    if kind != "16 bit":  # two colours of the same grey
        colors = [(0, 0, 0, 255), (50, 0, 0, 255), (0, 10, 0, 255)]
        ids = np.array(colors, np.uint8)[expected][:, :, : 3 if kind == "palette" else 4]
    assert cv2.imwrite(str(penn_fudan.masks[0]), ids)
    found = penn_fudan[0][1]["masks"].numpy()
    wanted = [expected == 1, expected == 2]
    assert sorted(mask.tobytes() for mask in found.astype(bool)) == sorted(
        mask.tobytes() for mask in wanted
    )


def test_names_and_paths(penn_fudan: PennFudan) -> None:
    assert penn_fudan.class_names == ("__background__", "person")
    assert penn_fudan.has_masks
    assert penn_fudan.keypoint_names == ()
    assert [penn_fudan.path(index).name for index in range(4)] == [f"P{n}.png" for n in range(4)]
    assert [penn_fudan.take([3, 1]).path(index).name for index in range(2)] == ["P3.png", "P1.png"]


def test_split_is_the_documented_one() -> None:
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


def test_a_mask_of_zeros_is_a_picture_without_people(penn_fudan: PennFudan) -> None:
    cv2.imwrite(str(penn_fudan.masks[1]), np.zeros((SIZE[1], SIZE[0]), np.uint8))
    _, target = penn_fudan[1]
    assert target["boxes"].shape == (0, 4)
    assert target["labels"].shape == (0,)
    assert target["masks"].shape == (0, SIZE[1], SIZE[0])


def test_without_a_mask_it_is_refused(penn_fudan: PennFudan) -> None:
    penn_fudan.masks[2].unlink()
    with pytest.raises(DataError, match=r"P2_mask\.png is missing, 1 of 4 in all; each picture"):
        PennFudan.open(penn_fudan.images[0].parent.parent)


def test_without_pictures_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no pictures; they must be PNGImages/\*\.png\."):
        PennFudan.open(make_penn_fudan(tmp_path / "empty", count=0))


def test_an_unreadable_picture_is_named(penn_fudan: PennFudan) -> None:
    penn_fudan.images[1].write_bytes(b"")
    with pytest.raises(DataError, match=r"P1\.png cannot be read as a picture"):
        penn_fudan[1]


def test_an_unreadable_mask_is_named(penn_fudan: PennFudan) -> None:
    penn_fudan.masks[1].write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"P1_mask\.png cannot be read as a picture"):
        penn_fudan[1]


def test_a_mask_of_another_size_is_named(penn_fudan: PennFudan) -> None:
    cv2.imwrite(str(penn_fudan.masks[3]), np.ones((10, 20), np.uint8))
    with pytest.raises(DataError, match=r"P3_mask\.png is 20x10 px and its picture 128x96; both"):
        penn_fudan[3]


@pytest.mark.parametrize("folder", ["PNGImages", "PedMasks"])
def test_a_picture_too_large_for_opencv_is_named(tmp_path: Path, folder: str) -> None:
    root = make_penn_fudan(tmp_path / "set", 1)
    (path,) = (root / folder).iterdir()
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", 60_000, 60_000)  # width and height
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{path.name} cannot be read as a picture"):
        PennFudan.open(root)[0]
