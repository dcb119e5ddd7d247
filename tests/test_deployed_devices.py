"""Which runtime a model gets on which device, and what is said when one cannot be opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from runtime_cases import CANVAS, assert_equal, frame, model_of

from export import choose, deployed
from export.choose import ON_DEVICE, TRIED, Wish, device_for, open_chosen
from export.deployed import Deployed, open_runtime
from models.errors import ModelError, RcnnLiveError, UsageError
from models.options import RUNTIMES
from models.runtimes.base import Runtime
from models.runtimes.torch_eager import TorchEager
from models.runtimes.torch_static import TorchStatic

pytestmark = pytest.mark.usefixtures("one_torch_thread")

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


def wish_for(device: str, notes: list[str], **changes: Any) -> Wish:
    wanted: dict[str, Any] = {
        "loaded": model_of("masks"),
        "weights": None,
        "canvas": CANVAS,
        "canvas_side": None,
        "min_score": 0.3,
        "precision": "auto",
        "device": device,
        "threads": 1,
        "notice": notes.append,
    }
    return Wish(**wanted | changes)


@pytest.fixture
def with_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch says that there is a GPU, which is all that a choice of device asks."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


# Where


def test_every_runtime_has_a_device_and_a_name_on_the_command_line() -> None:
    named = {name for names in ON_DEVICE.values() for name in names}
    assert named | {"auto", "torch-eager"} == set(RUNTIMES)


@without_gpu
@pytest.mark.parametrize("runtime", ["auto", "openvino", "onnxruntime", "torch", "torch-eager"])
def test_without_a_gpu_the_cpu_computes(runtime: str) -> None:
    assert device_for(runtime, "auto") == "cpu"


@without_gpu
@pytest.mark.parametrize("runtime", ["tensorrt", "onnxruntime-tensorrt"])
def test_without_a_gpu_some_runtimes_are_refused(runtime: str) -> None:
    expected = f"{runtime} computes on NVIDIA's GPUs, and PyTorch finds none here: use --runtime op"
    with pytest.raises(UsageError, match=expected):
        open_runtime("mask_rcnn_person", runtime=runtime)


@without_gpu
@pytest.mark.parametrize("runtime", ["auto", "tensorrt", "torch"])
def test_a_gpu_that_is_not_there(runtime: str) -> None:
    with pytest.raises(UsageError, match="There is no cuda device here: use --device cpu"):
        open_runtime("mask_rcnn_person", runtime=runtime, device="cuda")


@pytest.mark.usefixtures("with_cuda")
@pytest.mark.parametrize(
    ("runtime", "device", "place"),
    [
        ("auto", "auto", "cuda"),
        ("tensorrt", "auto", "cuda"),
        ("onnxruntime", "auto", "cuda"),
        ("onnxruntime", "cpu", "cpu"),
        ("openvino", "auto", "cpu"),
        ("torch-eager", "auto", "cuda"),
    ],
)
def test_with_a_gpu_it_computes_where_it_can(runtime: str, device: str, place: str) -> None:
    assert device_for(runtime, device) == place


@pytest.mark.usefixtures("with_cuda")
@pytest.mark.parametrize(("runtime", "device"), [("openvino", "cuda"), ("tensorrt", "cpu")])
def test_a_runtime_on_a_device_that_is_not_its_own(runtime: str, device: str) -> None:
    with pytest.raises(UsageError, match=f"{runtime} does not compute on {device}: use --runtime"):
        device_for(runtime, device)


# Which


@without_gpu
def test_each_failure_is_told_in_the_order_of_speed() -> None:
    """As it is on a machine whose GPU went away: every sentence is the runtime's own."""
    notes: list[str] = []
    with pytest.raises(UsageError, match="There is no cuda device here"):
        open_chosen(wish_for("cuda", notes), "auto")
    *others, last = notes  # among them that the model is prepared, if it is the first time
    failures = [note for note in others if " cannot be used: " in note]
    assert [note.partition(" ")[0] for note in failures] == list(TRIED["cuda"])
    assert "'pip install tensorrt'" in failures[0]
    assert "This ONNX Runtime has no TensorrtExecutionProvider: install" in failures[1]
    assert "This ONNX Runtime has no CUDAExecutionProvider: install" in failures[2]
    assert "There is no cuda device here" in failures[4]
    assert last == "mask_rcnn_person runs in PyTorch eager, which is slower."


@without_gpu
@pytest.mark.parametrize("runtime", TRIED["cuda"])
def test_what_was_asked_for_is_not_replaced(runtime: str) -> None:
    notes: list[str] = []
    with pytest.raises(UsageError):
        open_chosen(wish_for("cuda", notes), runtime)
    assert notes == []


def test_the_first_that_opens_is_taken_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    failing = open_failing("openvino")
    monkeypatch.setattr(choose, "_open", failing)
    monkeypatch.setitem(TRIED, "cpu", ("openvino", "torch"))
    notes: list[str] = []
    with open_chosen(wish_for("cpu", notes), "auto") as runtime:
        assert runtime.name == "torch"
        assert len(runtime.detect(frame())) > 0
    assert notes == [
        "openvino cannot be used: It is broken.",
        "mask_rcnn_person runs in torch fp32 on cpu, 1 thread: the fastest that can be opened "
        "here.",
    ]


def open_failing(broken: str) -> Any:
    opening = choose._open

    def open_it(name: str, wish: Wish) -> Runtime:
        if name == broken:
            raise ModelError("It is broken.")
        return opening(name, wish)

    return open_it


def test_eager_is_what_remains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "_open", open_failing("openvino"))
    notes: list[str] = []
    with open_chosen(wish_for("cpu", notes), "auto") as runtime:
        assert (runtime.name, runtime.device) == ("torch-eager", "cpu")
    assert notes[1] == "mask_rcnn_person runs in PyTorch eager, which is slower."


def test_eager_does_not_stand_in_for_another_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "_open", open_failing("openvino"))
    notes: list[str] = []
    with pytest.raises(UsageError, match=r"computes mask_rcnn_person in bf16: leave out --precis"):
        open_chosen(wish_for("cpu", notes, precision="bf16"), "auto")
    assert notes == ["openvino cannot be used: It is broken."]


def test_eager_computes_on_as_many_threads_as_asked() -> None:
    seen: list[int] = []
    before = torch.get_num_threads()
    with open_runtime("mask_rcnn_person", runtime="torch-eager", device="cpu", threads=2) as eager:
        assert isinstance(eager, TorchEager)
        eager._model.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
        eager.detect(frame())
        assert eager.threads == 2
    assert seen == [2]
    assert torch.get_num_threads() == before


def test_closed_before_the_first_frame() -> None:
    runtime = Deployed(model_of("boxes"))
    canvas = runtime.preprocess(frame())
    runtime.close()
    runtime.close()
    with pytest.raises(RuntimeError, match="The auto runtime of mask_rcnn_person is closed"):
        runtime.infer(canvas)


def test_a_graph_that_cannot_be_made_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def cached_export(*_: Any, **settings: Any) -> Path:
        asked.append(settings)
        raise ModelError("It cannot be exported.")

    monkeypatch.setattr(choose, "cached_export", cached_export)
    wish = wish_for("cuda", [])
    for _ in range(2):
        with pytest.raises(RcnnLiveError, match="It cannot be exported"):
            wish.whole_graph()
    (settings,) = asked
    assert (settings["precision"], settings["form"], settings["to"]) == ("fp16", "whole", "onnx")
    assert settings["min_score"] == choose.EXPORT_SCORE


# Frames


def test_on_a_gpu_the_runtime_itself_prepares_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPU's runtime is one of the CPU's here: only who prepares frames is looked at."""
    prepared = []

    class Gpu(TorchStatic):
        def preprocess_decoded(self, image: Any, planes: Any) -> Any:
            prepared.append(planes)
            self.gpu_ms = {"compute": 1.5}
            return super().preprocess_decoded(image, planes)

    def open_gpu(wish: Wish, runtime: str) -> Runtime:
        assert (wish.device, wish.canvas, runtime) == ("cuda", CANVAS, "auto")
        return Gpu.of_model(wish.loaded, wish.canvas, min_score=wish.min_score, threads=1)

    monkeypatch.setattr(deployed, "open_chosen", open_gpu)
    loaded = model_of("masks")
    with Deployed(loaded, device="cuda", min_score=0.3) as runtime:
        found = runtime.detect(frame())
        assert runtime.gpu_ms == {"compute": 1.5}
    assert prepared == [None]
    with TorchStatic.of_model(model_of("masks"), CANVAS, min_score=0.3, threads=1) as same:
        assert_equal(found, same.detect(frame()))
    assert np.isfinite(found.boxes).all()


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", TRIED["cuda"])
def test_a_gpu_runtime_finds_what_eager_finds(name: str) -> None:
    notes: list[str] = []
    try:
        opened = open_chosen(wish_for("cuda", notes, min_score=0.5), name)
    except UsageError as error:
        pytest.skip(str(error))
    with opened, TorchEager(model_of("masks"), min_score=0.5, device="cuda") as eager:
        found, expected = opened.detect(frame()), eager.detect(frame())
    assert opened.precision == "fp16"
    assert len(found) == len(expected) > 0
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=4)
