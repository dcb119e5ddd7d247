from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader
from training_case import small_set

from models.data.augment import augmentation
from models.training.draws import Draw, DrawnBatches, DrawnSamples, collate, seed_of
from models.training.loop import one_quiet_thread


def indices(batches: DrawnBatches) -> list[list[int]]:
    return [[draw.number for draw in batch] for batch in batches]


def test_each_epoch_has_every_picture_once_in_an_order_of_its_own() -> None:
    batches, orders = DrawnBatches(10, 4, seed=3), []
    for epoch in range(3):
        batches.start_at(epoch)
        drawn = indices(batches)
        assert [len(batch) for batch in drawn] == [4, 4, 2]
        assert {draw.epoch for batch in batches for draw in batch} == {epoch}
        orders.append([number for batch in drawn for number in batch])
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3


def test_the_order_depends_on_the_seed_alone() -> None:
    assert indices(DrawnBatches(50, 5, seed=1)) == indices(DrawnBatches(50, 5, seed=1))
    assert indices(DrawnBatches(50, 5, seed=1)) != indices(DrawnBatches(50, 5, seed=2))


def test_starting_within_an_epoch_gives_the_rest_of_it() -> None:
    batches = DrawnBatches(10, 2, seed=0)
    batches.start_at(4)
    whole = indices(batches)
    batches.start_at(4, 3)
    assert indices(batches) == whole[3:]
    assert len(batches) == 5


@pytest.mark.parametrize("count", [8, 9, 11])
def test_processes_share_an_epoch(count: int) -> None:
    parts = [indices(DrawnBatches(count, 2, seed=0, rank=rank, processes=2)) for rank in range(2)]
    assert len({len(part) for part in parts}) == 1
    drawn = sorted(index for part in parts for batch in part for index in batch)
    assert set(drawn) == set(range(count))
    assert len(drawn) == count + count % 2


@pytest.mark.parametrize("count", [1, 2, 3])
def test_fewer_pictures_than_processes(count: int) -> None:
    parts = [indices(DrawnBatches(count, 2, seed=0, rank=rank, processes=5)) for rank in range(5)]
    assert [len(part) for part in parts] == [1] * 5
    assert all(len(batch) == 1 for part in parts for batch in part)
    assert {part[0][0] for part in parts} == set(range(count))


def test_reading_processes_change_nothing(tmp_path: Path) -> None:
    samples = DrawnSamples(small_set(tmp_path), augmentation("standard"), seed=5)
    read = []
    for workers in (0, 1):
        loader = DataLoader(
            samples,
            batch_sampler=DrawnBatches(4, 3, seed=5),
            collate_fn=collate,
            num_workers=workers,
            worker_init_fn=one_quiet_thread,
        )
        read.append(list(loader))
    for (images, targets), (others, other_targets) in zip(*read, strict=True):
        for image, other in zip(images, others, strict=True):
            torch.testing.assert_close(image, other, rtol=0, atol=0)
        for target, other_target in zip(targets, other_targets, strict=True):
            assert target.keys() == other_target.keys()
            assert all(torch.equal(target[name], other_target[name]) for name in target)


def test_a_picture_changes_from_epoch_to_epoch(tmp_path: Path) -> None:
    samples = DrawnSamples(small_set(tmp_path), augmentation("standard"), seed=5)
    first, again, later = (samples[Draw(epoch, 0)][0] for epoch in (0, 0, 1))
    assert torch.equal(first, again)
    assert first.shape != later.shape or not torch.equal(first, later)


def test_reading_leaves_the_caller_its_randomness(tmp_path: Path) -> None:
    samples = DrawnSamples(small_set(tmp_path), augmentation("standard"), seed=5)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    samples[Draw(0, 0)]
    assert torch.equal(torch.rand(3), expected)


def test_the_sample_says_which_picture_it_is(tmp_path: Path) -> None:
    samples = DrawnSamples(small_set(tmp_path), augmentation("none"), seed=0)
    assert [int(samples[Draw(0, index)][1]["image_id"]) for index in range(4)] == [0, 1, 2, 3]


def test_close_numbers_give_unrelated_seeds() -> None:
    seeds = {seed_of(a, b) for a in range(20) for b in range(20)}
    assert len(seeds) == 400
    assert seed_of(1, 23) != seed_of(12, 3)
    assert max(seeds) < 2**63  # torch.manual_seed takes no more


def test_readers_leave_signals_to_the_trainer() -> None:
    numbers, threads = (signal.SIGINT, signal.SIGTERM), torch.get_num_threads()
    before = [signal.getsignal(number) for number in numbers]
    try:
        one_quiet_thread(0)
        assert [signal.getsignal(number) for number in numbers] == [signal.SIG_IGN] * 2
        assert torch.get_num_threads() == 1
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        torch.set_num_threads(threads)
