"""A detector of another project, run by ONNX Runtime like every model of this one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from torchvision.ops import batched_nms, roi_align

from models.detections import ROI_MASK_SIDE, Detections, Floats
from models.errors import ModelError, UsageError
from models.foreign.decode import DECODERS, Candidates
from models.foreign.description import describe
from models.foreign.recognise import Ports, recognise
from models.letterbox import Image, Letterbox
from models.runtimes.base import Canvas, Runtime
from models.runtimes.cpu import usable_cores
from models.runtimes.onnxruntime import ERRORS
from models.runtimes.static import check_file, fitted

PADDING = (114, 114, 114)  # what the YOLO family was trained with
MOST_CANDIDATES = 3000  # that NMS compares, the best ones
MOST_OBJECTS = 300
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_LOG_ERRORS_ONLY = 3


class ForeignDetector(Runtime):
    """An ONNX file that ``rcnn-live export`` did not make.

    Its layout is recognised or described: see ``description.py``. Segmentation and pose models of
    the YOLO family give masks and keypoints.

    Args:
        path: the file.
        min_score: objects have a higher one.
        threads: how many to compute on; 0 for all cores.

    Raises:
        UsageError: if there is no such file, or its description is wrong.
        ModelError: if it is no ONNX file, or none that is understood.
    """

    name, device = "onnxruntime", "cpu"

    def __init__(self, path: Path, *, min_score: float = 0.5, threads: int = 0) -> None:
        check_file(path)
        self._path, self.threads = path, threads or usable_cores()
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = _LOG_ERRORS_ONLY
        try:
            session = ort.InferenceSession(
                path, sess_options=options, providers=["CPUExecutionProvider"]
            )
        except ERRORS as error:
            raise ModelError(f"{path} cannot be opened: it is damaged or no ONNX model.") from error
        self._ports, self._type = _ports(path, session)
        described = describe(path)
        self.recognised = recognise(path, self._ports, described)
        self._session: ort.InferenceSession | None = session
        self._iou, self._min_score = described.iou, min_score
        self._mean, self._std = (
            np.array(part, np.float32) for part in (described.mean, described.std)
        )
        self.precision = "fp16" if self._type is np.float16 else "fp32"
        self.model_name, self.class_names = path.stem, self.recognised.class_names

    def preprocess(self, image: Image) -> Canvas:
        """(1,3,H,W), as the model was trained to see it."""
        height, width = self.recognised.canvas
        if self.recognised.is_stretched:
            letterbox = Letterbox((image.shape[1], image.shape[0]), (width, height))
            placed = Canvas(letterbox.resize(image), letterbox)
        else:
            placed = fitted(image, self.recognised.canvas, PADDING)
        pixels = placed.pixels[..., ::-1] if self.recognised.colour == "bgr" else placed.pixels
        values = (pixels.astype(np.float32) * self.recognised.scale - self._mean) / self._std
        ready: Floats = np.ascontiguousarray(values.transpose(2, 0, 1)[None], self._type)
        return Canvas(ready, placed.letterbox)

    def infer(self, canvas: Canvas) -> Detections:
        """One forward pass; see ``Runtime.infer``.

        Raises:
            ModelError: if the file does not take its canvas.
            RuntimeError: if it is closed.
        """
        self._check_open()
        assert self._session is not None
        given = {self._ports.image: canvas.pixels}
        height, width = self.recognised.canvas
        if self._ports.size_input is not None:
            given[self._ports.size_input] = np.array([[width, height]], np.int64)
        try:
            values = self._session.run(None, given)
        except ERRORS as error:
            raise ModelError(
                f"{self._path} cannot compute a picture of {width}x{height} px: describe its "
                f"canvas in {self._path.with_suffix('.yaml').name}."
            ) from error
        names = self._ports.outputs
        outputs = {
            name: np.asarray(value, np.float32) for name, value in zip(names, values, strict=True)
        }
        prototypes = outputs.pop(self.recognised.prototypes or "", None)
        decode = DECODERS[self.recognised.layout]
        kept = self._kept(decode(outputs, len(self.class_names), self.recognised.canvas))
        return Detections(
            boxes=np.asarray(kept.boxes, np.float32),
            labels=kept.labels,
            scores=np.asarray(kept.scores, np.float32),
            class_names=self.class_names,
            masks=None if prototypes is None else self._masks(kept, prototypes),
            keypoints=self._keypoints(kept),
        )

    def _kept(self, found: Candidates) -> Candidates:
        """The likely ones, one for each object, best first; none of no size."""
        boxes = found.boxes
        solid = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        is_known = found.labels < len(self.class_names)
        found = found.select(np.flatnonzero(solid & is_known & (found.scores > self._min_score)))
        found = found.select(np.argsort(-found.scores, kind="stable")[:MOST_CANDIDATES])
        if not found.is_final:
            keep = batched_nms(
                torch.from_numpy(np.ascontiguousarray(found.boxes, np.float32)),
                torch.from_numpy(np.ascontiguousarray(found.scores, np.float32)),
                torch.from_numpy(found.labels),
                self._iou,
            )
            found = found.select(keep.numpy())
        return found.select(np.arange(min(len(found.scores), MOST_OBJECTS)))

    def _masks(self, kept: Candidates, prototypes: Floats) -> Floats:
        """(N,28,28): each object's sum of the prototypes, cut out over its box."""
        if not len(kept.boxes):
            return np.zeros((0, ROI_MASK_SIDE, ROI_MASK_SIDE), np.float32)
        sums = np.tensordot(kept.extra[:, -prototypes.shape[1] :], prototypes[0], axes=1)
        scale = prototypes.shape[-1] / self.recognised.canvas[1]
        boxes = torch.from_numpy(np.ascontiguousarray(kept.boxes, np.float32))
        numbers = torch.arange(len(boxes), dtype=torch.float32)[:, None]
        cut = roi_align(
            torch.from_numpy(np.asarray(sums, np.float32))[:, None],
            torch.cat([numbers, boxes], dim=1),
            ROI_MASK_SIDE,
            spatial_scale=scale,
            sampling_ratio=2,
            aligned=True,
        )
        masks: Floats = cut[:, 0].sigmoid().numpy()
        return masks

    def _keypoints(self, kept: Candidates) -> Floats | None:
        count = self.recognised.keypoints
        if not count:
            return None
        values = kept.extra[:, :count]
        return np.asarray(values.reshape(len(values), count // 3, 3), np.float32)

    def close(self) -> None:
        """Release the model. Legal any number of times."""
        self._is_open = False
        self._session = None


def open_foreign(
    path: Path,
    *,
    runtime: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    min_score: float = 0.5,
    threads: int = 0,
) -> ForeignDetector:
    """A detector of another project, if it can be run as asked.

    Raises:
        UsageError: if it cannot.
        ModelError: if it is none that is understood.
    """
    if runtime not in ("auto", ForeignDetector.name):
        raise UsageError(
            f"{path} was not made by 'rcnn-live export', and {runtime} runs no others: leave out "
            "--runtime."
        )
    if device not in ("auto", "cpu"):
        raise UsageError(
            f"{path} was not made by 'rcnn-live export', and such files run on the CPU: leave out "
            f"--device {device}."
        )
    opened = ForeignDetector(path, min_score=min_score, threads=threads)
    if precision not in ("auto", opened.precision):
        raise UsageError(f"{path} computes in {opened.precision}: leave out --precision.")
    return opened


def _ports(path: Path, session: ort.InferenceSession) -> tuple[Ports, type]:
    """What it takes and gives, and the kind of numbers of a picture."""
    inputs = {port.name: port for port in session.get_inputs()}
    pictures = [port for port in inputs.values() if len(port.shape) == 4]
    others = [port.name for port in inputs.values() if len(port.shape) != 4]
    known = len(pictures) == 1 and len(others) <= 1 and pictures[0].type in _TYPES
    if not known or pictures[0].shape[1] != 3:
        taken = ", ".join(f"{port.name} {port.shape} {port.type}" for port in inputs.values())
        raise ModelError(
            f"{path} takes {taken}: a detector takes one picture (1,3,height,width) of float "
            "numbers."
        )
    picture = pictures[0]
    notes = session.get_modelmeta().custom_metadata_map
    return Ports(
        picture.name,
        tuple(_fixed(side) for side in picture.shape),
        others[0] if others else None,
        {port.name: tuple(_fixed(side) for side in port.shape) for port in session.get_outputs()},
        notes,
    ), _TYPES[picture.type]


def _fixed(side: object) -> int | None:
    return side if isinstance(side, int) and side > 0 else None
