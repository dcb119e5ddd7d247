"""The parity gate: an export is compared with the original before anyone may use it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx

from export.compare import CONFIDENT, Agreement, agreement, ap50
from export.files import side_file, write
from export.original import Original
from export.precision import HALVES, as_computed
from export.proof import EMPTY, FLOOR, LABELLED, SCORE_MARGIN, Case, Proof
from models.data.samples import LabelledPictures
from models.deploy.manifest import Manifest
from models.detections import Detections
from models.errors import ModelError, UsageError
from models.evaluation.evaluate import evaluate
from models.letterbox import Image, Letterbox
from models.runtimes.base import Canvas, Runtime
from models.runtimes.exported import open_exported
from models.runtimes.openvino import best_precision
from models.runtimes.static import StaticRuntime
from models.zoo import LoadedModel

PICTURES = 12  # a default that takes seconds
LARGEST_BATCH = 4
_ONE_READER = {".pt2": "torch", ".engine": "tensorrt"}
_UNIFORM = (114, 0, 255)  # greys; a model finds nothing on at least one


class ParityError(ModelError):
    """An export is not equal to its original."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to run an export.

    Attributes:
        runtime: its name.
        arithmetic: what it is asked to compute in.
        precision: whose tolerance applies.
        is_rounded: every result is rounded as the file says, which a CPU would not do by itself.
    """

    runtime: str
    arithmetic: str
    precision: str
    is_rounded: bool = False


def ways(path: Path, precision: str) -> list[Way]:
    """How an export can be run here: in every runtime that reads it, and as ``auto`` would.

    No CPU computes in fp16 or bf16 as an ONNX file states it, so that is done step by step, too:
    else a number too large for fp16 would only be found on a GPU.
    """
    if path.suffix in _ONE_READER:
        return [Way(_ONE_READER[path.suffix], "auto", precision)]
    found = [Way("openvino", "auto", precision)]
    if precision == "fp32":
        fastest = best_precision()
        found = [Way("openvino", each, each) for each in dict.fromkeys(["fp32", fastest])]
    if path.suffix == ".onnx" and precision != "bf16":  # which it has on GPUs alone
        found.append(Way("onnxruntime", "auto", precision))
    if path.suffix == ".onnx" and precision in HALVES:
        found.append(Way("onnxruntime", "auto", precision, is_rounded=True))
    return found


def verify(
    path: Path,
    loaded: LoadedModel,
    frames: Sequence[Image],
    *,
    pictures: str,
    labelled: LabelledPictures | None = None,
    device: str | None = None,
) -> Proof:
    """Run an export in every way there is and compare; the proof is written beside it.

    Args:
        path: of the export; its manifest lies beside it.
        loaded: what it was made from.
        frames: real pictures (h,w,3) uint8 RGB, not those it was calibrated on.
        pictures: where they are from, for people to read.
        labelled: for AP@0.5; without, the original's confident objects are the truth.
        device: where the export computes, as ``open_exported`` has it.
    """
    described = json.loads(side_file(path).read_text(encoding="utf-8"))
    described.pop("proof", None)  # of an earlier time
    manifest = Manifest.from_json(json.dumps(described), str(side_file(path)))
    cases: list[Case] = []
    failure = None
    gate = _Gate(Original(loaded, manifest), manifest, frames, pictures, labelled)
    for way in ways(path, manifest.precision):
        try:
            with _opened(path, way, manifest.min_score, device) as runtime:
                cases += gate.cases(way, runtime)
        except UsageError:  # such as a runtime that is not installed
            raise
        except Exception as error:  # noqa: BLE001 - each runtime raises what it likes
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            failure = f"The export cannot be run by {way.runtime}: {reason.rstrip('.')}."
            break
    gate.original.close()
    if failure is None:
        proof = Proof.of(cases, pictures)
    else:
        proof = Proof(cases=tuple(cases), compared=True, failure=failure)
    described["proof"] = proof.to_dict()
    write(side_file(path), json.dumps(described, indent=2, ensure_ascii=False).encode())
    return proof


@contextmanager
def _opened(path: Path, way: Way, min_score: float, device: str | None) -> Iterator[StaticRuntime]:
    with tempfile.TemporaryDirectory() as folder:
        if way.is_rounded:
            model = as_computed(onnx.load(path))
            path = Path(folder) / path.name
            write(path, model.SerializeToString())
        with open_exported(
            path,
            runtime=way.runtime,
            device=device,
            precision=way.arithmetic,
            min_score=min_score,
        ) as runtime:
            yield runtime


class _Gate:
    """The original's answers, computed once, and what is compared with them."""

    def __init__(
        self,
        original: Original,
        manifest: Manifest,
        frames: Sequence[Image],
        pictures: str,
        labelled: LabelledPictures | None,
    ) -> None:
        self.original, self.manifest = original, manifest
        self.pictures, self.labelled = pictures, labelled
        self.canvases = [original.preprocess(frame) for frame in frames]
        self.answers = [original.infer(canvas) for canvas in self.canvases]
        self.empty, self.empty_answer = self._empty()
        self.labelled_ap50 = None if labelled is None else _ap50(original, labelled)

    def cases(self, way: Way, runtime: StaticRuntime) -> list[Case]:
        """What this way gives, compared."""
        how = "rounded" if way.is_rounded else runtime.name
        case = partial(Case, where=f"{how} {runtime.precision}", precision=way.precision)
        floor = max(FLOOR, self.manifest.min_score)
        cases = []
        for batch in self._batches():
            found = [
                detections
                for first in range(0, len(self.canvases), batch)
                for detections in runtime.infer_many(self.canvases[first : first + batch])
            ]
            scores = {} if self.labelled_ap50 is not None else self._own_ap50(found)
            have = self._agreement(self.answers, found, floor)
            cases.append(case(pictures=self.pictures, batch=batch, agreement=have, ap50=scores))
        if way.precision != "fp32":  # whose scores may differ: an object is one that is certain
            floor = max(floor, CONFIDENT)
        have = self._agreement([self.empty_answer], runtime.infer_many([self.empty]), floor)
        cases.append(case(pictures=EMPTY, batch=1, agreement=have, ap50={}))
        if self.labelled is not None and self.labelled_ap50 is not None:
            theirs = _ap50(runtime, self.labelled)
            scores = {kind: (own, theirs[kind]) for kind, own in self.labelled_ap50.items()}
            cases.append(case(pictures=LABELLED, batch=1, agreement=None, ap50=scores))
        return cases

    def _agreement(
        self, originals: list[Detections], found: list[Detections], floor: float
    ) -> Agreement:
        return agreement(
            originals,
            found,
            floor=floor,
            margin=SCORE_MARGIN,
            most=self.manifest.max_detections,
            canvas_size=self._canvas_size(),
        )

    def _own_ap50(self, found: list[Detections]) -> dict[str, tuple[float, float]]:
        return ap50(self.answers, found, canvas_size=self._canvas_size())

    def _batches(self) -> list[int]:
        if self.manifest.batch is not None:
            return [self.manifest.batch]
        return sorted({1, min(LARGEST_BATCH, len(self.canvases))})

    def _canvas_size(self) -> tuple[int, int]:
        height, width = self.manifest.canvas
        return width, height

    def _empty(self) -> tuple[Canvas, Detections]:
        """A picture of one grey, on which the original finds nothing if there is such a one."""
        size = self._canvas_size()
        tried = []
        for grey in _UNIFORM:
            pixels = np.full((size[1], size[0], 3), grey, np.uint8)
            canvas = Canvas(pixels, Letterbox(size, size))
            tried.append((canvas, self.original.infer(canvas)))
        return min(tried, key=lambda each: len(each[1]))


def _ap50(runtime: Runtime, labelled: LabelledPictures) -> dict[str, float]:
    scores = evaluate(runtime, labelled, warm_up=0).scores
    values = {kind: every.table["ap50"] for kind, every in scores.items()}
    return {kind: value for kind, value in values.items() if value is not None}
