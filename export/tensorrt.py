"""TensorRT engines: a whole graph, compiled for the GPU that is here."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import onnx
import tensorrt as trt
from rich.console import Console

from export.build import export_model
from export.cache import cache_folder
from export.files import publish, side_file, staging, write
from export.tensorrt_progress import BuildProgress, run_interruptibly
from export.tensorrt_support import check_tensorrt
from models.deploy.manifest import METADATA, PIXELS, EngineFacts, Manifest
from models.errors import ModelError
from models.letterbox import Image
from models.runtimes.gpu import Gpu, find_gpu
from models.runtimes.tensorrt_package import VERSION, Log, load_plugins
from models.zoo import LoadedModel

_log = logging.getLogger(__name__)

SUFFIX = ".engine"
LEVEL = 3  # of optimisation while building; TensorRT's own default
_MB = 1_000_000
_OUT_OF_MEMORY = re.compile(
    r"out of ?memory|insufficient (memory|workspace)|memory allocat|could not be allocated", re.I
)

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
            of what is free. If it is too much, a quarter of it is tried.
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
    workspace = workspace_mb * _MB if workspace_mb else gpu.free_bytes() // 2
    build = _Build(gpu, manifest, batch, level, console)
    engine = build.run(graph.read_bytes(), workspace)
    facts = EngineFacts(
        gpu=gpu.name,
        capability=gpu.capability,
        tensorrt=VERSION,
        batch=batch,
        size_bytes=len(engine),
        sha256=hashlib.sha256(engine).hexdigest(),
    )
    # not the graph's name, whose .json would take the place of the engine's
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
    """The GPU's memory is too small for what was tried."""


class _Build:
    """One engine's way through TensorRT."""

    def __init__(
        self, gpu: Gpu, manifest: Manifest, batch: Batch, level: int, console: Console | None
    ) -> None:
        self.gpu, self.manifest, self.batch, self.level = gpu, manifest, batch, level
        self.console = console
        self.log = Log()

    def run(self, graph: bytes, workspace: int) -> bytes:
        """The engine; with a smaller workspace if the first is too large."""
        tried = (workspace, workspace // 4)
        for size in tried:
            with BuildProgress(self.console, self.manifest.model) as progress:
                try:
                    return run_interruptibly(
                        partial(self._attempt, graph, size, progress), progress
                    )
                except _OutOfMemory:
                    self.log.errors.clear()
        sizes = " and ".join(f"{size // _MB}" for size in tried)
        raise ModelError(
            f"The memory of {self.gpu.name} is too small to build {self.manifest.model} with "
            f"workspaces of {sizes} MB: end what else uses it, or give a smaller --workspace, "
            "--batch or --canvas."
        )

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
            timings = _Timings(self.gpu, config)
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
            reason = (error.desc().strip().splitlines() or [reason])[0].rstrip(".")
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


class _Timings:
    """How fast each kernel was in earlier builds on such a GPU, so that this one is quicker."""

    def __init__(self, gpu: Gpu, config: trt.IBuilderConfig) -> None:
        gpu_name = re.sub(r"\W+", "-", gpu.name)
        self.path = cache_folder() / f"tensorrt-{VERSION}-{gpu_name}-{gpu.capability}.timings"
        self.config: trt.IBuilderConfig = config
        kept = self._read()
        if not self._use(kept) and kept:
            self._use(b"")  # damaged, or of another driver

    def _read(self) -> bytes:
        try:
            return self.path.read_bytes()
        except OSError:  # most often, there are none so far
            return b""

    def _use(self, kept: bytes) -> bool:
        cache = self.config.create_timing_cache(kept)
        return cache is not None and self.config.set_timing_cache(cache, ignore_mismatch=False)

    def keep(self) -> None:
        """Write them for the next build, that of another process too.

        Where that fails, the engine is there all the same.
        """
        cache: trt.ITimingCache = self.config.get_timing_cache()
        if cache is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with staging(self.path.parent) as folder:
                made = folder / self.path.name
                write(made, bytes(cache.serialize()))
                made.replace(self.path)
        except (OSError, ModelError) as error:
            _log.warning("the next build will take as long, as nothing is kept of this: %s", error)
