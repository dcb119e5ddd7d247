"""One model for several cameras: turns, batches, failures, ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest
from pieces import CLASS_NAMES, OneBoxRuntime

from models.deploy.manifest import Manifest
from models.detections import Detections, Floats, Labels
from models.letterbox import Image, Letterbox
from models.runtimes.base import Canvas
from models.runtimes.static import Padded, StaticRuntime
from stream.batcher import Batcher, Cancelled
from stream.turns import Turns


def canvas(value: int) -> Canvas:
    return Canvas(np.full((48, 64, 3), value, np.uint8), Letterbox((64, 48), (64, 48)))


def value_of(answer: tuple[Detections, object]) -> int:
    found, _ = answer
    return round(float(found.scores[0]) * 255)


class Recorder(OneBoxRuntime):
    """Keeps the values of every batch; fails over the frames of value 13."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(seconds)
        self.batches: list[list[int]] = []
        self.threads: set[str] = set()

    def infer_many(self, canvases: Sequence[Canvas]) -> list[Detections]:
        values = [int(canvas.pixels[0, 0, 0]) for canvas in canvases]
        self.batches.append(values)
        self.threads.add(threading.current_thread().name)
        if 13 in values:
            raise ValueError("unlucky")
        return super().infer_many(canvases)


@contextmanager
def running(runtime: OneBoxRuntime, cameras: int, **options: object) -> Iterator[Batcher]:
    batcher = Batcher(lambda _: runtime, "boxes", **options)  # type: ignore[arg-type]
    for _ in range(cameras):
        batcher.join_camera()
    batcher.start()
    try:
        yield batcher
    finally:
        batcher.close()
        assert batcher.join(5)


def each_in_a_thread(*work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=one) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)


def test_frames_of_several_cameras_meet_in_one_batch_and_each_gets_its_own_answer() -> None:
    runtime, answers = Recorder(), {}

    def ask(value: int) -> None:
        answers[value] = value_of(batcher.infer(canvas(value)))

    with running(runtime, 3, max_batch=8, batch_wait_ms=1000) as batcher:
        began = time.monotonic()
        each_in_a_thread(*(lambda value=value: ask(value) for value in (50, 100, 150)))
        assert time.monotonic() - began < 0.9  # all cameras are there: nothing to wait for
        assert batcher.statistics().batches == {3: 1}
    assert answers == {50: 50, 100: 100, 150: 150}
    assert runtime.threads == {"batcher boxes"}
    assert runtime.closed


def test_the_wait_for_other_cameras_has_an_end() -> None:
    runtime = Recorder()
    with running(runtime, 2, max_batch=8, batch_wait_ms=200) as batcher:
        began = time.monotonic()
        assert value_of(batcher.infer(canvas(7))) == 7
        assert 0.15 < time.monotonic() - began < 5
    assert runtime.batches == [[7]]


def test_on_a_cpu_frames_go_one_by_one_unless_told_otherwise() -> None:
    runtime = Recorder()
    with running(runtime, 4, batch_wait_ms=0) as batcher:
        each_in_a_thread(*(lambda: batcher.infer(canvas(1)) for _ in range(4)))
        assert batcher.statistics().batches == {1: 4}


def test_turns_are_fair_however_eager_a_camera_is() -> None:
    """Three cameras that always have a frame, one that needs 3 ms for its next."""
    runtime, ended = Recorder(seconds=0.002), threading.Event()
    turns = dict.fromkeys(range(4), 0)

    def camera(number: int) -> None:
        while not ended.is_set():
            batcher.infer(canvas(number))
            turns[number] += 1
            if number == 3:
                time.sleep(0.003)
            if turns[number] == 100:
                ended.set()

    with running(runtime, 4, batch_wait_ms=0) as batcher:
        each_in_a_thread(*(lambda number=number: camera(number) for number in range(4)))
    assert max(turns.values()) == 100
    assert min(turns.values()) > 50


def test_one_camera_s_bad_frame_is_its_own_failure() -> None:
    runtime, answers = Recorder(), {}

    def ask(value: int) -> None:
        try:
            answers[value] = value_of(batcher.infer(canvas(value)))
        except ValueError as error:
            answers[value] = str(error)

    with running(runtime, 3, max_batch=3, batch_wait_ms=5000) as batcher:
        each_in_a_thread(*(lambda value=value: ask(value) for value in (12, 13, 14)))
        assert answers == {12: 12, 13: "unlucky", 14: 14}
        batcher.leave_camera()
        batcher.leave_camera()
        assert value_of(batcher.infer(canvas(15))) == 15  # it goes on


def test_an_end_refuses_what_waits() -> None:
    refused = []

    def ask() -> None:
        try:
            batcher.infer(canvas(1))
        except Cancelled:
            refused.append(True)

    with running(Recorder(seconds=0.3), 5, batch_wait_ms=0) as batcher:
        closer = threading.Timer(0.1, batcher.close)
        closer.start()
        each_in_a_thread(*[ask] * 5)
        closer.join()
        assert len(refused) == 4  # one was in the model's hands
        with pytest.raises(Cancelled):
            batcher.infer(canvas(1))


def test_a_model_that_does_not_open_tells_every_camera() -> None:
    def fail(_is_stopping: Callable[[], bool]) -> OneBoxRuntime:
        raise ValueError("no such file")

    batcher = Batcher(fail, "boxes")
    batcher.start()
    for _ in range(2):
        with pytest.raises(ValueError, match="no such file"):
            batcher.runtime(lambda: False)
    assert batcher.has_failed
    assert batcher.join(5)


def test_nobody_who_stops_waits_for_a_model() -> None:
    release = threading.Event()

    def open_slowly(is_stopping: Callable[[], bool]) -> OneBoxRuntime:
        release.wait(20)
        assert is_stopping()
        return OneBoxRuntime()

    batcher = Batcher(open_slowly, "boxes")
    batcher.start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        batcher.runtime(lambda: time.monotonic() - began > 0.2)
    batcher.close()
    release.set()
    assert batcher.join(5)


def test_two_models_take_turns_by_whose_frame_came_first() -> None:
    """One model has three cameras, the other has one: each camera gets the same."""
    turns, ended = Turns(), threading.Event()
    counts = dict.fromkeys(range(4), 0)
    with (
        running(Recorder(seconds=0.002), 3, batch_wait_ms=0, turns=turns) as busy,
        running(Recorder(seconds=0.002), 1, batch_wait_ms=0, turns=turns) as quiet,
    ):

        def camera(number: int) -> None:
            while not ended.is_set():
                (busy if number < 3 else quiet).infer(canvas(number))
                counts[number] += 1
                if counts[number] == 100:
                    ended.set()

        each_in_a_thread(*(lambda number=number: camera(number) for number in range(4)))
    assert min(counts.values()) > 60, counts


class Exported(StaticRuntime):
    """An export that was made for so many frames at once, and finds nothing."""

    name = "exported"

    def __init__(self, batch: int | None, device: str) -> None:
        manifest = Manifest(
            model="boxes",
            kind="boxes",
            class_names=CLASS_NAMES,
            canvas=(48, 64),
            batch=batch,
            precision="fp32",
            min_score=0.05,
            max_detections=1,
            padding_rgb=(0, 0, 0),
            weights_sha256="",
            versions={},
        )
        super().__init__(manifest, min_score=0.5)
        self.device = device

    def _detect(self, pixels: Image) -> Padded:
        count = len(pixels)
        return Padded(
            np.zeros((count, 1, 4), np.float32),
            np.zeros((count, 1), np.float32),
            np.zeros((count, 1), np.int64),
            np.zeros(count, np.int64),
        )

    def _details(self, under: object, kept: Sequence[int], labels: Labels) -> Floats:
        raise AssertionError("boxes have no details")

    def _release(self) -> None:
        """Nothing is held."""


@pytest.mark.parametrize(
    ("batch", "device", "expected"),
    [(1, "cuda", {1: 4}), (4, "cuda", {4: 1}), (4, "cpu", {4: 1}), (None, "cuda", {4: 1}),
     (None, "cpu", {1: 4})],
)  # fmt: skip
def test_an_export_gets_as_many_frames_as_it_was_made_for(
    batch: int | None, device: str, expected: dict[int, int]
) -> None:
    with running(Exported(batch, device), 4, batch_wait_ms=2000) as batcher:
        each_in_a_thread(*(lambda: batcher.infer(canvas(1)) for _ in range(4)))
        assert batcher.statistics().batches == expected
