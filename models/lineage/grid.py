"""You only look once (Redmon et al., 2016): a grid of cells, each of which says what it holds.

No proposals: the cell in which an object's centre lies answers for it, with B boxes to choose from
and one class. The whole picture goes through once, whatever is in it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import batched_nms, box_iou

from models.data.samples import LabelledPictures
from models.deploy.box_math import clip
from models.detections import Detections
from models.letterbox import Image
from models.lineage.base import LEAST_SCORE, Budget, Lineage, Stopwatch
from models.lineage.examples import normalised
from models.lineage.train import Batch, Target, Turn, context, read_samples, squeezed, teach
from models.lineage.trunk import begin_with_windows

CELLS = 14  # S: of the grid, each way
BOXES = 2  # B: of each cell
SIDE = 16 * CELLS  # px of the square that every picture is squeezed into
_CHANNELS = 24
_NMS_IOU = 0.4

_PICTURES, _PASSES = 600, 24
_COORDINATES, _NOTHING = 5.0, 0.5  # the paper's weights of losses


class GridNetwork(nn.Module):
    """What each cell says of pixels (P,3,SIDE,SIDE)."""

    def __init__(self, class_count: int) -> None:
        super().__init__()
        self.features = context(_CHANNELS)
        self.head = nn.Conv2d(_CHANNELS, 5 * BOXES + class_count - 1, 1)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (P,S*S,B,4), confidences (P,S*S,B) and class scores (P,S*S,classes).

        A box is xyxy in 0..1 of the picture; a confidence is a probability; class scores are
        before softmax, without a background.
        """
        return read(self.head(self.features(pixels)))


def read(said: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What (P,5B+classes,S,S) numbers of the head mean; see ``GridNetwork.forward``.

    Of each box they are: its centre in the cell, its sides in the picture, how sure it is.
    """
    cells = said.flatten(2).transpose(1, 2)
    numbers = cells[..., : 5 * BOXES].reshape(*cells.shape[:2], BOXES, 5).sigmoid()
    centres = (numbers[..., :2] + _corners()[:, None]) / CELLS
    half = numbers[..., 2:4].square() / 2  # the head gives the root: small boxes need finer steps
    boxes = torch.cat([centres - half, centres + half], -1)
    return boxes, numbers[..., 4], cells[..., 5 * BOXES :]


class Grid(Lineage):
    """S x S cells, B boxes a cell, one pass.

    Args:
        class_names: background first.
    """

    name = "grid_shapes"
    module: GridNetwork

    def __init__(self, class_names: tuple[str, ...]) -> None:
        super().__init__(class_names)
        self.module = GridNetwork(len(class_names))

    def find(self, image: Image, clock: Stopwatch) -> Detections:
        height, width = image.shape[:2]
        with clock.step("features"):
            features = self.module.features(squeezed(normalised(image), (SIDE, SIDE)))
        with clock.step("heads"):
            (boxes,), (sure,), (classes,) = read(self.module.head(features))
            scores = sure[..., None] * classes.softmax(-1)[:, None]
        with clock.step("nms"):
            cell, box, label = (scores >= LEAST_SCORE).nonzero(as_tuple=True)
            found = boxes[cell, box] * boxes.new_tensor([width, height, width, height])
            found, values = clip(found, (height, width)), scores[cell, box, label]
            kept = batched_nms(found, values, label, _NMS_IOU)
            return self.detections(found[kept], label[kept] + 1, values[kept])

    def train(self, pictures: LabelledPictures, budget: Budget) -> None:
        torch.manual_seed(budget.seed)
        self.module = GridNetwork(len(self.class_names))
        begin_with_windows(self.module.features[0])
        teach(
            self.name,
            self.module,
            read_samples(pictures, _PICTURES),
            self._loss,
            passes=_PASSES,
            budget=budget,
            turn=Turn(pictures),
        )

    def _loss(self, batch: Batch) -> Tensor:
        """The paper's sum over cells, with cross entropy for the class."""
        pixels = squeezed(batch.pixels, (SIDE, SIDE))
        height, width = batch.pixels.shape[2:]
        boxes, sure, classes = self.module(pixels)
        total = pixels.new_zeros(())
        for picture, target in enumerate(batch.targets):
            truth = target["boxes"] / pixels.new_tensor([width, height, width, height])
            total = total + _loss_of_picture(
                boxes[picture], sure[picture], classes[picture], truth, target
            )
        return total / len(batch.targets)


def _loss_of_picture(
    boxes: Tensor, sure: Tensor, classes: Tensor, truth: Tensor, target: Target
) -> Tensor:
    """Of the cells of one picture whose objects have boxes ``truth`` (N,4) in 0..1."""
    cell = cells_of(truth)
    own = [box_iou(boxes[cell, box].detach(), truth).diagonal() for box in range(BOXES)]
    overlap = torch.stack(own, 1)
    box = overlap.argmax(1)  # the better one of the cell's boxes answers for the object
    wanted = torch.zeros_like(sure)
    wanted[cell, box] = overlap.amax(1)
    weights = torch.full_like(sure, _NOTHING)
    weights[cell, box] = 1.0
    of_confidence = (weights * (sure - wanted).square()).sum()
    of_box = (_spread(boxes[cell, box]) - _spread(truth)).square().sum()
    of_class = functional.cross_entropy(classes[cell], target["labels"] - 1, reduction="sum")
    return _COORDINATES * of_box + of_confidence + of_class


def cells_of(boxes: Tensor) -> Tensor:
    """The number of the cell (N,) in which each of ``boxes`` (N,4) in 0..1 has its centre."""
    centre = ((boxes[:, :2] + boxes[:, 2:]) / 2 * CELLS).long().clamp(0, CELLS - 1)
    return centre[:, 1] * CELLS + centre[:, 0]


def _spread(boxes: Tensor) -> Tensor:
    """Centre in cells and root of the sides (N,4) of boxes in 0..1."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 * CELLS
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-6).sqrt()
    return torch.cat([centre, sides], 1)


def _corners() -> Tensor:
    """(S*S,2): column and row of each cell."""
    rows, columns = torch.meshgrid(torch.arange(CELLS), torch.arange(CELLS), indexing="ij")
    return torch.stack([columns.flatten(), rows.flatten()], 1).float()
