"""The convolutions that every system here begins with, and how they are taught."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.lineage.systems import load_system, weights_of

WINDOWS = "sliding_window_shapes"
CHANNELS = (16, 32, 48, 64, 96)
STRIDES = (2, 1, 2, 1, 2)
STRIDE = 8  # px of the picture that one place of the map stands for


def trunk(padding: int = 1) -> nn.Sequential:
    """Five convolutions, 3 to 96 channels, a place of the map every ``STRIDE`` px.

    Args:
        padding: 1 to keep the edges; 0 so that a place sees its own window and nothing else.
    """
    layers: list[nn.Module] = []
    channels = 3
    for width, stride in zip(CHANNELS, STRIDES, strict=True):
        layers += [
            nn.Conv2d(channels, width, 3, stride, padding, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        channels = width
    return nn.Sequential(*layers)


def begin_with_windows(layers: nn.Module) -> None:
    """Give a ``trunk`` the convolutions of the window classifier, where its weights came along.

    A classifier first, then what detects: the papers began with ImageNet's.
    """
    if weights_of(WINDOWS).is_file():
        classifier = load_system(WINDOWS).module
        layers.load_state_dict(classifier.get_submodule("trunk").state_dict())


class Teacher:
    """AdamW whose learning rate rises and falls once.

    Args:
        module: what learns.
        steps: in all.
        lr: at the peak.
    """

    def __init__(self, module: nn.Module, steps: int, lr: float = 3e-3) -> None:
        self._parameters = list(module.parameters())
        self._optimizer = torch.optim.AdamW(self._parameters, lr=lr, weight_decay=0.01)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, max_lr=lr, total_steps=max(2, steps), pct_start=0.2
        )
        self._left = steps

    def step(self, loss: Tensor) -> None:
        """Learn from one loss."""
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not say
        nn.utils.clip_grad_norm_(self._parameters, 5.0)
        self._optimizer.step()
        self._left -= 1
        if self._left > 0:
            self._schedule.step()
