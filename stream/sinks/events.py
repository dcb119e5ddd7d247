"""What was found in each frame, one JSON line a frame, the same in every run over the same file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.detections import Detections
from models.roi_masks import to_rle
from stream.sinks.base import Sink
from stream.sinks.json_lines import JsonLines

if TYPE_CHECKING:
    from stream.stages import Job


class EventLog(Sink):
    """Writes ``{"source", "index", "pts_seconds", "size": [w, h], "detections": [...]}`` a frame.

    A detection is ``{"label", "score", "box": [x1, y1, x2, y2]}`` in source px, ``keypoints`` as
    [x, y, score] rows for a model that has them, and ``mask`` as COCO RLE if asked for.

    Args:
        target: a path, or ``-`` for standard output.
        masks: add each mask.
    """

    name = "events"

    def __init__(self, target: str, *, masks: bool = False) -> None:
        self._lines, self._masks = JsonLines(target, "--events"), masks

    def write(self, job: Job) -> None:
        assert job.detections is not None
        frame = job.frame
        self._lines.write(
            {
                "source": frame.source_id,
                "index": frame.index,
                "pts_seconds": round(frame.pts_seconds, 6),
                "size": list(frame.size),
                "detections": self._rows(job.detections, frame.size),
            }
        )

    def _rows(self, found: Detections, size: tuple[int, int]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for i, name in enumerate(found.names()):
            row: dict[str, Any] = {
                "label": name,
                "score": round(float(found.scores[i]), 4),
                "box": [round(float(side), 2) for side in found.boxes[i]],
            }
            if found.keypoints is not None:
                row["keypoints"] = found.keypoints[i].round(2).tolist()
            if self._masks and found.masks is not None:
                row["mask"] = to_rle(found.masks[i], found.boxes[i], size)
            rows.append(row)
        return rows

    def close(self) -> None:
        self._lines.close()
