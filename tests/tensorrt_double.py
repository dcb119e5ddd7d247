"""TensorRT and a GPU without either: names from NVIDIA's wheel, arithmetic of ONNX Runtime.

The package's double has the classes, methods and parameters that ``tensorrt_names.json`` lists and
refuses all others. What it builds is the ONNX file it was given, and running that runs the file in
ONNX Runtime, out of the memory at the addresses that were set and into it.
"""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
import tensorrt_names
from simulated_gpu import SimulatedGpu
from tensorrt_acts import ACTS

from models.deploy.manifest import METADATA, Manifest

CANVAS = (8, 12)
# as TensorRT-RTX 1.7 says it
TOO_LITTLE = "[localCheckMacros.cpp::getErrorStr::132] Error Code 2: OutOfMemory (Requested size)"
NEEDED = " (foreignNode) [pass.cpp:2417: run_passes] Exceeded mem budget of 1000. Need {}"
OUT_OF_MEMORY = "[defaultAllocator.cpp::allocate] Cuda Runtime (out of memory)"
_USERS = (
    "export.tensorrt",
    "export.tensorrt_progress",
    "export.tensorrt_timings",
    "models.runtimes.tensorrt",
    "models.runtimes.tensorrt_package",
)


@dataclass
class World:
    """What TensorRT finds here, and what it was asked.

    Attributes:
        gpu: the one there is.
        version: of TensorRT.
        parser_errors: description, operator and node of each that the parser reports.
        failures: what the next builds say instead of building; None for one that works.
        remarks: what they say before that, and is no error.
        steps: of a build.
        is_endless: whether a build goes on until it is cancelled.
        is_building: set as soon as one does so.
        context_fails: whether there is no context to be had.
        plugins_fail: whether the plugins cannot be loaded.
        calls: each method with its arguments, the first first.
        log: the logger that was given last.
    """

    gpu: SimulatedGpu
    version: str = "11.4.0.106"
    parser_errors: list[tuple[str, str, str]] = field(default_factory=list)
    failures: list[str | None] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    steps: int = 3
    is_endless: bool = False
    is_building: threading.Event = field(default_factory=threading.Event)
    context_fails: bool = False
    plugins_fail: bool = False
    calls: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)
    log: Any = None

    def called(self, name: str) -> list[tuple[Any, ...]]:
        """Arguments of each call of ``Class.method``."""
        return [arguments for called, arguments in self.calls if called == name]


@contextmanager
def installed(world: World, patch: pytest.MonkeyPatch) -> Iterator[World]:
    """For the length of the block, ``import tensorrt`` gives the double, and the GPU is there."""
    before = {name: sys.modules.pop(name, None) for name in (*_USERS, "tensorrt")}
    sys.modules["tensorrt"] = _package(world)
    try:
        patch.setattr("models.runtimes.gpu.find_gpu", lambda device, asker: world.gpu)
        yield world
    finally:
        for name, module in before.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module


def graph(path: Path, batch: int | None = None, **changes: Any) -> Path:
    """A whole-form file: three boxes, masks and scores that tell how bright each picture is."""
    size = "N" if batch is None else batch
    height, width = CANVAS
    model = onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["" : 20]>
        bright (uint8[{size},{height},{width},3] pixels) => (
            float[{size},3,4] boxes, float[{size},3] scores, int64[{size},3] labels,
            int64[{size}] count, float[{size},3,28,28] details
        )
        <int64[3] picture = {{1, 2, 3}}, float white = {{255.0}}, int64[1] last = {{-1}},
         float[3] ranks = {{0.9, 0.6, 0.1}}, float[4] corners = {{1.0, 2.0, 7.0, 6.0}},
         float[28,28] mask = {{{",".join(["1.0"] * 784)}}}, int64[2] sides = {{-2, -1}},
         float least = {{0.05}}, int64 person = {{1}}>
        {{
            floats = Cast <to = 1> (pixels)
            mean = ReduceMean <keepdims = 0> (floats, picture)
            share = Div (mean, white)
            column = Unsqueeze (share, last)
            scores = Mul (column, ranks)
            is_object = Greater (scores, least)
            ones = Cast <to = 7> (is_object)
            count = ReduceSum <keepdims = 0> (ones, last)
            none = Sub (ones, ones)
            labels = Add (none, person)
            rows = Unsqueeze (scores, last)
            boxes = Mul (rows, corners)
            squares = Unsqueeze (scores, sides)
            details = Mul (squares, mask)
        }}
    """)
    onnx.checker.check_model(model, full_check=True)
    manifest = Manifest(
        model="bright",
        kind="masks",
        class_names=("__background__", "person"),
        canvas=CANVAS,
        batch=batch,
        precision="fp32",
        min_score=0.05,
        max_detections=3,
        padding_rgb=(0, 0, 0),
        weights_sha256="",
        versions={},
        form="whole",
    )
    onnx.helper.set_model_props(model, {METADATA: replace(manifest, **changes).to_json()})
    onnx.save(model, path)
    return path


def _package(world: World) -> ModuleType:
    package: Any = ModuleType("tensorrt")
    package.__version__ = world.version
    package.nptype = lambda kind: {"FLOAT": np.float32, "INT64": np.int64, "UINT8": np.uint8}[kind]
    package.init_libnvinfer_plugins = partial(_init_plugins, world)
    for path, members in tensorrt_names.known().items():
        outer, _, name = path.rpartition(".")
        made = _class(path, members, world)
        setattr(getattr(package, outer) if outer else package, name, made)
    return package  # type: ignore[no-any-return]


def _init_plugins(world: World, log: Any, namespace: str) -> bool:
    world.calls.append(("init_libnvinfer_plugins", (log, namespace)))
    return not world.plugins_fail


def _class(path: str, members: dict[str, Any], world: World) -> type:
    bases = (_Object, bytearray) if path == "IHostMemory" else (_Object,)
    parts: dict[str, Any] = {"_path": path, "_world": world}
    for name, overloads in members["methods"].items():
        if not (name == "__init__" and "value" in members["properties"]):
            parts[name] = _method(path, name, overloads)
    parts |= {name: _property(path, name) for name in members["properties"]}
    made = type(path, bases, parts)
    for number, name in enumerate(members["values"]):
        setattr(made, name, _Value(number))
    if path == "DataType":
        for name in members["values"]:
            setattr(made, name, name)  # nptype knows them by name
    return made


class _Value(int):
    """Of an enumeration: ``int`` gives its number, and nothing else is compared with it."""

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = int.__hash__


class _Object:
    _path: str
    _world: World

    def __setattr__(self, name: str, value: Any) -> None:
        own = type(self).__dict__
        if "_path" in own and not name.startswith("_") and name not in own:
            raise AttributeError(f"TensorRT's {self._path} has no {name}")
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"TensorRT's {self._path} has no {name}")


def _method(path: str, name: str, overloads: list[dict[str, Any]]) -> Callable[..., Any]:
    signatures = [_signature(each["takes"]) for each in overloads]

    def call(self: Any, *given: Any, **named: Any) -> Any:
        for signature in signatures:
            try:
                arguments = signature.bind(*given, **named).arguments
            except TypeError:
                continue
            self._world.calls.append((f"{path}.{name}", tuple(arguments.values())))
            return ACTS[f"{path}.{name}"](self, *arguments.values())
        raise TypeError(f"TensorRT's {path}.{name} does not take {given} {named}")

    return call


def _signature(parameters: list[str]) -> inspect.Signature:
    kind, made = inspect.Parameter.POSITIONAL_OR_KEYWORD, []
    default: Any = inspect.Parameter.empty
    for name in parameters:
        if name.endswith("="):
            default = None  # and so of all after it
        made.append(inspect.Parameter(name.rstrip("="), kind, default=default))
    return inspect.Signature(made)


def _property(path: str, name: str) -> property:
    def get(self: Any) -> Any:
        return self.__dict__[f"_{name}"]

    def put(self: Any, value: Any) -> None:
        self._world.calls.append((f"{path}.{name}", (value,)))
        self.__dict__[f"_{name}"] = value

    return property(get, put)
