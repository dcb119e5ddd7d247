"""What runtimes of exported static graphs have in common: canvas in, padded tensors out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.deploy.keypoints import keypoints_of
from models.deploy.manifest import DETECTOR_OUTPUTS, WHOLE_DETAILS, Manifest
from models.detections import Detections, Floats, Labels
from models.errors import UsageError
from models.letterbox import Image, Letterbox
from models.runtimes.base import Canvas, Runtime

LARGEST_BATCH = 16  # pictures at once, of an export that takes any number: more only cost memory


@dataclass(frozen=True, slots=True, eq=False)
class Padded:
    """What the first graph gives for N pictures, D rows each, or a whole one.

    Attributes:
        boxes: (N,D,4) xyxy canvas px.
        scores: (N,D), highest first.
        labels: (N,D).
        counts: (N,), rows that are objects.
        under: (N,D,C,h,w) what the second graph takes, in the runtime's own form; None without.
        details: (N,D,28,28) or (N,D,K,56,56), of a whole graph; None of others.
    """

    boxes: Floats
    scores: Floats
    labels: Labels
    counts: npt.NDArray[np.int64]
    under: Any = None
    details: Floats | None = None


def whole(found: Mapping[str, npt.NDArray[Any]]) -> Padded:
    """What a whole graph gives, by the names of its outputs."""
    boxes, scores, labels, counts = (found[name] for name in DETECTOR_OUTPUTS)
    return Padded(boxes, scores, labels, counts, details=found.get(WHOLE_DETAILS))


def stacked(rows: Sequence[Image]) -> Image:
    """Pictures (H,W,3) of one size as (N,H,W,3); a single one is not copied."""
    return rows[0][None] if len(rows) == 1 else np.stack(rows)


def fitted(image: Image, canvas: tuple[int, int], padding_rgb: tuple[int, ...]) -> Canvas:
    """A frame resized into a canvas of (height, width) px, a colour around it where it ends."""
    height, width = canvas
    letterbox = Letterbox.inside((image.shape[1], image.shape[0]), (width, height))
    resized = letterbox.resize(image)
    if letterbox.resized_size == (width, height):
        return Canvas(np.ascontiguousarray(resized), letterbox)
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:] = padding_rgb
    pixels[: resized.shape[0], : resized.shape[1]] = resized
    return Canvas(pixels, letterbox)


def check_file(path: Path) -> None:
    """Refuse a file that is not there or may not be read.

    Raises:
        UsageError: if so.
    """
    try:
        if not path.is_file():
            raise UsageError(f"There is no file {path}.")
        path.open("rb").close()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error


class StaticRuntime(Runtime):
    """A static graph of one canvas; masks and keypoints are computed for kept objects alone.

    Args:
        manifest: of the export.
        min_score: objects have a higher one; masks of the others are not computed.

    Attributes:
        manifest: see there.
        detail_shape: of what the second graph gives for one object: (28,28) or (K,56,56).

    Raises:
        UsageError: if the export has no objects of so low a score.
    """

    detail_shape: tuple[int, ...] = ()

    def __init__(self, manifest: Manifest, *, min_score: float) -> None:
        if min_score < manifest.min_score:
            raise UsageError(
                f"This export of {manifest.model} keeps objects above a score of "
                f"{manifest.min_score:g}: give a --min-score of at least that, or export it again."
            )
        self.manifest, self.min_score = manifest, min_score
        self.model_name, self.class_names = manifest.model, manifest.class_names
        self.precision = manifest.precision

    def preprocess(self, image: Image) -> Canvas:
        """An RGB array (H,W,3) uint8 of the canvas's size, padded where the frame ends."""
        return fitted(image, self.manifest.canvas, self.manifest.padding_rgb)

    def infer(self, canvas: Canvas) -> Detections:
        return self.infer_many([canvas])[0]

    def infer_many(self, canvases: Sequence[Canvas]) -> list[Detections]:
        """Several pictures at once, where the export takes them so.

        Raises:
            RuntimeError: if it is closed.
        """
        self._check_open()
        found: list[Detections] = []
        for padded in self._detect_all(self._batches(canvases)):
            found += self._found(padded, len(canvases) - len(found))
        return found

    def close(self) -> None:
        """Release the model's memory. Legal any number of times."""
        if self._is_open:
            self._is_open = False
            self._release()

    def _batches(self, canvases: Sequence[Canvas]) -> Iterator[list[Any]]:
        """Pictures that go into the graph at once, each where it lies."""
        rows = [canvas.pixels for canvas in canvases]
        while rows:
            size = self._batch_size(len(rows))
            taken, rows = rows[:size], rows[size:]
            if self.manifest.batch is not None:  # a fixed batch is filled up
                taken += [taken[-1]] * (size - len(taken))
            yield taken

    def _batch_size(self, waiting: int) -> int:
        """How many of the pictures that wait go into the graph at once."""
        return self.manifest.batch or max(1, min(waiting, LARGEST_BATCH))

    def _detect_all(self, batches: Iterable[Sequence[Any]]) -> Iterator[Padded]:
        """The first graph on each batch; what it gives is valid until the next is asked for."""
        for rows in batches:
            yield self._detect(stacked(rows))

    def _found(self, padded: Padded, wanted: int) -> list[Detections]:
        """Of the first ``wanted`` pictures, if there are more."""
        kept = [
            int((scores[:count] > self.min_score).sum())
            for scores, count in zip(padded.scores[:wanted], padded.counts, strict=False)
        ]
        details = self._details_of(padded, kept)
        return [
            self._picture(padded, number, count, details[number])
            for number, count in enumerate(kept)
        ]

    def _details_of(self, padded: Padded, kept: Sequence[int]) -> list[Floats]:
        """Of the first rows of each picture, as many as are kept."""
        if padded.details is not None:
            rows = zip(padded.details, kept, strict=False)
            return [np.array(row[:count], np.float32) for row, count in rows]
        if self.manifest.kind == "boxes" or not any(kept):
            return [np.zeros((0, *self.detail_shape), np.float32)] * len(kept)
        labels = [row[:count] for row, count in zip(padded.labels, kept, strict=False)]
        every = self._details(padded.under, kept, np.concatenate(labels))
        return np.split(every, np.cumsum(kept)[:-1])

    def _picture(self, padded: Padded, number: int, count: int, details: Floats) -> Detections:
        boxes = np.array(padded.boxes[number, :count], np.float32)
        kind = self.manifest.kind
        return Detections(
            boxes=boxes,
            labels=np.array(padded.labels[number, :count], np.int64),
            scores=np.array(padded.scores[number, :count], np.float32),
            class_names=self.class_names,
            masks=details if kind == "masks" else None,
            keypoints=keypoints_of(details, boxes) if kind == "keypoints" else None,
        )

    @abstractmethod
    def _detect(self, pixels: Image) -> Padded:
        """The first graph, or the whole one, on pictures (N,H,W,3) uint8 RGB."""

    @abstractmethod
    def _details(self, under: Any, kept: Sequence[int], labels: Labels) -> Floats:
        """The second graph of a split file.

        Args:
            under: the first one's.
            kept: how many of the first rows of each picture; of the pictures that come after,
                if there are any, none.
            labels: (R,) of those rows, one picture after the other.

        Returns:
            (R,28,28) mask probabilities or (R,K,56,56) keypoint logits, which the caller may keep.
        """

    @abstractmethod
    def _release(self) -> None:
        """Forget the model."""
