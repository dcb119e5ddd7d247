"""The optimiser, its learning rates over time, and the moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR
from torch.optim.swa_utils import AveragedModel
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN

from models.training.settings import TrainSettings


def make_optimizer(
    network: nn.Module, detector: GeneralizedRCNN, settings: TrainSettings
) -> torch.optim.Optimizer:
    """Two groups of parameters: the detector's pretrained body, and everything else."""
    body = {id(parameter) for parameter in _body(detector).parameters()}
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {
            "params": [p for p in trained if id(p) in body],
            "lr": settings.lr * settings.body_lr_factor,
        },
        {"params": [p for p in trained if id(p) not in body], "lr": settings.lr},
    ]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, weight_decay=settings.weight_decay)
    return torch.optim.AdamW(groups, weight_decay=settings.weight_decay)


def _body(detector: GeneralizedRCNN) -> nn.Module:
    body: nn.Module = getattr(detector.backbone, "body", detector.backbone)
    return body


def make_schedule(
    optimizer: torch.optim.Optimizer, settings: TrainSettings, updates: int
) -> LRScheduler:
    """The learning rate of each of ``updates`` updates."""
    if settings.schedule == "onecycle":
        rise = min(settings.warm_up * updates, updates - 1.0)
        if rise == 1:  # OneCycleLR divides by the updates between the first and the peak
            rise = 0.999
        return OneCycleLR(
            optimizer,
            max_lr=[group["lr"] for group in optimizer.param_groups],
            total_steps=updates,
            pct_start=rise / updates,
        )
    warm_up = max(1, round(settings.warm_up * updates))
    factor = _cosine if settings.schedule == "cosine" else _constant
    return LambdaLR(optimizer, partial(factor, warm_up=warm_up, updates=updates))


def _constant(update: int, *, warm_up: int, updates: int) -> float:  # noqa: ARG001 - as _cosine
    return min(1.0, (update + 1) / warm_up)


def _cosine(update: int, *, warm_up: int, updates: int) -> float:
    if update < warm_up:
        return (update + 1) / warm_up
    return 0.5 + 0.5 * math.cos(math.pi * (update - warm_up) / max(1, updates - warm_up))


def make_average(detector: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of the weights, shorter in the first updates."""

    @torch.no_grad()
    def update(old: Sequence[Tensor], new: Sequence[Tensor], count: Tensor | int) -> None:
        share = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
        for mean, value in zip(old, new, strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, share)
            else:  # a counter
                mean.copy_(value)

    return AveragedModel(detector, multi_avg_fn=update, use_buffers=True)
