"""The systems that need no proposals: grid, segmentation, one object and its joints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.class_map import from_probabilities
from models.data.open import open_data
from models.data.samples import LabelledPictures, as_image
from models.letterbox import Image
from models.lineage import grid
from models.lineage.base import Budget, Stopwatch
from models.lineage.fcn import FCNNetwork, class_map
from models.lineage.grid import CELLS, cells_of, read
from models.lineage.joints import Joints, grown
from models.lineage.localise import Localise, largest_of
from models.lineage.measure import mean_iou
from models.shapes.world import CLASS_NAMES, World

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(scope="module")
def pictures() -> LabelledPictures:
    return open_data(Path("shapes:size=96x72,train=4,validation=2")).train


@pytest.fixture(scope="module")
def image() -> Image:
    return World(3, size=(96, 72)).draw(0)


# --- grid ---


def said_of(truth: Tensor, labels: Tensor) -> Tensor:
    """What a perfect head says (1,10+classes,S,S) of objects with boxes in 0..1."""
    said = torch.full((CELLS**2, 10 + len(CLASS_NAMES) - 1), -12.0)
    cell = cells_of(truth)
    centre = (truth[:, :2] + truth[:, 2:]) / 2 * CELLS
    corner = torch.stack([cell % CELLS, cell // CELLS], 1)
    sides = (truth[:, 2:] - truth[:, :2]).sqrt()
    numbers = torch.cat([centre - corner, sides], 1)
    said[cell, 5:9] = torch.logit(numbers)  # the second of the cell's boxes
    said[cell, 9] = 12.0
    said[cell, 10 + labels - 1] = 12.0
    return said.T.reshape(1, -1, CELLS, CELLS)


def test_what_the_grid_says_is_read_as_boxes() -> None:
    truth = torch.tensor([[0.1, 0.2, 0.3, 0.5], [0.55, 0.6, 0.95, 0.7], [0.9, 0.02, 0.99, 0.2]])
    labels = torch.tensor([1, 4, 2])
    (boxes,), (sure,), (classes,) = read(said_of(truth, labels))
    cell = cells_of(truth)
    torch.testing.assert_close(boxes[cell, 1], truth, atol=1e-5, rtol=1e-5)
    expected = torch.zeros(CELLS**2, 2, dtype=torch.bool)
    expected[cell, 1] = True
    assert torch.equal(sure > 0.5, expected)
    assert torch.equal(classes[cell].argmax(1) + 1, labels)
    target = {"labels": labels}
    perfect = grid._loss_of_picture(boxes, sure, classes, truth, target)
    worse = grid._loss_of_picture(boxes, sure, classes, truth + 0.02, target)
    assert float(perfect) < 0.01 < float(worse)


def test_the_better_of_a_cells_boxes_answers_for_its_object() -> None:
    truth, labels = torch.tensor([[0.2, 0.2, 0.4, 0.5]]), torch.tensor([3])
    said = said_of(truth, labels).requires_grad_()
    boxes, sure, classes = (part[0] for part in read(said))
    grid._loss_of_picture(boxes, sure, classes, truth + 0.004, {"labels": labels}).backward()
    cell = int(cells_of(truth))
    gradient = said.grad[0].flatten(1)[:, cell].abs()  # type: ignore[index]
    assert float(gradient[:4].max()) == 0  # the other box's place is nobody's
    assert float(gradient[5:7].min()) > 0  # where its centre is


# --- segmentation ---


@pytest.mark.parametrize("size", [(72, 96), (61, 77), (1, 1)])
def test_every_pixel_has_its_scores(size: tuple[int, int]) -> None:
    scores = FCNNetwork(5).eval()(torch.zeros(1, 3, *size))
    assert scores.shape == (1, 5, *size)


def test_the_classes_of_pixels_are_those_of_the_masks(pictures: LabelledPictures) -> None:
    picture, target = pictures[0]
    plain = {name: value.as_subclass(Tensor) for name, value in target.items()}
    shown = class_map(plain, torch.Size((80, 96)))
    assert not shown[72:].any()
    for mask, label in zip(plain["masks"], plain["labels"], strict=True):
        assert (shown[:72][mask.bool()] == label).all()
    assert not shown[:72][plain["masks"].sum(0) == 0].any()
    # a perfect system
    sure = torch.nn.functional.one_hot(shown[:72], len(CLASS_NAMES)).permute(2, 0, 1).float()
    found = from_probabilities(sure.numpy(), CLASS_NAMES, min_score=0.5)
    assert mean_iou([found], [plain]) == pytest.approx(1.0)
    nothing = from_probabilities(
        np.eye(5, dtype=np.float32)[0][:, None, None] * sure.numpy()[:1] ** 0,
        CLASS_NAMES,
        min_score=0.5,
    )
    assert mean_iou([nothing], [plain]) < 0.5
    assert as_image(picture).shape == (72, 96, 3)


# --- one object ---


def test_the_largest_object_is_the_one() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [5, 5, 30, 25], [0, 0, 40, 2]])
    assert largest_of({"boxes": boxes}) == 1


def test_class_and_four_numbers(image: Image) -> None:
    system = Localise(CLASS_NAMES)
    last = system.network.place.says
    with torch.no_grad():
        last.weight.zero_()  # all places count alike: the mean of their middles is the picture's
        last.bias.copy_(torch.tensor([0, 0, 0, 9, 0, 0, -0.25, 0, 0.25, 0.75]))
    found = system.detect(image)
    assert found.names() == [CLASS_NAMES[2]]
    # none leaves the picture
    np.testing.assert_allclose(found.boxes, [[24, 36, 72, 72]], atol=1e-3)
    with torch.no_grad():
        last.bias[1] = 20.0  # background: there is nothing
    assert len(system.detect(image)) == 0


def test_joints_are_numbers_of_the_cut() -> None:
    network = Joints().eval()
    last = network.layers[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor([0.5, 0.5, 0, 0, 1, 0, 1, 1, 0, 1]))
        boxes = torch.tensor([[10.0, 20, 50, 40], [0, 0, 8, 16]])
        points = network.points(torch.zeros(1, 3, 72, 96), boxes)
    around = grown(boxes)
    torch.testing.assert_close(points[:, 0], torch.tensor([[30.0, 30], [4, 8]]))
    torch.testing.assert_close(points[:, 1], around[:, :2])
    torch.testing.assert_close(points[:, 3], around[:, 2:])
    torch.testing.assert_close(around[0], torch.tensor([4.0, 17, 56, 43]))


def test_a_picture_is_learned_by_heart(pictures: LabelledPictures) -> None:
    system = Localise(CLASS_NAMES)
    one = pictures.take([0] * 16)
    system.train(one, Budget(effort=6))
    picture, target = pictures[0]
    with torch.inference_mode():
        boxes, labels, _ = system.largest(as_image(picture), Stopwatch())
    row = largest_of(target)
    assert int(labels) == int(target["labels"][row])
    assert float((boxes[0] - target["boxes"].as_subclass(Tensor)[row]).abs().max()) < 12
