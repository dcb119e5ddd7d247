"""What an exported model says about itself: in the file, and beside it as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from models.errors import ModelError

FORMAT = 1
METADATA = "rcnn_live"  # where a file keeps it

# Names of tensors in exported files. A split file's second graph, if there is one, shares nothing
# with the first: what it takes are rows of the first one's output ``under``.
PIXELS = "pixels"
DETECTOR_OUTPUTS = ("boxes", "scores", "labels", "count")
UNDER = "under"
KEPT_PREFIX = "kept_"
KEPT_UNDER, KEPT_LABELS, DETAILS = (KEPT_PREFIX + name for name in ("under", "labels", "details"))
WHOLE_DETAILS = "details"  # of one graph that does both: (N,D,…)

Kind = Literal["boxes", "masks", "keypoints"]
Form = Literal["split", "whole"]


def side_file(path: Path) -> Path:
    """The manifest and proof beside an exported file."""
    return path.with_name(f"{path.name}.json")  # .onnx and .xml of one model each have one


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """What a TensorRT engine is tied to: no other GPU and no other TensorRT may run it.

    Attributes:
        gpu: name of the GPU it was built on.
        capability: that GPU's compute capability, such as ``9.0``.
        tensorrt: version that built it.
        batch: fewest pictures at a time, how many it is fastest for, most.
        size_bytes: of the engine's file.
        sha256: of the engine's file.
    """

    gpu: str
    capability: str
    tensorrt: str
    batch: tuple[int, int, int]
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One exported model.

    Attributes:
        model: name in the zoo.
        kind: what it finds besides boxes, if anything.
        class_names: name of each label, background first.
        canvas: (height, width) px of the frames it takes.
        batch: pictures at a time; None for any number.
        precision: ``fp32``, ``fp16``, ``bf16`` or ``int8``.
        min_score: it gives no objects below.
        max_detections: of a picture.
        padding_rgb: colour around a frame that does not fill the canvas: the model's mean, 0..255.
        weights_sha256: of the weights it was made from.
        versions: of the packages that made it.
        format: of this description.
        form: ``split``, a graph for boxes and one for the details of kept ones; or ``whole``, one
            for both, where a fixed number of rows costs less than a second call: on GPUs.
        engine: of a TensorRT engine, what it is tied to.
    """

    model: str
    kind: Kind
    class_names: tuple[str, ...]
    canvas: tuple[int, int]
    batch: int | None
    precision: str
    min_score: float
    max_detections: int
    padding_rgb: tuple[int, int, int]
    weights_sha256: str
    versions: dict[str, str]
    format: int = FORMAT
    form: Form = "split"
    engine: EngineFacts | None = None

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what the graph gives, the first one of a split file."""
        if self.kind == "boxes":
            return DETECTOR_OUTPUTS
        return (*DETECTOR_OUTPUTS, WHOLE_DETAILS if self.form == "whole" else UNDER)

    def to_json(self) -> str:
        """As one JSON object."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, source: str) -> Manifest:
        """Read what ``to_json`` wrote.

        Args:
            text: JSON.
            source: where it comes from, for the message.

        Raises:
            ModelError: if it is none, or of another format.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            if values["format"] != FORMAT:
                raise ModelError(
                    f"{source} was exported by another version of rcnn-live (format "
                    f"{values['format']}, this one reads {FORMAT}): export it again."
                )
            for name in ("class_names", "canvas", "padding_rgb"):
                values[name] = tuple(values[name])
            if (engine := values.get("engine")) is not None:
                values["engine"] = EngineFacts(**engine | {"batch": tuple(engine["batch"])})
            return cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"{source} is no export of rcnn-live: make one with 'rcnn-live export'."
            ) from error
