"""Frames laid out by PyTorch, as a GPU does it: the host's picture, from RGB or from planes."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import media
import numpy as np
import pytest
import torch
from av.video.frame import VideoFrame
from pieces import NumberedSource, OneBoxRuntime
from runtime_cases import CANVAS, GREY, MIN_SCORE, assert_equal, frame, model_of
from torchvision.ops import box_iou

from models.deploy.manifest import Kind
from models.detections import Detections
from models.errors import ModelError
from models.letterbox import Image, Letterbox
from models.planes import BT601, BT709, BT2020, YuvPlanes
from models.runtimes import torch_static
from models.runtimes.base import Canvas
from models.runtimes.gpu_canvas import OnDevice, laid_out
from models.runtimes.gpu_steps import GpuSteps
from models.runtimes.lanes import Lane, lane_on
from models.runtimes.static import fitted
from models.runtimes.torch_static import TorchStatic
from models.zoo import LoadedModel
from stream.serial import SerialPipeline
from stream.sinks.trace import TraceLog
from stream.sources import create_source
from stream.sources.planes import planes_of
from stream.stages import build_stages
from stream.summary import summarize

pytestmark = pytest.mark.usefixtures("one_torch_thread")

PADDING = (114, 110, 100)
MEAN_LEVELS = 1.5  # of 255, promised by gpu_canvas
SPACES = {"709": (1, BT709), "unknown": (2, BT601), "601": (6, BT601), "2020": (9, BT2020)}


def decoded(
    pixel_format: str = "yuv420p", *, space: int = 1, is_full: bool = False, crop: int = 0
) -> VideoFrame:
    """A photograph, with more colour, as a decoder would give it."""
    y, x = np.mgrid[: 480 - crop, : 640 - crop]
    colours = np.stack([x * 255 / 640, y * 255 / 480, 255 - x * 255 / 640], axis=2)
    image = (0.5 * frame()[: 480 - crop, : 640 - crop] + 0.5 * colours).astype(np.uint8)
    picture = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixel_format)
    picture.colorspace, picture.color_range = space, 2 if is_full else 1
    return picture


def on_host(picture: VideoFrame, canvas: tuple[int, int]) -> Image:
    """What swscale and OpenCV make of it."""
    pixels: Image = fitted(picture.to_ndarray(format="rgb24"), canvas, PADDING).pixels
    return pixels


def laid(picture: Image | YuvPlanes, size: tuple[int, int], canvas: tuple[int, int]) -> Image:
    letterbox = Letterbox.inside(size, canvas[::-1])
    found: Image = laid_out(picture, letterbox, canvas, PADDING, Lane("cpu")).pixels.numpy()
    return found


def levels(found: Image, expected: Image) -> np.ndarray:
    assert found.shape == expected.shape
    assert found.dtype == np.uint8
    return np.abs(found.astype(int) - expected)


@pytest.mark.parametrize("canvas", [(192, 256), (480, 640), (800, 1066), (300, 300), (200, 640)])
def test_rgb_is_the_host_s_within_a_level(canvas: tuple[int, int]) -> None:
    found = laid(frame(), (640, 480), canvas)
    assert levels(found, fitted(frame(), canvas, PADDING).pixels).max() <= 1


@pytest.mark.parametrize("is_full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("space", SPACES)
def test_planes_are_swscale_s_colours(is_full: bool, space: str) -> None:
    number, weights = SPACES[space]
    picture = decoded(space=number, is_full=is_full)
    planes = planes_of(picture)
    assert planes is not None
    assert (planes.weights, planes.is_full_range) == (weights, is_full)
    for canvas in ((192, 256), (480, 640)):
        found = laid(planes, planes.size, canvas)
        assert levels(found, on_host(picture, canvas)).mean() < MEAN_LEVELS


@pytest.mark.parametrize("crop", [0, 1])
def test_how_chroma_lies_in_memory_makes_no_difference(crop: int) -> None:
    """(swscale itself rounds nv12 another way, two levels darker.)"""
    picture = decoded(crop=crop)
    apart, together = planes_of(picture), planes_of(picture.reformat(format="nv12"))
    assert apart is not None
    assert together is not None
    assert (len(apart.chroma), len(together.chroma)) == (2, 1)
    found, expected = (laid(planes, planes.size, CANVAS) for planes in (together, apart))
    np.testing.assert_array_equal(found, expected)


def test_another_standard_s_colours_would_be_noticed() -> None:
    """The bound is tight enough to tell standards and ranges apart."""
    picture = decoded(space=1)
    expected = on_host(picture, CANVAS)
    for space, is_full in ((6, False), (1, True)):
        picture.colorspace, picture.color_range = space, 2 if is_full else 1
        planes = planes_of(picture)
        assert planes is not None
        assert levels(laid(planes, planes.size, CANVAS), expected).mean() > MEAN_LEVELS


@pytest.mark.parametrize("crop", [1, 3])
def test_odd_sides(crop: int) -> None:
    """Chroma covers half a pixel more than the picture, which must not shift it."""
    picture = decoded(crop=crop)
    planes = planes_of(picture)
    assert planes is not None
    assert planes.size == (640 - crop, 480 - crop)
    for canvas in (CANVAS, (480 - crop, 640 - crop)):
        found = laid(planes, planes.size, canvas)
        assert levels(found, on_host(picture, canvas)).mean() < MEAN_LEVELS


def test_the_mean_colour_lies_around_it() -> None:
    planes = planes_of(decoded())
    assert planes is not None
    found = laid(planes, planes.size, (300, 300))
    assert (found[225:] == PADDING).all()
    assert not (found[:225] == PADDING).all(axis=2).all(axis=1).any()


def test_planes_outlive_their_picture() -> None:
    picture = decoded()
    planes = planes_of(picture)
    assert planes is not None
    before = planes.luma.copy()
    del picture
    for _ in range(20):
        decoded()
    np.testing.assert_array_equal(planes.luma, before)
    assert not planes.luma.flags.owndata


@pytest.mark.parametrize("pixel_format", ["yuv444p", "yuv420p10le", "yuv422p", "rgb24", "gray"])
def test_other_formats_have_no_planes(pixel_format: str) -> None:
    assert planes_of(decoded(pixel_format)) is None


def test_a_rare_colour_space_has_no_planes() -> None:
    assert planes_of(decoded(space=7)) is None


def test_chroma_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"planes of \(48, 64\) have chroma \(24, 32\), not"):
        YuvPlanes(
            np.zeros((48, 64), np.uint8),
            (np.zeros((24, 31), np.uint8), np.zeros((24, 32), np.uint8)),
            BT601,
            is_full_range=False,
        )


# Frames carry their planes


def test_sources_give_planes_that_show_their_picture(tmp_path: Path) -> None:
    clip = media.constant_rate(tmp_path)
    with create_source(str(clip.path)) as source:
        source.open()
        found = source.read()
    assert found is not None
    assert found.planes is not None
    seen = laid(found.planes, found.size, found.size[::-1])
    assert media.number_in(seen) == media.number_in(found.image) == 0


@pytest.mark.parametrize("make", [media.odd_size_444, lambda folder: media.rotated(folder, 90)])
def test_sources_give_none_of_other_pictures(make: Any, tmp_path: Path) -> None:
    with create_source(str(make(tmp_path).path)) as source:
        source.open()
        found = source.read()
    assert found is not None
    assert found.planes is None


# A GPU's milliseconds on their way to the user


class TimedRuntime(OneBoxRuntime):
    """Says that a GPU took as many milliseconds as the frame's value, or none at all."""

    def __init__(self, *, has_gpu: bool) -> None:
        super().__init__()
        self.has_gpu = has_gpu

    def infer(self, canvas: Canvas) -> Detections:
        if self.has_gpu:
            value = float(canvas.pixels[0, 0, 0])
            self.gpu_ms = {"copy_in": 0.25, "compute": 1 + value, "copy_out": 0.5}
        return super().infer(canvas)


@pytest.mark.parametrize("has_gpu", [True, False])
def test_gpu_times_are_in_trace_and_summary(has_gpu: bool, tmp_path: Path) -> None:
    runtime = TimedRuntime(has_gpu=has_gpu)
    stages = build_stages(runtime, [TraceLog(str(tmp_path / "trace.jsonl"))])
    with SerialPipeline(NumberedSource(5), stages) as pipeline:
        while not pipeline.wait(1):
            continue
        pipeline.finish()
    lines = [json.loads(line) for line in (tmp_path / "trace.jsonl").read_text().splitlines()]
    summary = summarize(pipeline, runtime, "numbers")
    if not has_gpu:
        assert not any("gpu_ms" in each for each in (*lines, summary))
        return
    expected = [{"copy_in": 0.25, "compute": 1.0 + k, "copy_out": 0.5} for k in range(5)]
    assert [line["gpu_ms"] for line in lines] == expected
    assert list(summary["gpu_ms"]) == ["copy_in", "compute", "copy_out"]
    assert summary["gpu_ms"]["compute"]["p50"] == pytest.approx(3, rel=0.02)
    assert "compute" not in summary["latency_ms"]


# A runtime that works as on a GPU, on the CPU


class Clock:
    """A GPU's, of which each record is a millisecond later; ``waited`` counts synchronisations."""

    def __init__(self) -> None:
        self.now_ms = self.waited = 0

    def event(self) -> Tick:
        return Tick(self)


class Tick:
    def __init__(self, clock: Clock) -> None:
        self.clock, self.at_ms = clock, -1

    def record(self) -> None:
        self.clock.now_ms += 1
        self.at_ms = self.clock.now_ms

    def synchronize(self) -> None:
        assert self.at_ms > 0
        self.clock.waited += 1

    def elapsed_time(self, later: Tick) -> float:
        assert self.clock.waited
        return float(later.at_ms - self.at_ms)


def test_steps_add_up_by_name() -> None:
    clock = Clock()
    earlier, steps = GpuSteps(clock.event), GpuSteps(clock.event)
    with earlier.step("copy_in"):
        clock.now_ms += 4
    with steps.step("copy_in"):
        clock.now_ms += 2
    with steps.step("compute"):
        clock.now_ms += 9
    steps.add(earlier)
    steps.wait()
    assert clock.waited == 3
    assert steps.milliseconds() == {"copy_in": 5 + 3, "compute": 10}


def test_a_cpu_has_no_steps() -> None:
    assert lane_on("cpu").new_steps() is None
    with TorchStatic.of_model(model_of("boxes"), CANVAS, threads=1) as runtime:
        runtime.detect(frame())
        assert runtime.gpu_ms is None


class GpuLane(Lane):
    """The CPU's, with a GPU's habits but for streams, pinned memory and CUDA graphs."""

    in_flight = 2
    is_cuda = True
    sizes: list[int]
    clock: Clock

    def new_steps(self) -> GpuSteps:
        return GpuSteps(self.clock.event)

    def copying_in(self, steps: GpuSteps | None) -> AbstractContextManager[None]:
        return steps.step("copy_in") if steps else nullcontext()

    def computing(self, steps: GpuSteps | None) -> AbstractContextManager[None]:
        return steps.step("compute") if steps else nullcontext()

    def copying_out(self, steps: GpuSteps | None) -> AbstractContextManager[None]:
        return steps.step("copy_out") if steps else nullcontext()

    def run(self, graph: Any, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        self.sizes.append(len(pixels))
        return super().run(graph, pixels)


def as_on_a_gpu(
    kind: Kind, loaded: LoadedModel | None = None, **settings: Any
) -> tuple[TorchStatic, GpuLane]:
    """A model opened as a GPU would have it."""
    settings = {"min_score": MIN_SCORE, "threads": 1} | settings
    lane = GpuLane("cpu")
    lane.clock, lane.sizes = Clock(), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_static, "lane_on", lambda _device: lane)
        runtime = TorchStatic.of_model(loaded or model_of(kind), CANVAS, **settings)
    lane.sizes.clear()
    lane.clock.waited = 0
    return runtime, lane


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_model_stays_where_it_is(precision: str) -> None:
    """Or what is opened next, of the same model, would be half on a GPU."""
    loaded = model_of("masks")
    runtime, _ = as_on_a_gpu("masks", loaded, precision=precision)
    with runtime:
        own, moved = (
            {value.data_ptr() for value in module.state_dict().values()}
            for module in (loaded.module, runtime._detector)
        )
    assert not own & moved


def test_a_picture_that_fills_up_a_batch_is_copied_once() -> None:
    runtime, lane = as_on_a_gpu("boxes")
    runtime.manifest = replace(runtime.manifest, batch=4)
    with runtime:
        runtime.infer(runtime.preprocess(frame()))
        assert lane.sizes == [4]
        assert runtime.gpu_ms == {"copy_in": 2.0, "compute": 1.0, "copy_out": 1.0}


@pytest.mark.parametrize("kind", ["boxes", "masks", "keypoints"])
def test_the_whole_graph_finds_what_two_find(kind: Kind) -> None:
    pictures = [frame(0), GREY, frame(50), frame(100), frame(20)]
    canvases = [fitted(picture, CANVAS, PADDING) for picture in pictures]
    with TorchStatic.of_model(model_of(kind), CANVAS, min_score=MIN_SCORE, threads=1) as split:
        assert split.manifest.form == "split"
        expected = split.infer_many(canvases)
    whole, lane = as_on_a_gpu(kind)
    with whole:
        assert whole.manifest.form == "whole"
        found = whole.infer_many(canvases)
        again = whole.infer_many([whole.preprocess(picture) for picture in pictures])
    assert whole.gpu_ms is not None
    assert set(whole.gpu_ms) == {"copy_in", "compute", "copy_out"}
    assert lane.sizes == [4, 1] * 2  # powers of two
    for one, other, laid_by_torch in zip(found, expected, again, strict=True):
        assert_equal(one, other)
        if kind == "keypoints":
            assert one.keypoints is not None
            np.testing.assert_allclose(one.keypoints, other.keypoints, atol=0.5)
        sure = torch.from_numpy(other.select(other.scores > 0.5).boxes)
        overlaps = box_iou(sure, torch.from_numpy(laid_by_torch.boxes))
        assert len(sure) == 0 or overlaps.max(1).values.min() > 0.9
    assert len(found[1]) == 0 < len(found[0])


def test_a_frame_s_planes_are_what_it_looks_at() -> None:
    picture = av.VideoFrame.from_ndarray(frame(), format="rgb24").reformat(format="yuv420p")
    image, planes = picture.to_ndarray(format="rgb24"), planes_of(picture)
    runtime, lane = as_on_a_gpu("masks")
    with runtime:
        from_planes = runtime.preprocess_decoded(np.zeros_like(image), planes)
        from_image = runtime.preprocess_decoded(image, None)
        assert isinstance(from_planes.pixels, OnDevice)
        found, expected = (runtime.infer(canvas) for canvas in (from_planes, from_image))
    assert lane.clock.waited == 2 * 4  # three steps of a batch, and the one of its canvas
    sure = torch.from_numpy(expected.select(expected.scores > 0.5).boxes)
    assert len(sure) > 0
    assert box_iou(sure, torch.from_numpy(found.boxes)).max(1).values.min() > 0.9


def test_a_graph_that_cannot_be_captured_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def uncapturable(*_: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nTraceback")

    monkeypatch.setattr(GpuLane, "run", uncapturable)
    with pytest.raises(ModelError) as raised:
        as_on_a_gpu("boxes")
    assert str(raised.value) == (
        "mask_rcnn_person cannot be run on cpu; use another --runtime. PyTorch says: operation not "
        "permitted when stream is capturing"
    )


def test_a_gpu_that_is_full_is_one_sentence() -> None:
    runtime, lane = as_on_a_gpu("boxes")

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")

    lane.run = full  # type: ignore[assignment, method-assign]
    with runtime, pytest.raises(ModelError, match="does not fit into the memory of cpu: give a"):
        runtime.detect(frame())
