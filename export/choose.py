"""Which runtime an R-CNN gets on a device: the one asked for, or the fastest that opens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from export.cache import cached_engine, cached_export
from models.errors import RcnnLiveError, UsageError
from models.runtimes.base import Runtime
from models.runtimes.exported import open_exported
from models.runtimes.torch_eager import TorchEager, pick_device
from models.runtimes.torch_static import TorchStatic
from models.zoo import LoadedModel

EAGER = "torch-eager"
# Which runtimes compute where, the fastest first
ON_DEVICE = {
    "cpu": ("openvino", "onnxruntime", "torch-compiled", "torch"),
    "cuda": ("tensorrt", "onnxruntime-tensorrt", "onnxruntime", "torch-compiled", "torch"),
    "mps": (),
}
# Which of them ``auto`` tries: those that fail on a CPU fail for a reason that the others share
TRIED = {"cpu": ("openvino",), "cuda": ON_DEVICE["cuda"], "mps": ()}
_PACKAGES = {
    "openvino": "openvino",
    "onnxruntime": "onnxruntime",
    "onnxruntime-tensorrt": "onnxruntime-gpu",
    "tensorrt": "tensorrt",
}
PROVIDERS = {"onnxruntime": "cuda", "onnxruntime-tensorrt": "tensorrt"}  # of runtimes on GPUs

EXPORT_SCORE = 0.05  # the least score of a usual export, which --min-score can be raised from

Notice = Callable[[str], None]


@dataclass(slots=True, kw_only=True)
class Wish:
    """What is to be opened.

    Attributes:
        loaded: an R-CNN.
        weights: the file it was read from, if it was.
        canvas: (height, width) px.
        canvas_side: px of the canvas's shorter side, None for the model's own.
        min_score: objects below are dropped before their masks are computed.
        precision: of the arithmetic, or ``auto``, which is fp16 on CUDA.
        device: where to compute, no longer ``auto``.
        threads: how many of the CPU's to compute on; 0 for all cores.
        notice: told in a sentence what takes long, what failed, and what was chosen.
    """

    loaded: LoadedModel
    weights: Path | None
    canvas: tuple[int, int]
    canvas_side: int | None
    min_score: float
    precision: str
    device: str
    threads: int
    notice: Notice
    _whole: Path | RcnnLiveError | None = field(default=None, init=False, repr=False)

    def whole_graph(self) -> Path:
        """The ONNX file that all runtimes on GPUs start from; what fails once fails for all.

        Raises:
            RcnnLiveError: if it cannot be made.
        """
        if self._whole is None:
            try:
                self._whole = cached_export(
                    self.loaded,
                    self.weights,
                    canvas=self.canvas,
                    min_score=self.export_score,
                    notice=self.notice,
                    to="onnx",
                    precision="fp16" if self.precision == "auto" else self.precision,
                    form="whole",
                )
            except RcnnLiveError as error:
                self._whole = error
        if isinstance(self._whole, RcnnLiveError):
            raise self._whole
        return self._whole

    @property
    def export_score(self) -> float:
        """Objects below are left out of exports for good."""
        return min(self.min_score, EXPORT_SCORE)


def device_for(runtime: str, device: str) -> str:
    """Where a runtime is to compute: ``auto`` is the fastest device that it has here.

    Args:
        runtime: name of one, or ``auto``.
        device: one of ``torch_eager.DEVICES``, or a GPU by its number.

    Raises:
        UsageError: if the device is not here, or the runtime does not compute there.
    """
    if device == "auto" and runtime in ON_DEVICE["cpu"] and runtime not in ON_DEVICE["cuda"]:
        return "cpu"
    found = pick_device(device)
    if device == "auto" and found == "mps" and runtime in ON_DEVICE["cpu"]:
        return "cpu"
    usable = (*ON_DEVICE[_kind(found)], EAGER, "auto")
    if runtime not in usable:
        if device == "auto":
            raise UsageError(
                f"{runtime} computes on NVIDIA's GPUs, and PyTorch finds none here: use --runtime "
                f"{' or '.join(usable)}."
            )
        raise UsageError(
            f"{runtime} does not compute on {found}: use --runtime {' or '.join(usable)}, or "
            "another --device."
        )
    return found


def open_chosen(wish: Wish, runtime: str) -> Runtime:
    """The runtime that was asked for; of ``auto``, the first that opens, or else PyTorch eager.

    Args:
        wish: what to open.
        runtime: name of one on that device, or ``auto``.

    Raises:
        RcnnLiveError: if the one that was asked for cannot be opened, or none in that precision.
    """
    if runtime != "auto":
        return _open(runtime, wish)
    name = wish.loaded.name
    for number, candidate in enumerate(TRIED[_kind(wish.device)]):
        try:
            opened = _open(candidate, wish)
        except RcnnLiveError as error:
            wish.notice(f"{candidate} cannot be used: {error}")
            continue
        why = "the fastest" if number == 0 else "the fastest that can be opened"
        cores = "1 thread" if opened.threads == 1 else f"{opened.threads} threads"
        on = f"cpu, {cores}" if opened.device == "cpu" else opened.device
        wish.notice(f"{name} runs in {candidate} {opened.precision} on {on}: {why} here.")
        return opened
    if wish.precision not in ("auto", "fp32"):  # which is what eager has
        raise UsageError(
            f"No runtime that can be opened here computes {name} in {wish.precision}: leave out "
            f"--precision {wish.precision}."
        )
    wish.notice(f"{name} runs in PyTorch eager, which is slower.")
    return TorchEager(
        wish.loaded,
        min_score=wish.min_score,
        device=wish.device,
        canvas_side=wish.canvas_side,
        threads=wish.threads,
    )


def _open(name: str, wish: Wish) -> Runtime:
    try:
        if name in ("torch", "torch-compiled"):
            return _open_torch(wish, compiled=name == "torch-compiled")
        if _kind(wish.device) == "cpu":
            return _open_on_cpu(name, wish)
        return _open_tensorrt(wish) if name == "tensorrt" else _open_provider(name, wish)
    except ImportError as error:
        raise UsageError(
            f"{name} is not installed here ({error}): 'pip install {_PACKAGES[name]}', or use "
            "another --runtime."
        ) from error


def _open_on_cpu(name: str, wish: Wish) -> Runtime:
    path = cached_export(
        wish.loaded,
        wish.weights,
        canvas=wish.canvas,
        min_score=wish.export_score,
        notice=wish.notice,
        to="onnx" if name == "onnxruntime" else "openvino",
    )
    return open_exported(
        path,
        runtime=name,
        min_score=wish.min_score,
        precision=wish.precision,
        threads=wish.threads,
    )


def _open_torch(wish: Wish, *, compiled: bool) -> Runtime:
    return TorchStatic.of_model(
        wish.loaded,
        wish.canvas,
        min_score=wish.min_score,
        precision=wish.precision,
        device=wish.device,
        threads=wish.threads,
        compiled=compiled,
    )


# Packages and providers are asked for before the graph is made, which takes a minute.


def _open_tensorrt(wish: Wish) -> Runtime:
    from models.runtimes.tensorrt import TensorRt

    engine = cached_engine(wish.whole_graph(), wish.loaded, device=wish.device, notice=wish.notice)
    return TensorRt(engine, min_score=wish.min_score, device=wish.device)


def _open_provider(name: str, wish: Wish) -> Runtime:
    from models.runtimes.onnxruntime import OnnxRuntime
    from models.runtimes.onnxruntime_gpu import check_device

    provider = PROVIDERS[name]
    check_device(provider)
    return OnnxRuntime(
        wish.whole_graph(),
        min_score=wish.min_score,
        threads=wish.threads,
        device=wish.device.replace("cuda", provider),
    )


def _kind(device: str) -> str:
    return device.partition(":")[0]
