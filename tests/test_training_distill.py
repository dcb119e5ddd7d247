from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from training_case import LOSSES, run, small_model, small_set

from models.data.augment import augmentation
from models.training.distill import D2GoTeacher, FeatureMimic
from models.training.loop import Trainer
from models.training.settings import TrainSettings

STRIDES = {"2": 16, "3": 32}

pytestmark = pytest.mark.usefixtures("one_torch_thread")


class Teacher(nn.Module):
    """Fixed random features at stride 16, of a picture enlarged to 160 px."""

    channels = 6

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.randn(self.channels, 3, 16, 16, generator=generator)

    @torch.no_grad()
    def forward(self, picture: Tensor) -> Tensor:
        enlarged = nn.functional.interpolate(picture[None], (160, 208))
        return nn.functional.conv2d(enlarged, self.weight, stride=16)


def mimic() -> FeatureMimic:
    return FeatureMimic(small_model(), Teacher(), levels=STRIDES)  # type: ignore[arg-type]


def trainer_of(network: FeatureMimic, tmp_path: Path) -> Trainer:
    return Trainer(
        network.detector,
        small_set(tmp_path),
        augmentation("none"),
        TrainSettings(epochs=12, batch_size=4, lr=2e-3),
        workers=0,
        network=network,
    )


def test_features_come_closer_to_the_teachers(tmp_path: Path) -> None:
    reports = run(trainer_of(mimic(), tmp_path))
    assert reports[0].losses.keys() == LOSSES | {"loss_mimic"}
    assert reports[-1].losses["loss_mimic"] < 0.8 * reports[0].losses["loss_mimic"]


def test_the_pyramid_learns_from_it_and_the_heads_do_not() -> None:
    network = mimic().train()
    losses = network([torch.rand(3, 96, 128)], [no_object()])
    losses["loss_mimic"].backward()
    assert network.detector.backbone.fpn.inner_blocks[2][0].weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in network.detector.roi_heads.parameters())
    assert all(adapter.weight.grad is not None for adapter in network.adapters.values())


def test_the_loss_is_weighted() -> None:
    torch.manual_seed(0)
    network = mimic().train()
    picture = torch.rand(3, 96, 128)
    values = []
    for weight in (0.5, 1.0):
        network.weight = weight
        torch.manual_seed(0)
        values.append(network([picture], [no_object()])["loss_mimic"].item())
    assert values[1] == pytest.approx(2 * values[0], rel=0.05)


def test_what_is_saved_is_the_detector_alone(tmp_path: Path) -> None:
    trainer = trainer_of(mimic(), tmp_path)
    assert trainer.evaluated.state_dict().keys() == small_model().state_dict().keys()
    again = trainer_of(mimic(), tmp_path / "again")
    again.load_state(trainer.state())  # the adapters, too


@pytest.mark.real_data
def test_a_real_teacher(shared: Path) -> None:
    teacher = D2GoTeacher(shared / "peers" / "d2go_maskrcnn_flutter.pt")
    features = teacher(torch.rand(3, 240, 320))
    assert features.shape[:2] == (1, teacher.channels)
    assert features.shape[2:] == (20, 27)
    assert features.dtype == torch.float32
    assert not features.requires_grad


def no_object() -> dict[str, Tensor]:
    return {
        "boxes": torch.zeros(0, 4),
        "labels": torch.zeros(0, dtype=torch.int64),
        "masks": torch.zeros(0, 96, 128, dtype=torch.uint8),
    }
