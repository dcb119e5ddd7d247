"""How to train, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("onecycle", "cosine", "constant")
AUGMENTATIONS = ("none", "flip", "standard")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Everything that decides what a run learns; a resumed run must have the same.

    Attributes:
        epochs: passes over the data.
        batch_size: pictures a step and process.
        accumulate: steps whose gradients make one update.
        optimizer: AdamW (Loshchilov and Hutter, 2019) or SGD with momentum 0.9.
        lr: peak learning rate.
        body_lr_factor: the pretrained backbone's share of it.
        weight_decay: the optimiser's.
        schedule: OneCycle (Smith and Topin, 2018); warm-up, then half a cosine to zero; or warm-up,
            then constant.
        warm_up: share of all updates in which the learning rate rises.
        max_gradient_norm: gradients are scaled down to this norm.
        ema_decay: of the moving average of the weights that is evaluated and saved; 0 for none.
        precision: of the forward pass; ``auto`` is bf16 on a GPU that has it, fp16 on one that has
            not, fp32 elsewhere.
        seed: of shuffling, augmentation and sampling.
    """

    epochs: int = 10
    batch_size: int = 4
    accumulate: int = 1
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = 2e-4
    body_lr_factor: float = 0.25
    weight_decay: float = 1e-2
    schedule: Literal["onecycle", "cosine", "constant"] = "onecycle"
    warm_up: float = 0.1
    max_gradient_norm: float = 5.0
    ema_decay: float = 0.998
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    seed: int = 0
