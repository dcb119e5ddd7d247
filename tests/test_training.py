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


# --- the loop ---


def test_losses_are_finite_and_fall(penn_fudan: PennFudan) -> None:
    history: list[dict[str, float]] = []
    model = small_model()
    settings = TrainSettings(epochs=6, batch_size=4, workers=0)
    train(model, as_floats(penn_fudan), settings, on_epoch=lambda _, loss: history.append(loss))
    assert len(history) == 6
    assert set(history[0]) == {
        "loss_classifier",
        "loss_box_reg",
        "loss_mask",
        "loss_objectness",
        "loss_rpn_box_reg",
    }
    totals = [sum(losses.values()) for losses in history]
    assert all(math.isfinite(total) for total in totals)
    assert totals[-1] < 0.95 * totals[0]
    assert not model.training


def test_epochs_are_numbered_from_one_and_every_part_learns(penn_fudan: PennFudan) -> None:
    model, epochs = small_model(), []
    before = {name: value.clone() for name, value in model.named_parameters()}
    settings = TrainSettings(epochs=2, batch_size=2, workers=0)
    train(model, as_floats(penn_fudan), settings, on_epoch=lambda epoch, _: epochs.append(epoch))
    assert epochs == [1, 2]
    unchanged = [n for n, value in model.named_parameters() if torch.equal(value, before[n])]
    assert unchanged == []


def test_a_loss_that_is_not_finite_stops_training(penn_fudan: PennFudan) -> None:
    model = small_model()
    nn.init.constant_(model.roi_heads.box_predictor.cls_score.bias, math.nan)
    with pytest.raises(FloatingPointError, match="the loss became nan: lower the learning rate"):
        train(
            model,
            as_floats(penn_fudan),
            TrainSettings(epochs=1, batch_size=2, workers=0),
            on_epoch=lambda *_: None,
        )


# --- the model ---


def test_body_starts_from_a_classifier() -> None:
    torch.manual_seed(1)
    classifier, model = mobilenet_v2(weights=None), small_model()
    state = classifier.state_dict()
    load_imagenet_body(model, state)
    for name, value in model.backbone.body.state_dict().items():
        torch.testing.assert_close(value, state[f"features.{name}"], rtol=0, atol=0)


def test_a_state_dict_without_the_body_is_refused() -> None:
    with pytest.raises(KeyError, match="features"):
        load_imagenet_body(small_model(), {})


# --- augmentation ---


class _OnePicture(Dataset[Sample]):
    """Two people of different size in a picture whose red channel is 255 inside of them."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        masks = torch.zeros(2, 240, 320, dtype=torch.uint8)
        masks[0, 40:200, 40:100] = 1
        masks[1, 80:160, 200:280] = 1
        boxes = torch.tensor([[40.0, 40, 100, 200], [200, 80, 280, 160]])
        picture = v2.functional.to_image(masks.amax(0, keepdim=True).repeat(3, 1, 1) * 255)
        return picture, person_target(boxes, masks, image_id=0)


def test_augmentation_keeps_boxes_masks_and_labels_in_step() -> None:
    torch.manual_seed(0)
    samples = Augmented(_OnePicture(), person_augmentation())
    sizes, lost = set(), 0
    for _ in range(50):
        picture, target = samples[0]
        sizes.add(tuple(picture.shape[1:]))
        count = len(target["boxes"])
        lost += 2 - count
        assert picture.dtype == torch.float32
        assert 0 <= picture.min() <= picture.max() <= 1
        assert target["masks"].shape == (count, *picture.shape[1:])
        assert target["masks"].dtype == torch.uint8
        assert set(target["masks"].unique().tolist()) <= {0, 1}
        assert target["labels"].tolist() == [1] * count
        if count:  # tight around the mask, to the rounding of a resized crop
            around = masks_to_boxes(target["masks"])
            around[:, 2:] += 1
            torch.testing.assert_close(
                target["boxes"].as_subclass(torch.Tensor), around, atol=2.5, rtol=0
            )
    assert CROP_SIZE in sizes
    assert len(sizes) > 5  # zoomed out, too
    assert lost > 0  # a crop can lose a person


def test_augmentation_moves_the_mask_with_the_picture() -> None:
    torch.manual_seed(0)
    samples = Augmented(_OnePicture(), v2.Compose(person_augmentation().transforms[:2]))
    for _ in range(20):
        picture, target = samples[0]
        bright = picture[0] > 200
        assert (bright != target["masks"].amax(0).bool()).float().mean() < 0.01
