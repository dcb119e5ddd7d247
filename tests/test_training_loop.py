from __future__ import annotations

import gc
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from training_case import LOSSES, run, small_set, trainer_of

from models.data.penn_fudan import PennFudan
from models.errors import DataError, ModelError
from models.training.loop import _autocast_dtype
from models.training.optimise import make_schedule
from models.training.settings import SCHEDULES, TrainSettings

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> PennFudan:
    return small_set(tmp_path_factory.mktemp("data"))


def test_losses_are_finite_and_fall(samples: PennFudan) -> None:
    trainer = trainer_of(samples, epochs=8, batch_size=4, lr=8e-4)
    reports = run(trainer)
    assert [report.losses.keys() for report in reports] == [LOSSES] * 8
    totals = [report.losses["total"] for report in reports]
    assert all(math.isfinite(total) for total in totals)
    assert sum(totals[-3:]) < 0.95 * sum(totals[:3])
    parts = sum(value for name, value in reports[0].losses.items() if name != "total")
    assert reports[0].losses["total"] == pytest.approx(parts)


def test_epochs_and_steps_are_counted(samples: PennFudan) -> None:
    trainer, epochs, steps = trainer_of(samples, epochs=2, batch_size=3), [], []
    finished = trainer.run(
        on_step=lambda report: steps.append((report.progress.epoch, report.progress.step)),
        on_epoch=epochs.append,
    )
    assert finished
    assert steps == [(0, 1), (0, 2), (1, 1), (1, 2)]  # the second batch of each has one picture
    assert epochs == [1, 2]


def test_every_part_learns(samples: PennFudan) -> None:
    trainer = trainer_of(samples, epochs=1)
    before = {name: value.clone() for name, value in trainer.detector.named_parameters()}
    run(trainer)
    for name, value in trainer.detector.named_parameters():
        assert torch.equal(before[name], value) != value.requires_grad, name


@pytest.mark.parametrize("settings", [{}, {"accumulate": 2, "optimizer": "sgd"}])
@pytest.mark.parametrize("interrupted_after", [1, 2, 3])
def test_a_resumed_run_is_the_uninterrupted_one(
    samples: PennFudan, settings: dict[str, object], interrupted_after: int
) -> None:
    whole = trainer_of(samples, **settings)
    expected = [report.losses for report in run(whole)]

    first = trainer_of(samples, **settings)
    losses = [report.losses for report in run(first, steps=interrupted_after)]
    second = trainer_of(samples, **settings)
    second.load_state(first.state())
    losses += [report.losses for report in run(second)]

    assert losses == expected
    for name, value in whole.evaluated.state_dict().items():
        torch.testing.assert_close(second.evaluated.state_dict()[name], value, rtol=0, atol=0)


def test_stopping_waits_for_the_update(samples: PennFudan) -> None:
    trainer = trainer_of(samples, batch_size=1, accumulate=3)
    assert [report.updated for report in run(trainer, steps=2)] == [False, False, True]


def test_the_last_update_of_an_epoch_takes_what_there_is(samples: PennFudan) -> None:
    trainer = trainer_of(samples, batch_size=1, accumulate=3)
    assert trainer.updates_per_epoch == 2
    assert [report.updated for report in run(trainer)] == [False, False, True, True] * 2


def test_seeds_differ(samples: PennFudan) -> None:
    losses = [run(trainer_of(samples, seed=seed), steps=1)[0].losses for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize(
    ("schedule", "shape"),
    [
        ("onecycle", lambda lr: lr[0] < lr[1] > lr[2] > lr[-1]),
        ("cosine", lambda lr: lr[0] < lr[1] and lr[2] > lr[3] > lr[-1]),
        ("constant", lambda lr: lr[0] < lr[1] == lr[2] == lr[-1]),
    ],
)
def test_learning_rate_over_time(samples: PennFudan, schedule: str, shape: object) -> None:
    trainer = trainer_of(samples, epochs=4, schedule=schedule, warm_up=0.25, lr=1e-3)
    rates = [report.lr for report in run(trainer)]
    assert len(rates) == 8
    assert max(rates) == pytest.approx(1e-3, rel=0.05)
    assert shape(rates)  # type: ignore[operator]
    body, heads = trainer.optimizer.param_groups
    assert body["lr"] == pytest.approx(heads["lr"] * trainer.settings.body_lr_factor)


def test_the_average_lags_behind_and_is_what_is_evaluated(samples: PennFudan) -> None:
    trainer = trainer_of(samples, ema_decay=0.9, lr=1e-2)
    run(trainer)
    name = "roi_heads.box_predictor.cls_score.weight"
    assert trainer.evaluated is trainer.average.module
    assert not torch.equal(
        trainer.evaluated.state_dict()[name], trainer.detector.state_dict()[name]
    )


def test_without_an_average_the_detector_is_evaluated(samples: PennFudan) -> None:
    trainer = trainer_of(samples, ema_decay=0)
    assert trainer.evaluated is trainer.detector


def test_a_loss_that_is_no_number_names_the_picture(samples: PennFudan) -> None:
    trainer = trainer_of(samples, batch_size=4)
    spoilt = trainer.samples.path(2).name
    original = trainer.transform

    class Spoil(nn.Module):
        def forward(self, picture: torch.Tensor, target: dict[str, torch.Tensor]) -> object:
            picture, changed = original(picture, target)
            return picture * (math.nan if target["image_id"] == 2 else 1), changed

    trainer.transform = Spoil()  # type: ignore[assignment]
    with pytest.raises(DataError) as caught:
        run(trainer)
    assert str(caught.value).startswith("The loss became nan (")
    assert f"in epoch 1, step 1, with {spoilt}: check its labels" in str(caught.value)


def test_weights_that_are_no_numbers_name_the_whole_batch(samples: PennFudan) -> None:
    trainer = trainer_of(samples, batch_size=4)
    nn.init.constant_(trainer.detector.roi_heads.box_predictor.cls_score.bias, math.nan)
    with pytest.raises(DataError, match=r"loss_classifier") as caught:
        run(trainer)
    assert all(trainer.samples.path(index).name in str(caught.value) for index in range(4))


def test_bf16_trains(samples: PennFudan) -> None:
    reports = run(trainer_of(samples, precision="bf16"), steps=2)
    exact = run(trainer_of(samples, precision="fp32"), steps=2)
    assert reports[0].losses != exact[0].losses
    assert reports[0].losses["total"] == pytest.approx(exact[0].losses["total"], rel=0.5)


def test_a_picture_without_objects_is_learned_from(tmp_path: Path) -> None:
    samples = small_set(tmp_path, 2)
    cv2.imwrite(str(samples.masks[0]), np.zeros((96, 128), np.uint8))
    reports = run(trainer_of(samples, batch_size=1, epochs=1))
    assert all(math.isfinite(report.losses["total"]) for report in reports)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("updates", [1, 2, 3, 10])
@pytest.mark.parametrize("warm_up", [0.0, 0.1, 0.5, 1.0])
def test_a_run_of_any_length_has_a_learning_rate(
    schedule: str, updates: int, warm_up: float
) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    settings = TrainSettings(schedule=schedule, warm_up=warm_up)  # type: ignore[arg-type]
    learned = make_schedule(optimizer, settings, updates)
    for _ in range(updates):
        assert 0 <= optimizer.param_groups[0]["lr"] <= 1
        optimizer.step()
        learned.step()


def test_an_overflowing_update_is_left_out(samples: PennFudan) -> None:
    trainer = trainer_of(samples)
    trainer._scaler = torch.GradScaler("cpu", init_scale=3e38)
    before = {name: value.clone() for name, value in trainer.detector.state_dict().items()}
    run(trainer, steps=1)
    assert trainer._scaler.get_scale() == pytest.approx(1.5e38)
    for name, value in trainer.detector.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert trainer.schedule.last_epoch == 0
    assert trainer.average.n_averaged == 0


def test_emulated_bf16_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "torch.cuda.is_bf16_supported", lambda including_emulation=True: including_emulation
    )
    assert _autocast_dtype("auto", torch.device("cuda")) is torch.float16


def test_a_batch_too_large_for_the_device_is_one_sentence(
    samples: PennFudan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

    trainer = trainer_of(samples)
    monkeypatch.setattr(trainer, "_losses", fail)
    with pytest.raises(ModelError, match=r"memory of cpu: give a smaller --batch-size.*\.$"):
        run(trainer)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_cannot_be_read_is_one_sentence(tmp_path: Path, workers: int) -> None:
    samples = small_set(tmp_path)
    samples.path(2).write_bytes(b"no picture")
    trainer = trainer_of(samples)
    trainer.workers = workers
    with pytest.raises(DataError) as caught:
        run(trainer)
    assert str(caught.value) == f"{samples.path(2)} cannot be read as a picture."
    del caught, trainer
    gc.collect()  # the reading process's queue has a thread, and the error knew the loader


def test_who_asked_to_stop_before_the_first_step_gets_none(samples: PennFudan) -> None:
    assert run(trainer_of(samples), steps=0) == []
