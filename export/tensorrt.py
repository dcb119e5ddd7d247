"""TensorRT engines: a whole graph, compiled for the GPU that is here."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import onnx
import tensorrt as trt
from rich.console import Console

from export.build import export_model
from export.files import publish, side_file, staging, write
from export.tensorrt_progress import BuildProgress, run_interruptibly
from export.tensorrt_support import check_tensorrt
from export.tensorrt_timings import Timings
from models.deploy.manifest import METADATA, PIXELS, EngineFacts, Manifest
from models.errors import ModelError
from models.letterbox import Image
from models.runtimes.gpu import Gpu, find_gpu
from models.runtimes.tensorrt_package import VERSION, Log, load_plugins
from models.zoo import LoadedModel

SUFFIX = ".engine"
LEVEL = 3  # of optimisation while building; TensorRT's own default
_MB = 1_000_000
_OUT_OF_MEMORY = re.compile(
    r"out ?of ?memory|insufficient (memory|workspace)|memory allocat|could not be allocated", re.I
)
_TOO_LITTLE = re.compile(r"Exceeded mem budget of \d+\. Need (\d+)")  # of workspace, in bytes

Batch = tuple[int, int, int]  # fewest pictures at a time, how many to be fastest for, most


def export_engine(
    loaded: LoadedModel,
    weights: Path | None,
    *,
    canvas: tuple[int, int],
    output: Path,
    batch: Batch = (1, 1, 1),
    precision: str = "fp16",
    min_score: float = 0.05,
    calibrate: Sequence[Image] = (),
    device: str = "auto",
    workspace_mb: int | None = None,
    level: int = LEVEL,
    console: Console | None = None,
) -> Path:
    """From a model with weights to an engine with its manifest beside it. It is not proven yet.

    Args:
        loaded: an R-CNN.
        weights: the file its weights are from, None for the zoo's own.
        canvas: (height, width) px.
        output: folder for the files.
        batch: see ``Batch``.
        precision: ``fp32``, ``fp16``, ``bf16`` or ``int8``.
        min_score: objects below are left out of the graph for good.
        calibrate: pictures (h,w,3) uint8 RGB to measure activations on, for int8.
        device: the GPU: ``auto``, ``cuda``, or one by its number.
        workspace_mb: see ``build_engine``.
        level: see ``build_engine``.
        console: see ``build_engine``.

    Raises:
        UsageError: if there is no such GPU, or int8 lacks pictures.
        ModelError: if the model is no R-CNN, or TensorRT cannot build it.
    """
    find_gpu(device, "TensorRT")  # before a minute is spent on the graph
    with staging(output) as folder:
        graph = export_model(
            loaded,
            weights,
            canvas=canvas,
            output=folder,
            to="onnx",
            batch=batch[0] if batch[0] == batch[2] else None,
            precision=precision,
            min_score=min_score,
            calibrate=calibrate,
            form="whole",
        )
        return build_engine(
            graph,
            output,
            batch=batch,
            device=device,
            workspace_mb=workspace_mb,
            level=level,
            console=console,
        )


def build_engine(
    graph: Path,
    output: Path,
    *,
    batch: Batch,
    device: str = "auto",
    workspace_mb: int | None = None,
    level: int = LEVEL,
    console: Console | None = None,
) -> Path:
    """Compile an .onnx file of the whole form, which takes minutes. Ctrl-C ends it.

    Args:
        graph: the file; its types are the engine's: nothing is rounded that the file does not.
        output: folder for the engine and its manifest, which appear whole or not at all.
        batch: see ``Batch``; of a graph of a fixed batch, three times that.
        device: the GPU: ``auto``, ``cuda``, or one by its number.
        workspace_mb: most memory of the GPU that a layer may use beside its results; None for half
            of what is free, or what is needed if that is more. If it is too much, a quarter of it
            is tried.
        level: 0 to 5: the higher, the longer TensorRT searches for faster kernels.
        console: where to draw a bar; None for none.

    Raises:
        UsageError: if there is no such GPU.
        ModelError: if TensorRT does not take the graph, or cannot build it.
        KeyboardInterrupt: after Ctrl-C, once TensorRT has stopped.
    """
    gpu = find_gpu(device, "TensorRT")
    model = onnx.load(graph)
    manifest = _manifest_in(model, graph)
    check_tensorrt(model)
    build = _Build(gpu, manifest, batch, level, console)
    engine = build.run(graph.read_bytes(), workspace_mb and workspace_mb * _MB)
    facts = EngineFacts(
        gpu=gpu.name,
        capability=gpu.capability,
        tensorrt=VERSION,
        batch=batch,
        size_bytes=len(engine),
        sha256=hashlib.sha256(engine).hexdigest(),
    )
    name = f"{graph.stem}-batch{'-'.join(map(str, sorted(set(batch))))}{SUFFIX}"
    with staging(output) as folder:
        write(folder / name, engine)
        write(side_file(folder / name), replace(manifest, engine=facts).to_json().encode())
        return publish(folder / name, output)


def _manifest_in(model: onnx.ModelProto, path: Path) -> Manifest:
    text = next((note.value for note in model.metadata_props if note.key == METADATA), "")
    manifest = Manifest.from_json(text, str(path))
    if manifest.form != "whole":
        raise ModelError(f"{path} is two graphs in one file; TensorRT takes one of the whole form.")
    return manifest


class _OutOfMemory(Exception):
    """The GPU's memory, or the part of it that was allowed, is too small."""


class _BuildLog(Log):
    """Also keeps how much memory TensorRT says it lacks, which is no error to it.

    Attributes:
        needed: bytes of workspace without which there is no engine; 0 if that was not said.
    """

    def __init__(self) -> None:
        super().__init__()
        self.needed = 0

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        super().log(severity, msg)
        if found := _TOO_LITTLE.search(msg):
            self.needed = max(self.needed, int(found[1]))


class _Build:
    """One engine's way through TensorRT."""

    def __init__(
        self, gpu: Gpu, manifest: Manifest, batch: Batch, level: int, console: Console | None
    ) -> None:
        self.gpu, self.manifest, self.batch, self.level = gpu, manifest, batch, level
        self.console = console
        self.log = _BuildLog()

    def run(self, graph: bytes, allowed: int | None) -> bytes:
        """The engine; with another workspace if TensorRT cannot do with the first.

        Args:
            graph: an .onnx file.
            allowed: bytes of workspace that the user gave.
        """
        first = allowed or self.gpu.free_bytes() // 2
        try:
            return self._watched(graph, first)
        except _OutOfMemory:
            second = self._other_workspace(first, allowed)
        try:
            return self._watched(graph, second)
        except _OutOfMemory:
            raise ModelError(
                f"The memory of {self.gpu.name} is too small to build {self.manifest.model} with "
                f"workspaces of {first // _MB} and {second // _MB} MB: end what else uses it, or "
                "give a smaller --workspace, --batch or --canvas."
            ) from None

    def _other_workspace(self, first: int, allowed: int | None) -> int:
        """What to try next: more if it was too small for the graph, else less, for the rest."""
        needed, free = self.log.needed, self.gpu.free_bytes()
        if needed <= first:
            return first // 4
        rounded_mb = -(-needed // _MB)
        if allowed:
            raise ModelError(
                f"{self.manifest.model} needs a workspace of {rounded_mb} MB and may use "
                f"{allowed // _MB}: give --workspace {rounded_mb}, or a smaller --batch or "
                "--canvas."
            )
        if needed > free:
            raise ModelError(
                f"{self.manifest.model} needs a workspace of {rounded_mb} MB, and {free // _MB} MB "
                f"of {self.gpu.name} are free: end what else uses it, or give a smaller --batch or "
                "--canvas."
            )
        return needed

    def _watched(self, graph: bytes, workspace: int) -> bytes:
        with BuildProgress(self.console, self.manifest.model) as progress:
            return run_interruptibly(partial(self._attempt, graph, workspace, progress), progress)

    def _attempt(self, graph: bytes, workspace: int, progress: BuildProgress) -> bytes:
        with self.gpu.selected():
            load_plugins(self.log)
            builder = trt.Builder(self.log)
            # TensorRT 11 knows no other kind and ignores the flag
            typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
            network = builder.create_network(typed)
            self._parse(graph, network)
            config = builder.create_builder_config()
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)
            config.builder_optimization_level = self.level
            config.clear_flag(trt.BuilderFlag.TF32)  # fp32 is fp32
            config.progress_monitor = progress.monitor
            self._add_profile(builder, config)
            timings = Timings(self.gpu, config)
            self.log.errors.clear()  # that it could not use what was kept, for one
            engine = builder.build_serialized_network(network, config)
            timings.keep()
        if engine is not None:
            return bytes(engine)
        if any(_OUT_OF_MEMORY.search(error) for error in self.log.errors):
            raise _OutOfMemory
        raise ModelError(
            f"TensorRT cannot build {self.manifest.model}: {self.log.reason()}; leave out "
            "--to tensorrt, or try another --precision."
        )

    def _parse(self, graph: bytes, network: trt.INetworkDefinition) -> None:
        parser = trt.OnnxParser(network, self.log)
        if parser.parse(graph):
            return
        reason, node = self.log.reason(), "the graph"
        if parser.num_errors:
            error: trt.ParserError = parser.get_error(0)
            said = (error.desc().strip().splitlines() or [reason])[0].rstrip(".")
            reason = f"{error.code().name.lower().replace('_', ' ')} ({said})"  # it may be "false"
            if error.node_name():
                node = f"{error.node_operator()} at {error.node_name()}"
        raise ModelError(
            f"TensorRT {VERSION} cannot read {node} of {self.manifest.model}: {reason}; give "
            "another --to."
        )

    def _add_profile(self, builder: trt.Builder, config: trt.IBuilderConfig) -> None:
        profile = builder.create_optimization_profile()
        shapes = [(size, *self.manifest.canvas, 3) for size in self.batch]
        profile.set_shape(PIXELS, *shapes)
        if config.add_optimization_profile(profile) < 0:
            raise ModelError(
                f"TensorRT does not take a batch of {':'.join(map(str, self.batch))} for "
                f"{self.manifest.model}: {self.log.reason()}."
            )
