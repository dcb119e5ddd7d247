"""What R-CNN learns on top of its features: SVMs and regressions, by scikit-learn."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder

from models.errors import UsageError
from models.lineage.examples import match
from models.lineage.feature_cache import RegionFeatures

Floats = npt.NDArray[np.float32]

_NORM = 20.0  # of a feature vector on average, as in the paper: C and the margin go with it
_C = 1e-3
_NEGATIVE_IOU = 0.3  # below it a region is no object of the class for sure
_HARD_MARGIN = -1.0  # a negative above is on the wrong side, or inside of the margin
_ROUNDS = 3  # of looking for hard negatives, and learning again
_FIRST_NEGATIVES = 2000
_RIDGE = 10.0
_NEVER = -20.0  # the offset of a class that was never shown


class SupportVectors(nn.Module):
    """One linear SVM for each class, and how sure a margin is.

    Args:
        classes: without background.
        width: of the features.
    """

    weight: Tensor
    bias: Tensor
    slope: Tensor
    offset: Tensor

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(classes, width))
        self.register_buffer("bias", torch.zeros(classes))
        self.register_buffer("slope", torch.ones(classes))
        self.register_buffer("offset", torch.zeros(classes))

    def probabilities(self, features: Tensor) -> Tensor:
        """(N,classes) in 0..1: the margins of features (N,width), through Platt's sigmoid."""
        margins = features @ self.weight.T + self.bias
        return torch.sigmoid(margins * self.slope + self.offset)


class Regressions(nn.Module):
    """For each class, differences of the box from the pooled features of its proposal."""

    weight: Tensor
    bias: Tensor

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(classes, 4, width))
        self.register_buffer("bias", torch.zeros(classes, 4))

    def forward(self, pooled: Tensor, labels: Tensor) -> Tensor:
        """(N,4) for pooled features (N,width) and classes ``labels`` (N,) from 0."""
        found = torch.zeros(len(pooled), 4)
        for label in set(labels.tolist()):
            rows = labels == label
            found[rows] = pooled[rows] @ self.weight[label].T + self.bias[label]
        return found


def fit_classes(svm: SupportVectors, regions: Sequence[RegionFeatures], seed: int) -> None:
    """Teach ``svm``: objects against regions that hardly touch one of the class.

    Raises:
        UsageError: if scikit-learn is not here.
    """
    scale = _NORM / float(torch.cat([one.features for one in regions]).norm(dim=1).mean())
    for label in range(len(svm.weight)):
        positives, negatives = _of_class(regions, label + 1)
        if len(positives) == 0:
            svm.offset[label] = _NEVER
            continue
        weight, bias = _with_hard_negatives(positives * scale, negatives * scale, seed)
        svm.weight[label] = torch.from_numpy(weight) * scale
        svm.bias[label] = bias
        svm.slope[label], svm.offset[label] = _sureness(svm, regions, label)


def _of_class(regions: Sequence[RegionFeatures], label: int) -> tuple[Floats, Floats]:
    positives, negatives = [], []
    for one in regions:
        own = one.example.labels == label
        objects = len(own)
        positives.append(one.features[:objects][own])
        overlap, _ = match(one.boxes, one.example.boxes[own])
        negatives.append(one.features[overlap < _NEGATIVE_IOU])
    return torch.cat(positives).numpy(), torch.cat(negatives).numpy()


def _with_hard_negatives(positives: Floats, negatives: Floats, seed: int) -> tuple[Floats, float]:
    """Weight and bias; the negatives that matter are looked for in rounds."""
    svm_class = _scikit_learn("svm").LinearSVC
    order = np.random.default_rng(seed).permutation(len(negatives))
    chosen = np.zeros(len(negatives), bool)
    chosen[order[:_FIRST_NEGATIVES]] = True
    for _ in range(_ROUNDS):
        rows = np.concatenate([positives, negatives[chosen]])
        is_object = np.arange(len(rows)) < len(positives)
        learned = svm_class(C=_C, class_weight={True: 2.0}, random_state=seed, dual=False)
        learned.fit(rows, is_object)
        hard = learned.decision_function(negatives) > _HARD_MARGIN
        if not (hard & ~chosen).any():
            break
        chosen |= hard
    return learned.coef_[0].astype(np.float32), float(learned.intercept_[0])


def _sureness(
    svm: SupportVectors, regions: Sequence[RegionFeatures], label: int
) -> tuple[float, float]:
    """Slope and offset that make a margin the probability of an IoU of at least 0.5 (Platt)."""
    margins, is_object = [], []
    for one in regions:
        margins.append(one.features @ svm.weight[label] + svm.bias[label])
        if len(one.example.labels):
            is_object.append((one.overlap >= 0.5) & (one.example.labels[one.which] == label + 1))
        else:
            is_object.append(torch.zeros(len(one.boxes), dtype=torch.bool))
    learned = _scikit_learn("linear_model").LogisticRegression()
    learned.fit(torch.cat(margins).numpy()[:, None], torch.cat(is_object).numpy())
    return float(learned.coef_[0, 0]), float(learned.intercept_[0])


def fit_boxes(regressions: Regressions, regions: Sequence[RegionFeatures], coder: BoxCoder) -> None:
    """Teach ``regressions`` by the regions that are close to an object.

    Raises:
        UsageError: if scikit-learn is not here.
    """
    ridge = _scikit_learn("linear_model").Ridge
    near = [one for one in regions if len(one.close)]
    pooled = torch.cat([one.pooled for one in near])
    labels = torch.cat([one.example.labels[one.which[one.close]] for one in near])
    targets = torch.cat(
        [
            coder.encode_single(one.example.boxes[one.which[one.close]], one.boxes[one.close])
            for one in near
        ]
    )
    for label in range(len(regressions.weight)):
        rows = labels == label + 1
        if rows.any():
            learned = ridge(alpha=_RIDGE).fit(pooled[rows].numpy(), targets[rows].numpy())
            regressions.weight[label] = torch.from_numpy(learned.coef_)
            regressions.bias[label] = torch.from_numpy(learned.intercept_)


def _scikit_learn(part: str) -> Any:
    try:
        return importlib.import_module(f"sklearn.{part}")
    except ImportError as error:
        raise UsageError(
            "R-CNN's SVMs and regressions are learned by scikit-learn: pip install scikit-learn."
        ) from error
