"""What the methods of TensorRT's double do; see ``tensorrt_double``."""

from __future__ import annotations

import ctypes
import json
import sys
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime

from models.deploy.manifest import DETECTOR_OUTPUTS, PIXELS, WHOLE_DETAILS

if TYPE_CHECKING:
    from tensorrt_double import World

MAGIC = b"ENGINE"
PATIENCE_SECONDS = 20

_Act = Callable[..., Any]
ACTS: dict[str, _Act] = {}  # by ``Class.method``


def act(name: str) -> Callable[[_Act], _Act]:
    def keep(does: _Act) -> _Act:
        ACTS[name] = does
        return does

    return keep


def made(world: World, path: str, **state: Any) -> Any:
    """An object that only TensorRT makes."""
    kind = getattr(sys.modules["tensorrt"], path)
    new = kind.__new__(kind)
    new.__dict__.update({f"_{name}": value for name, value in state.items()})
    return new


def memory(world: World, content: bytes) -> Any:
    new = made(world, "IHostMemory", nbytes=len(content))
    new.extend(content)
    return new


@act("ILogger.__init__")
def _(self: Any) -> None:
    self._is_made = True


@act("IProgressMonitor.__init__")
def _(self: Any) -> None:
    self._is_made = True


@act("Builder.__init__")
@act("Runtime.__init__")
def _(self: Any, logger: Any) -> None:
    assert logger._is_made
    self._world.log = logger


@act("Builder.create_network")
def _(self: Any, flags: int) -> Any:
    return made(self._world, "INetworkDefinition", flags=flags)


@act("Builder.create_builder_config")
def _(self: Any) -> Any:
    return made(self._world, "IBuilderConfig", cache=None, progress_monitor=None, profiles=[])


@act("Builder.create_optimization_profile")
def _(self: Any) -> Any:
    return made(self._world, "IOptimizationProfile", shapes={})


@act("IOptimizationProfile.set_shape")
def _(self: Any, name: str, *shapes: Any) -> None:
    self._shapes[name] = shapes


@act("IBuilderConfig.add_optimization_profile")
def _(self: Any, profile: Any) -> int:
    least, best, most = profile._shapes[PIXELS]
    if not least <= best <= most:
        self._world.log.log(_severity("ERROR"), "Optimization profile is invalid.")
        return -1
    self._profiles.append(profile)
    return len(self._profiles) - 1


@act("IBuilderConfig.set_memory_pool_limit")
def _(self: Any, pool: Any, size: int) -> None:
    assert isinstance(size, int)
    assert size > 0


@act("IBuilderConfig.clear_flag")
def _(self: Any, flag: Any) -> None:
    assert isinstance(flag, int)


@act("IBuilderConfig.create_timing_cache")
def _(self: Any, content: bytes) -> Any:
    if content and not content.startswith(b"timings"):
        return None
    return made(self._world, "ITimingCache", content=content)


@act("IBuilderConfig.set_timing_cache")
def _(self: Any, cache: Any, ignore: bool) -> bool:
    assert not ignore
    is_ours = b"another driver" not in cache._content
    if not is_ours:
        self._world.log.log(_severity("ERROR"), "the timing cache will not be used")
    self._cache = cache if is_ours else None
    return is_ours


@act("IBuilderConfig.get_timing_cache")
def _(self: Any) -> Any:
    return self._cache


@act("ITimingCache.serialize")
def _(self: Any) -> Any:
    return memory(self._world, b"timings" + self._content.removeprefix(b"timings") + b"+")


@act("OnnxParser.__init__")
def _(self: Any, network: Any, logger: Any) -> None:
    assert logger._is_made
    self._network = network
    self._num_errors = len(self._world.parser_errors)


@act("OnnxParser.parse")
def _(self: Any, model: bytes, path: str | None = None) -> bool:
    onnx.checker.check_model(model)
    assert self._world.called("init_libnvinfer_plugins"), "RoiAlign is a plugin"
    self._network._model = bytes(model)
    if self._num_errors:
        self._world.log.log(_severity("ERROR"), "ModelImporter.cpp: it failed\nsomewhere")
    return not self._num_errors


@act("OnnxParser.get_error")
def _(self: Any, index: int) -> Any:
    return made(self._world, "ParserError", told=self._world.parser_errors[index])


@act("ParserError.desc")
def _(self: Any) -> str:
    return str(self._told[0])


@act("ParserError.code")
def _(self: Any) -> Any:
    return SimpleNamespace(name="UNSUPPORTED_NODE")


@act("ParserError.node_operator")
def _(self: Any) -> str:
    return str(self._told[1])


@act("ParserError.node_name")
def _(self: Any) -> str:
    return str(self._told[2])


@act("Builder.build_serialized_network")
def _(self: Any, network: Any, config: Any) -> Any:
    world = self._world
    assert network._flags & 1 << int(
        sys.modules["tensorrt"].NetworkDefinitionCreationFlag.STRONGLY_TYPED
    )
    if not _progress(world, config._progress_monitor):
        return None
    if world.failures and (failure := world.failures.pop(0)):
        for remark in world.remarks:
            world.log.log(_severity("VERBOSE"), remark)
        world.log.log(_severity("ERROR"), failure)
        world.log.log(_severity("ERROR"), "IBuilder::buildSerializedNetwork: Error Code 10")
        return None
    ((least, _, most),) = [each._shapes[PIXELS] for each in config._profiles]
    about = json.dumps({"least": least[0], "most": most[0]}).encode()
    return memory(world, MAGIC + about + b"\n" + network._model)


@act("Runtime.deserialize_cuda_engine")
def _(self: Any, content: bytes) -> Any:
    assert self._world.called("init_libnvinfer_plugins"), "RoIAlign is a plugin"
    if not content.startswith(MAGIC):
        self._world.log.log(_severity("ERROR"), "Error Code 1: Serialization")
        return None
    about, _, model = content.removeprefix(MAGIC).partition(b"\n")
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    ports = {port.name: port for port in (*session.get_inputs(), *session.get_outputs())}
    return made(
        self._world,
        "ICudaEngine",
        about=json.loads(about),
        session=session,
        ports=ports,
        device_memory_size_v2=64,
    )


@act("ICudaEngine.get_tensor_shape")
def _(self: Any, name: str) -> Any:
    return [side if isinstance(side, int) else -1 for side in self._ports[name].shape]


@act("ICudaEngine.get_tensor_dtype")
def _(self: Any, name: str) -> Any:
    kinds = {"tensor(float)": "FLOAT", "tensor(int64)": "INT64", "tensor(uint8)": "UINT8"}
    return kinds[self._ports[name].type]


@act("ICudaEngine.create_execution_context")
def _(self: Any, strategy: Any) -> Any:
    assert strategy is sys.modules["tensorrt"].ExecutionContextAllocationStrategy.USER_MANAGED
    if self._world.context_fails:
        self._world.log.log(_severity("ERROR"), "no context today")
        return None
    return made(self._world, "IExecutionContext", engine=self, addresses={}, shape=None)


@act("IExecutionContext.set_device_memory")
def _(self: Any, memory: int, size: int) -> None:
    assert size >= self._engine.device_memory_size_v2


@act("IExecutionContext.set_input_shape")
def _(self: Any, name: str, shape: Any) -> bool:
    about = self._engine._about
    self._shape = tuple(shape)
    return name == PIXELS and bool(about["least"] <= shape[0] <= about["most"])


@act("IExecutionContext.set_tensor_address")
def _(self: Any, name: str, memory: int) -> bool:
    self._addresses[name] = memory
    return name in self._engine._ports


@act("IExecutionContext.execute_async_v3")
def _(self: Any, handle: int) -> bool:
    engine, shape, addresses = self._engine, self._shape, dict(self._addresses)
    names = (*DETECTOR_OUTPUTS, WHOLE_DETAILS)

    def compute() -> None:
        pixels = _at(addresses[PIXELS], shape, np.uint8)
        for name, found in zip(names, engine._session.run(names, {PIXELS: pixels}), strict=True):
            _at(addresses[name], found.shape, found.dtype)[...] = found

    self._world.gpu.streams[handle].put(compute)
    return True


def _severity(name: str) -> Any:
    return getattr(sys.modules["tensorrt"].ILogger.Severity, name)


def _progress(world: World, monitor: Any) -> bool:
    """Report steps as TensorRT does, from another thread; whether to go on."""
    answers: list[bool] = []
    deadline = time.monotonic() + PATIENCE_SECONDS

    def report() -> None:
        monitor.phase_start("Building Engine", None, 2)
        monitor.phase_start("Tactics", "Building Engine", world.steps)
        for step in range(world.steps):
            answers.append(monitor.step_complete("Tactics", step))
            while world.is_endless and answers[-1] and time.monotonic() < deadline:
                world.is_building.set()
                answers.append(monitor.step_complete("Tactics", step))
                time.sleep(0.01)
            if not answers[-1]:
                break
        monitor.phase_finish("Tactics")
        monitor.phase_finish("Building Engine")

    assert monitor._is_made
    thread = threading.Thread(target=report)
    thread.start()
    thread.join()
    return all(answers)


def _at(address: int, shape: tuple[int, ...], kind: Any) -> Any:
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    memory = (ctypes.c_char * size).from_address(address)
    return np.frombuffer(memory, kind).reshape(shape)
