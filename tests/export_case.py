"""One export of the embedded model that all tests share: tracing it takes the most time."""

from __future__ import annotations

import dataclasses
import functools
import platform
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from export import build
from export.files import side_file
from export.frames import demo_frames
from models import zoo
from models.deploy.manifest import METADATA, Manifest
from models.letterbox import Image
from models.zoo import LoadedModel

CANVAS = (96, 128)  # (height, width) px
SCORE = 0.05


@functools.cache
def person() -> LoadedModel:
    """The embedded model."""
    return zoo.load()


@functools.cache
def exported() -> bytes:
    """It as fp32 ONNX at CANVAS, for any number of pictures."""
    with tempfile.TemporaryDirectory() as folder:
        path = build.export_model(
            person(), None, canvas=CANVAS, output=Path(folder), batch=None, min_score=SCORE
        )
        return path.read_bytes()


@functools.cache
def _exported_whole() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = build.export_model(
            person(),
            None,
            canvas=CANVAS,
            output=Path(folder),
            batch=None,
            min_score=SCORE,
            form="whole",
        )
        return path.read_bytes()


def whole() -> onnx.ModelProto:
    """The same as one graph."""
    return onnx.load_from_string(_exported_whole())


def proto() -> onnx.ModelProto:
    """A copy of the export."""
    return onnx.load_from_string(exported())


def manifest_of(model: onnx.ModelProto) -> Manifest:
    """What the file says about itself."""
    notes = {note.key: note.value for note in model.metadata_props}
    return Manifest.from_json(notes[METADATA], "the test's")


def as_it_were(model: onnx.ModelProto, precision: str, **changes: Any) -> Manifest:
    """Has the file say that it is of another precision, or anything else."""
    manifest = dataclasses.replace(manifest_of(model), precision=precision, **changes)
    onnx.helper.set_model_props(model, {METADATA: manifest.to_json()})
    return manifest


def put(model: onnx.ModelProto, path: Path) -> Path:
    """Writes an ONNX file with its manifest beside it."""
    path.write_bytes(model.SerializeToString())
    side_file(path).write_text(manifest_of(model).to_json(), encoding="utf-8")
    return path


def perturb(model: onnx.ModelProto, name: str, factor: float) -> onnx.ModelProto:
    """Multiplies one weight."""
    (weight,) = [tensor for tensor in model.graph.initializer if tensor.name == name]
    values = numpy_helper.to_array(weight) * np.float32(factor)
    weight.CopyFrom(numpy_helper.from_array(values.astype(np.float32), name))
    return model


def people(count: int = 4) -> list[Image]:
    """Photographs, some with people."""
    return demo_frames(count)


def untraced(monkeypatch, change=lambda model: model) -> None:  # type: ignore[no-untyped-def]
    """Has ``export_model`` start from the shared export, changed, instead of tracing again."""
    exported()  # while it can still be traced

    def to_onnx(graph: object, manifest: Manifest) -> onnx.ModelProto:
        model = change(proto())
        onnx.helper.set_model_props(model, {METADATA: manifest.to_json()})
        return model

    monkeypatch.setattr(build, "to_onnx", to_onnx)


def sums_bytes_exactly() -> bool:
    """Whether this processor adds products of 8 bits without saturation."""
    flags = Path("/proc/cpuinfo")
    return platform.machine() != "x86_64" or (flags.exists() and "vnni" in flags.read_text())
