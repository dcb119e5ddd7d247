from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from evaluation_pieces import NAMES, Scene, Scenes, Told, detections

from models.detections import Detections
from models.evaluation import timing
from models.evaluation.evaluate import evaluate
from models.evaluation.timing import Latency, synchronizer, timed_detect
from models.letterbox import Image
from models.runtimes.base import Canvas


class Sleeper(Told):
    """Inference takes ten times as long as preprocessing."""

    def preprocess(self, image: Image) -> Canvas:
        time.sleep(0.003)
        return super().preprocess(image)

    def infer(self, canvas: Canvas) -> Detections:
        time.sleep(0.03)
        return super().infer(canvas)


def test_latency_is_numpys_percentile() -> None:
    values = np.random.default_rng(3).gamma(2.0, 10.0, 57).tolist()
    latency = Latency.of(values)
    assert latency.mean_ms == pytest.approx(np.mean(values))
    assert [latency.p50_ms, latency.p95_ms, latency.p99_ms] == pytest.approx(
        np.percentile(values, [50, 95, 99])
    )
    assert latency.fps == pytest.approx(1000 / np.mean(values))


def test_stages_add_up_and_are_told_apart() -> None:
    runtime = Sleeper([detections(())])
    image = np.zeros((12, 16, 3), np.uint8)
    timed = timed_detect(runtime, image)
    spans = timed.milliseconds
    assert spans["infer"] >= 30
    assert spans["preprocess"] >= 3
    assert spans["infer"] > spans["preprocess"] > spans["postprocess"]
    stages = [spans[stage] for stage in ("preprocess", "infer", "postprocess")]
    assert spans["total"] == pytest.approx(sum(stages))
    assert timed.canvas_size == (16, 12)


def test_milliseconds_of_every_picture_without_reading_it() -> None:
    class SlowToRead(Scenes):
        def __getitem__(self, index):  # type: ignore[no-untyped-def]
            time.sleep(0.05)
            return super().__getitem__(index)

    pictures = SlowToRead([Scene()] * 6)
    began = time.perf_counter()
    result = evaluate(Told([Detections.empty(NAMES)] * 6), pictures, warm_up=0)
    elapsed_ms = (time.perf_counter() - began) * 1000
    assert len(result.milliseconds) == 6
    assert sum(result.milliseconds) < elapsed_ms - 6 * 50
    assert result.latency["total"] == Latency.of(result.milliseconds)


def test_warm_up_runs_the_first_pictures_uncounted() -> None:
    runtime, progress = Told([Detections.empty(NAMES)] * 4), []
    result = evaluate(
        runtime,
        Scenes([Scene()] * 4),
        warm_up=2,
        on_picture=lambda done, total: progress.append((done, total)),
    )
    assert runtime.seen == [0, 1, 0, 1, 2, 3]
    assert len(result.milliseconds) == 4
    assert progress == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_more_warm_up_than_pictures() -> None:
    runtime = Told([Detections.empty(NAMES)] * 2)
    assert len(evaluate(runtime, Scenes([Scene()] * 2), warm_up=9).milliseconds) == 2
    assert runtime.seen == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("device", "owner", "arguments"),
    [("cuda:1", torch.cuda, ("cuda:1",)), ("cuda", torch.cuda, ("cuda",)), ("mps", torch.mps, ())],
)
def test_synchronized_on_both_sides_of_each_step(
    monkeypatch: pytest.MonkeyPatch, device: str, owner: object, arguments: tuple[str, ...]
) -> None:
    happened: list[object] = []

    class Recorder(Told):
        def preprocess(self, image: Image) -> Canvas:
            happened.append("preprocess")
            return super().preprocess(image)

        def infer(self, canvas: Canvas) -> Detections:
            happened.append("infer")
            return super().infer(canvas)

        def postprocess(self, found: Detections, canvas: Canvas) -> Detections:
            happened.append("postprocess")
            return super().postprocess(found, canvas)

    monkeypatch.setattr(owner, "synchronize", lambda *given: happened.append(given))

    def clock() -> float:
        happened.append("clock")
        return 0.0

    monkeypatch.setattr(timing.time, "perf_counter", clock)
    runtime = Recorder([Detections.empty(NAMES)])
    runtime.device = device
    timed_detect(runtime, np.zeros((12, 16, 3), np.uint8))
    read = [arguments, "clock"]
    assert happened == [*read, "preprocess", *read, "infer", *read, "postprocess", *read]


def test_nothing_to_wait_for_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *given: pytest.fail("called"))
    synchronizer("cpu")()
