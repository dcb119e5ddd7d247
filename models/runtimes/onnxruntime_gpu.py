"""What ONNX Runtime needs on NVIDIA's GPUs: its providers, and proof of where nodes went."""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx
import onnxruntime as ort

from models.deploy.manifest import PIXELS, Manifest
from models.errors import ModelError, UsageError
from models.paths import CACHE_VARIABLE, cache_folder
from models.runtimes.static import LARGEST_BATCH

# What each device asks of ONNX Runtime, the first being what it stands for. The CPU's is always
# last: ONNX Runtime adds it by itself.
PROVIDERS = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider"),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
}
CPU = PROVIDERS["cpu"][0]
BUILDER_LEVEL = 3  # of 0 to 5: how long TensorRT looks for fast kernels; its own default
_SHOWN = 3  # nodes in a message
Options = dict[str, str]


def check_device(device: str) -> None:
    """Refuse a device that this ONNX Runtime was built without.

    Args:
        device: one of ``PROVIDERS``.

    Raises:
        UsageError: if so.
    """
    if device not in PROVIDERS:
        raise UsageError(f"ONNX Runtime has no device {device}: use {' or '.join(PROVIDERS)}.")
    provider = PROVIDERS[device][0]
    if provider not in ort.get_available_providers():
        raise UsageError(
            f"This ONNX Runtime has no {provider}: install the package onnxruntime-gpu instead of "
            "onnxruntime, or use --device cpu."
        )


def provider_options(
    device: str,
    manifest: Manifest,
    *,
    cuda_graph: bool,
    engines: Path | None,
    number: int = 0,
    stream: int | None = None,
) -> list[tuple[str, Options]]:
    """The providers of a device, with their options.

    TensorRT is told no precision: without ``trt_fp16_enable`` and the like its network is strongly
    typed, which is to say that it computes as the file says.

    Args:
        device: one of ``PROVIDERS``.
        manifest: of the export.
        cuda_graph: replay the kernels of the first run, which needs fixed shapes and addresses.
        engines: an existing folder for what TensorRT builds, of this very file; None keeps nothing.
        number: of the GPU.
        stream: address of the CUDA stream to compute in; None for one of ONNX Runtime's own.
    """
    graph = str(int(cuda_graph))
    place = {"device_id": str(number)}
    if stream is not None:
        place["user_compute_stream"] = str(stream)
    # with both, it is the graph of the first one that is captured
    cuda_alone = device == "cuda"
    options: dict[str, Options] = {
        CPU: {},
        "CUDAExecutionProvider": {
            **place,
            "use_tf32": "0",  # fp32 means fp32
            "cudnn_conv_algo_search": "EXHAUSTIVE",
            "enable_cuda_graph": graph if cuda_alone else "0",
        },
        "TensorrtExecutionProvider": {
            **place,
            "trt_cuda_graph_enable": graph,
            "trt_builder_optimization_level": str(BUILDER_LEVEL),
            **_engine_options(engines),
            **_batch_options(manifest),
        },
    }
    return [(provider, options[provider]) for provider in PROVIDERS[device]]


def _engine_options(engines: Path | None) -> Options:
    if engines is None:
        return {}
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(engines),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(engines.parent),  # of kernels, whatever the file
    }


def _batch_options(manifest: Manifest) -> Options:
    """How many pictures an engine is built for, or TensorRT builds anew for every number."""
    if manifest.batch is not None:
        return {}
    height, width = manifest.canvas
    counts = {"min": 1, "opt": 1, "max": LARGEST_BATCH}
    return {
        f"trt_profile_{name}_shapes": f"{PIXELS}:{count}x{height}x{width}x3"
        for name, count in counts.items()
    }


def placement(session: ort.InferenceSession) -> dict[str, list[tuple[str, str]]]:
    """Name and operator of the graph's nodes, by the provider that computes them.

    Args:
        session: opened with ``session.record_ep_graph_assignment_info`` set to 1.

    Raises:
        ModelError: if this ONNX Runtime cannot tell.
    """
    if not hasattr(session, "get_provider_graph_assignment_info"):
        raise ModelError(
            f"ONNX Runtime {ort.__version__} does not tell where it computes, so a GPU cannot be "
            "relied on: install a newer onnxruntime-gpu."
        )
    found: dict[str, list[tuple[str, str]]] = {}
    for part in session.get_provider_graph_assignment_info():
        nodes = [(node.name, node.op_type) for node in part.get_nodes()]
        found.setdefault(part.ep_name, []).extend(nodes)
    return found


def fallback_nodes(session: ort.InferenceSession, model: onnx.ModelProto) -> list[tuple[str, str]]:
    """Name and operator of the nodes that the CPU computes, though a GPU was asked for.

    Args:
        session: see ``placement``.
        model: what it runs.
    """
    sizes = _of_sizes(model)
    return [node for node in placement(session).get(CPU, []) if node[0] not in sizes]


def check_placement(session: ort.InferenceSession, model: onnx.ModelProto, provider: str) -> None:
    """Refuse a session that computes on the CPU what its provider should.

    Raises:
        ModelError: if so.
    """
    if provider == CPU:
        return
    fallen = fallback_nodes(session, model)
    if fallen:
        names = ", ".join(f"{kind} {name}" for name, kind in fallen[:_SHOWN])
        more = f" and {len(fallen) - _SHOWN} more" if len(fallen) > _SHOWN else ""
        raise ModelError(
            f"{provider} does not take the whole graph, the CPU computes {names}{more}: use "
            "another --runtime or --precision."
        )


def _of_sizes(model: onnx.ModelProto) -> set[str]:
    """Names of nodes that compute with sizes alone: ONNX Runtime keeps these where sizes are."""
    small = {"", *(tensor.name for tensor in model.graph.initializer)}
    names = set()
    for node in model.graph.node:
        if node.op_type in ("Shape", "Size") or set(node.input) <= small:
            small.update(node.output)
            names.add(node.name)
    return names


def engines_folder(path: Path, engines: Path | None) -> Path:
    """The folder of one file: TensorRT's provider would take the engine of other weights for it."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    folder = (engines or cache_folder() / "onnxruntime-tensorrt") / digest[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{CACHE_VARIABLE} {folder} takes no files: {error.strerror or error}."
        ) from error
    return folder
