"""What every source promises, checked on every kind of source."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import media
import numpy as np
import pytest
from source_cases import CASES, SECRET, Case, read_all

from stream.errors import SourceError
from stream.sources import FrameSource


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    with CASES[request.param](tmp_path) as case:
        yield case


@pytest.fixture
def source(case: Case) -> Iterator[FrameSource]:
    with case.create() as source:
        yield source


def open_handles() -> tuple[set[str], int]:
    """What this process has open, and its number of threads, those of libraries included."""
    gc.collect()
    files = set()
    for descriptor in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            files.add(f"{descriptor.name}: {descriptor.readlink()}")
    return files, len(list(Path("/proc/self/task").iterdir()))


def test_info_is_true(case: Case, source: FrameSource) -> None:
    info = source.open()
    first = source.read()
    assert first is not None
    assert (info.width, info.height) == case.size == first.size
    assert info.is_live == case.is_live
    assert info.frame_count == case.frame_count
    assert info.time_base == first.time_base
    assert case.time_base in (None, info.time_base)
    assert info.frame_rate is None or info.frame_rate > 0
    assert info.name == first.source_id
    assert SECRET not in repr(info)


def test_every_frame_keeps_the_contract(case: Case, source: FrameSource) -> None:
    info = source.open()
    pts, captured_at, numbers = [], [], []
    for index, frame in enumerate(read_all(source, is_endless=case.is_endless)):
        assert frame.index == index
        assert frame.image.dtype == np.uint8
        assert frame.image.shape[2:] == (3,)
        assert frame.image.flags.c_contiguous
        assert frame.time_base == info.time_base
        assert time.monotonic() - 60 < frame.captured_at <= time.monotonic()
        pts.append(frame.pts)
        captured_at.append(frame.captured_at)
        if case.numbers is not None:
            numbers.append(media.number_in(frame.image))
    assert len(pts) >= 1
    assert pts == sorted(set(pts))
    assert case.pts in (None, tuple(pts))
    assert case.numbers in (None, tuple(numbers))
    if case.is_live:
        assert captured_at == sorted(captured_at)


def test_a_kept_frame_is_not_overwritten(case: Case, source: FrameSource) -> None:
    source.open()
    first = source.read()
    assert first is not None
    before = first.image.copy()
    for _ in range(4):
        source.read()
    assert np.array_equal(first.image, before)


def test_the_end_stays_the_end(case: Case, source: FrameSource) -> None:
    source.open()
    if case.is_endless:
        source.interrupt()
    for _ in read_all(source):
        continue
    assert [source.read() for _ in range(3)] == [None] * 3


def test_close_is_legal_in_every_state(case: Case) -> None:
    source = case.create()
    source.close()
    with pytest.raises(SourceError, match="not open"):
        source.read()
    source.open()
    source.read()
    source.close()
    source.close()
    with pytest.raises(SourceError, match="not open"):
        source.read()


def test_a_source_can_be_opened_again(case: Case, source: FrameSource) -> None:
    firsts = []
    for _ in range(2):
        source.open()
        firsts.append(source.read())
        source.close()
    with case.create() as another:
        another.open()
        firsts.append(another.read())
    assert [frame.index for frame in firsts if frame] == [0, 0, 0]
    if not case.is_live:
        assert all(np.array_equal(frame.image, firsts[0].image) for frame in firsts if firsts[0])


def test_interrupt_from_another_thread_ends_the_reading(case: Case, source: FrameSource) -> None:
    source.open()
    timer = threading.Timer(0.05, source.interrupt)
    timer.start()
    began_at = time.monotonic()
    while source.read() is not None:
        assert time.monotonic() - began_at < 5
    timer.join()
    assert source.read() is None


def test_nothing_is_left_open(case: Case) -> None:
    with case.create() as source:  # once, so that libraries start their own threads
        source.open()
    before = open_handles()
    with case.create() as source:
        source.open()
        source.read()
    deadline = time.monotonic() + 2  # a server's thread may still be saying goodbye
    while open_handles() != before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert open_handles() == before
