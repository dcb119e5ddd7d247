"""Static graphs in OpenVINO: the fastest on Intel's processors, bf16 where they compute in it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from models.deploy.manifest import (
    DETAILS,
    DETECTOR_OUTPUTS,
    KEPT_LABELS,
    KEPT_UNDER,
    METADATA,
    PIXELS,
    UNDER,
    WHOLE_DETAILS,
    Manifest,
)
from models.detections import Floats, Labels
from models.errors import ModelError, UsageError
from models.letterbox import Image
from models.runtimes.openvino_package import PrePostProcessor, ov
from models.runtimes.static import Padded, StaticRuntime, check_file, stacked

# Not fp16: OpenVINO 2026.4 never comes back from compiling an export of a fixed batch in it, and of
# others takes twice as long as in fp32
PRECISIONS = {"fp32": ov.Type.f32, "bf16": ov.Type.bf16}
LATENCY, THROUGHPUT = "LATENCY", "THROUGHPUT"


def best_precision() -> str:
    """``bf16`` where this processor multiplies matrices in it, else ``fp32``."""
    return "bf16" if _computes_in_bf16() else "fp32"


def _computes_in_bf16() -> bool:
    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenVino(StaticRuntime):
    """An exported .xml or .onnx file, run by OpenVINO's CPU plugin.

    An export that takes any number of pictures is given one at a time: OpenVINO computes a graph
    whose sizes it knows two to four times as fast, and more at once gains a CPU little.

    Args:
        path: the file.
        min_score: objects have a higher one; masks of the others are not computed.
        precision: one of ``PRECISIONS``; ``auto`` is the fastest the processor has for an fp32
            export, fp32 for an fp16 one, and for others their own where the processor has it.
        threads: how many to compute on; 0 for all cores.
        hint: ``LATENCY`` for one frame after the other; ``THROUGHPUT`` has ``infer_many`` compute
            several pictures at the same time, each on its share of the cores.
        profiling: measure every node, for ``profile``.

    Raises:
        UsageError: if there is no such file, or the processor does not compute in that precision.
        ModelError: if the file is damaged or no export.
    """

    name = "openvino"
    device = "cpu"

    def __init__(
        self,
        path: Path,
        *,
        min_score: float = 0.5,
        precision: str = "auto",
        threads: int = 0,
        hint: str = LATENCY,
        profiling: bool = False,
    ) -> None:
        check_file(path)
        core = ov.Core()
        try:
            model = core.read_model(path)
            manifest = Manifest.from_json(_manifest_text(model), str(path))
            super().__init__(manifest, min_score=min_score)
            self.precision = _chosen(precision, manifest.precision)
            config = _config(self.precision, threads, hint) | {"PERF_COUNT": profiling}
            detector, details = _parts(model, manifest, self.precision)
            first = core.compile_model(detector, "CPU", config)
            second = None if details is None else core.compile_model(details, "CPU", config)
        except RuntimeError as error:
            raise ModelError(
                f"{path} cannot be read by OpenVINO: it is damaged or no model; export it again."
            ) from error
        self.threads = first.get_property("INFERENCE_NUM_THREADS")
        optimal: int = first.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        at_once = 1 if hint == LATENCY else max(2, optimal)  # one waits while one is read out
        self._requests = [first.create_infer_request() for _ in range(at_once)]
        self._second = None if second is None else second.create_infer_request()
        if details is not None:
            self.detail_shape = tuple(
                side.get_length() for side in list(details.output(0).partial_shape)[1:]
            )

    def profile(self) -> dict[str, float]:
        """Milliseconds of each node of both graphs in the last frame, named by its layer."""
        requests = [self._requests[0], *([] if self._second is None else [self._second])]
        return {
            node.node_name: node.real_time.total_seconds() * 1e3
            for request in requests
            for node in request.get_profiling_info()
        }

    def _batch_size(self, waiting: int) -> int:
        return self.manifest.batch or 1

    def _detect_all(self, batches: Iterable[Sequence[Any]]) -> Iterator[Padded]:
        running: deque[tuple[ov.InferRequest, Image]] = deque()
        for request, rows in zip(cycle(self._requests), batches, strict=False):
            if len(running) == len(self._requests):
                yield self._finished(*running.popleft())
            pixels = stacked(rows)
            # shared: the request reads the frame where it lies
            request.start_async([ov.Tensor(pixels, shared_memory=True)])
            running.append((request, pixels))
        while running:
            yield self._finished(*running.popleft())

    def _finished(self, request: ov.InferRequest, pixels: Image) -> Padded:
        request.wait()
        del pixels  # not before: the request was reading them
        boxes, scores, labels, counts = (request.get_tensor(name).data for name in DETECTOR_OUTPUTS)
        if self.manifest.outputs[-1] == WHOLE_DETAILS:
            details = request.get_tensor(WHOLE_DETAILS).data
            return Padded(boxes, scores, labels, counts, details=details)
        under = None if self._second is None else request.get_tensor(UNDER)
        return Padded(boxes, scores, labels, counts, under)

    def _detect(self, pixels: Image) -> Padded:
        return next(self._detect_all([list(pixels)]))

    def _details(self, under: Any, kept: Sequence[int], labels: Labels) -> Floats:
        assert self._second is not None
        # numpy has no bf16 and is shown it as fp16, which does no harm where rows are only copied
        chosen = np.concatenate([under.data[number, :count] for number, count in enumerate(kept)])
        taken = ov.Tensor(chosen, list(chosen.shape), under.element_type)
        given = {KEPT_UNDER: taken}
        if self.manifest.kind == "masks":
            given[KEPT_LABELS] = labels
        self._second.infer(given)
        found: Floats = self._second.get_tensor(DETAILS).data.copy()
        return found

    def _release(self) -> None:
        self._requests, self._second = [], None


def _chosen(asked: str, own: str) -> str:
    """What to compute in.

    Raises:
        UsageError: if the processor does not.
    """
    if own == "int8":  # its layers say so themselves, the rest stays as it is
        if asked not in ("auto", "int8"):
            raise UsageError(f"This export is int8: leave out --precision {asked}.")
        return own
    if asked == "auto":
        if own == "fp32":
            return best_precision()
        # an fp16 export saves space, not time: whatever is stored fits into fp32
        return "bf16" if own == "bf16" and _computes_in_bf16() else "fp32"
    if asked not in PRECISIONS:
        raise UsageError(f"OpenVINO computes in {' or '.join(PRECISIONS)}, not in {asked}.")
    if asked == "bf16" and not _computes_in_bf16():
        raise UsageError("This processor does not compute in bf16: use --precision fp32.")
    return asked


def _config(precision: str, threads: int, hint: str) -> dict[str, Any]:
    config: dict[str, Any] = {
        "PERFORMANCE_HINT": hint,
        "INFERENCE_PRECISION_HINT": PRECISIONS.get(precision, ov.Type.f32),
        # a camera's thread, the encoder's and the page's need their share of the cores, too
        "ENABLE_CPU_PINNING": False,
    }
    return config | ({"INFERENCE_NUM_THREADS": threads} if threads else {})


def _manifest_text(model: ov.Model) -> str:
    for place in ([METADATA], ["framework", METADATA]):  # of an .xml, of an .onnx
        if model.has_rt_info(place):
            return str(model.get_rt_info(place).value)
    return ""


def _parts(model: ov.Model, manifest: Manifest, precision: str) -> tuple[ov.Model, ov.Model | None]:
    """The two graphs of a file, or the one of a whole one; the first at a fixed batch."""
    inputs = {port.any_name: port.node for port in model.inputs}
    outputs = {port.any_name: port.node for port in model.outputs}
    wanted = [outputs[name] for name in manifest.outputs]
    detector = ov.Model(wanted, [inputs[PIXELS]], manifest.model)
    detector.reshape({PIXELS: [manifest.batch or 1, *manifest.canvas, 3]})
    if UNDER not in manifest.outputs:
        return detector, None
    taken = [inputs[name] for name in (KEPT_UNDER, KEPT_LABELS) if name in inputs]
    details = ov.Model([outputs[DETAILS]], taken, DETAILS)
    if precision == "bf16":
        detector, details = _in_bf16(detector, details)
    return detector, details


def _in_bf16(detector: ov.Model, details: ov.Model) -> tuple[ov.Model, ov.Model]:
    """What goes from one graph to the other stays bf16.

    OpenVINO computes whatever follows the last matrix product in the precision of the output. As
    fp32 that would be the pyramid's last layers, in another memory layout at that: RoIAlign takes
    ten times as long there.

    Where RoIAlign looks stays fp32, as bf16 knows only every fourth pixel beyond the 512th. It
    does for the same reason: as an output, with no matrix product after it.
    """
    for node in detector.get_ops():
        if node.get_type_name() == "ROIAlign":
            detector.add_outputs(node.input_value(1))
    first = PrePostProcessor(detector)
    first.output(UNDER).tensor().set_element_type(ov.Type.bf16)
    second = PrePostProcessor(details)
    second.input(KEPT_UNDER).tensor().set_element_type(ov.Type.bf16)
    return first.build(), second.build()
