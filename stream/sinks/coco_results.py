"""What was found as COCO results, so that a run over a labelled video can be scored."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from models.detections import Detections
from models.paths import check_writable
from models.roi_masks import to_rle
from stream.errors import SinkError
from stream.sinks.base import Sink

if TYPE_CHECKING:
    from stream.stages import Job

SUFFIX = ".coco.json"
_VISIBLE = 2  # COCO's word for a keypoint that is there


class CocoResults(Sink):
    """Writes one JSON array: ``image_id`` is the frame's index, ``category_id`` the model's label.

    Each object has ``bbox`` (x, y, width, height px), ``score``, and ``segmentation`` and
    ``keypoints`` where the model has them. While it runs, the array grows in ``.NAME.part``; it
    gets its name when it is whole, so a run that is killed leaves the older file.

    Args:
        path: ends in ``.coco.json``.

    Raises:
        UsageError: if the file cannot be written.
    """

    name = "coco"

    def __init__(self, path: Path) -> None:
        self._path = check_writable(path, "--events", replaced=True)
        self._part = path.with_name(f".{path.name}.part")
        self._file: TextIO | None = None
        self._is_first = True

    def write(self, job: Job) -> None:
        assert job.detections is not None
        try:
            if self._file is None:
                self._file = self._part.open("w", encoding="utf-8")
                self._file.write("[")
            for row in _rows(job.frame.index, job.detections, job.frame.size):
                self._file.write("\n" if self._is_first else ",\n")
                self._file.write(json.dumps(row, separators=(",", ":")))
                self._is_first = False
        except OSError as error:
            raise self._failure(error) from error

    def close(self) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        try:
            with file:
                file.write("\n]\n")
            self._part.replace(self._path)
        except OSError as error:
            self._part.unlink(missing_ok=True)
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> SinkError:
        if self._file is not None:
            file, self._file = self._file, None
            with contextlib.suppress(OSError):  # the disk is as full as before
                file.close()
            self._part.unlink(missing_ok=True)
        return SinkError(f"--events {self._path} cannot be written: {error.strerror}.")


def _rows(index: int, found: Detections, size: tuple[int, int]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for i in range(len(found)):
        x1, y1, x2, y2 = (float(side) for side in found.boxes[i])
        row: dict[str, Any] = {
            "image_id": index,
            "category_id": int(found.labels[i]),
            "bbox": [round(x1, 2), round(y1, 2), round(x2 - x1, 2), round(y2 - y1, 2)],
            "score": round(float(found.scores[i]), 5),
        }
        if found.masks is not None:
            row["segmentation"] = to_rle(found.masks[i], found.boxes[i], size)
        if found.keypoints is not None:
            row["keypoints"] = [
                number
                for x, y, _ in found.keypoints[i].round(2).tolist()
                for number in (x, y, _VISIBLE)
            ]
        rows.append(row)
    return rows
