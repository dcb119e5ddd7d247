"""Run a detector over labelled pictures and say how good and how fast it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from models.data.samples import BACKGROUND, LabelledPictures, as_image
from models.errors import DataError, UsageError
from models.evaluation.mistakes import Mistakes, find_mistakes
from models.evaluation.rows import Row, result_rows, truth_rows
from models.evaluation.score import COCO_KEYPOINTS, Scores, read_scores, run_coco
from models.evaluation.timing import STAGES, Latency, TimedDetection, timed_detect
from models.runtimes.base import Runtime

_NO_CLASS = (BACKGROUND, "N/A")  # torchvision's COCO list calls numbers that COCO skips N/A
_NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What came of it.

    Attributes:
        scores: by kind: ``box``, ``mask``, ``keypoints``, those that model and data both have.
        mistakes: misses and false alarms.
        class_names: what was scored: the classes that model and data have in common.
        model_only: classes of the model that the data does not label; their detections are not
            counted.
        data_only: classes of the data that the model does not know; their objects are not counted.
        notes: what was left out and why, a sentence each.
        picture_names: file name of each picture, without its folder.
        objects: labelled objects of the common classes, crowds left out.
        crowds: groups labelled as one; detections on them count as neither right nor wrong.
        latency: by stage, see ``STAGES``; reading the pictures is not in it.
        milliseconds: of each picture, all stages together.
        canvas_size: (width, height) px of the largest canvas.
    """

    scores: dict[str, Scores]
    mistakes: Mistakes
    class_names: tuple[str, ...]
    model_only: tuple[str, ...]
    data_only: tuple[str, ...]
    notes: tuple[str, ...]
    picture_names: tuple[str, ...] = field(repr=False)
    objects: int
    crowds: int
    latency: dict[str, Latency]
    milliseconds: tuple[float, ...] = field(repr=False)
    canvas_size: tuple[int, int]


def evaluate(
    runtime: Runtime,
    pictures: LabelledPictures,
    *,
    warm_up: int = 3,
    report_score: float = 0.5,
    on_picture: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Score and time a detector.

    Classes of the model and of the data are matched by name.

    Args:
        runtime: the detector; its own least score should be low (0.05), as average precision
            wants the uncertain detections as well.
        pictures: what it should find.
        warm_up: so many pictures are run once beforehand, uncounted.
        report_score: least score of a detection that can be a false alarm or prevent a miss.
        on_picture: told how many pictures are done, of how many.

    Raises:
        DataError: if there is no picture.
        UsageError: if model and data have no class in common.
    """
    if len(pictures) == 0:
        raise DataError("There are no pictures to evaluate on.")
    names = _common_names(runtime.class_names, pictures.class_names)
    for index in range(min(warm_up, len(pictures))):
        runtime.detect(as_image(pictures[index][0]))
    tally = _Tally(names, runtime.class_names, pictures.class_names)
    for index in range(len(pictures)):
        picture, target = pictures[index]
        tally.add(timed_detect(runtime, as_image(picture)), target, size=_size(picture))
        if on_picture is not None:
            on_picture(index + 1, len(pictures))
    return _conclude(tally, pictures, report_score)


class _Tally:
    """Collects COCO rows and times, picture by picture."""

    def __init__(
        self, names: tuple[str, ...], model_names: tuple[str, ...], data_names: tuple[str, ...]
    ) -> None:
        self.names = names
        self.model_only = _others(model_names, names)
        self.data_only = _others(data_names, names)
        category = {name: number for number, name in enumerate(names, 1)}
        self._of_found, self._of_truth = (
            {label: category[name] for label, name in enumerate(every) if name in category}
            for every in (model_names, data_names)
        )
        self.images: list[Row] = []
        self.truths: list[Row] = []
        self.results: dict[str, list[Row]] = {"box": []}
        self.milliseconds: dict[str, list[float]] = {stage: [] for stage in STAGES}
        self.canvas_size = (0, 0)
        self.keypoint_count = 0

    def add(
        self, timed: TimedDetection, target: dict[str, Tensor], *, size: tuple[int, int]
    ) -> None:
        image_id = len(self.images) + 1
        self.images.append({"id": image_id, "width": size[0], "height": size[1]})
        for row in truth_rows(target, image_id, self._of_truth):
            self.truths.append({"id": len(self.truths) + 1, **row})
        found = result_rows(timed.found, image_id, self._of_found, size)
        for kind, rows in found.items():
            self.results.setdefault(kind, []).extend(rows)
        for stage, value in timed.milliseconds.items():
            self.milliseconds[stage].append(value)
        self.canvas_size = max(self.canvas_size, timed.canvas_size, key=math.prod)
        if timed.found.keypoints is not None:
            self.keypoint_count = timed.found.keypoints.shape[1]


def _conclude(tally: _Tally, pictures: LabelledPictures, report_score: float) -> Evaluation:
    kinds, notes = _kinds(tally, pictures)
    scorers = {
        kind: run_coco(kind, tally.images, tally.names, tally.truths, tally.results[kind])
        for kind in kinds
    }
    crowds = sum(row["iscrowd"] for row in tally.truths)
    return Evaluation(
        scores={kind: read_scores(kind, scorer, tally.names) for kind, scorer in scorers.items()},
        mistakes=find_mistakes(scorers["box"], tally.names, score=report_score),
        class_names=tally.names,
        model_only=tally.model_only,
        data_only=tally.data_only,
        notes=notes,
        picture_names=tuple(pictures.path(index).name for index in range(len(pictures))),
        objects=len(tally.truths) - crowds,
        crowds=crowds,
        latency={stage: Latency.of(values) for stage, values in tally.milliseconds.items()},
        milliseconds=tuple(tally.milliseconds["total"]),
        canvas_size=tally.canvas_size,
    )


def _kinds(tally: _Tally, pictures: LabelledPictures) -> tuple[list[str], tuple[str, ...]]:
    """The kinds that can be scored, and a sentence on each that only one side has."""
    kinds, notes = ["box"], []
    sides = {
        "mask": ("mask" in tally.results, pictures.has_masks),
        "keypoints": ("keypoints" in tally.results, bool(pictures.keypoint_names)),
    }
    for kind, (of_model, of_data) in sides.items():
        if of_model and of_data:
            kinds.append(kind)
        elif of_model or of_data:
            title = {"mask": "Masks", "keypoints": "Keypoints"}[kind]
            notes.append(f"{title} are not scored: the {'data' if of_model else 'model'} has none.")
    counts = {tally.keypoint_count, len(pictures.keypoint_names)}
    if "keypoints" in kinds and counts != {COCO_KEYPOINTS}:
        kinds.remove("keypoints")
        notes.append(
            f"Keypoints are not scored: COCO's measure is defined for {COCO_KEYPOINTS} keypoints, "
            f"the model has {tally.keypoint_count} and the data {len(pictures.keypoint_names)}."
        )
    return kinds, tuple(notes)


def _common_names(model_names: Sequence[str], data_names: Sequence[str]) -> tuple[str, ...]:
    common = tuple(name for name in _others(data_names, ()) if name in model_names)
    if not common:
        raise UsageError(
            f"The model finds {_shorten(_others(model_names, ()))}, the data labels "
            f"{_shorten(_others(data_names, ()))}: they have no class in common, so use another "
            "model or other data."
        )
    return common


def _others(names: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Every real class once, in order, without those in ``known``."""
    return tuple(name for name in dict.fromkeys(names) if name not in (*_NO_CLASS, *known))


def _shorten(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN]) or "nothing"
    rest = len(names) - _NAMES_SHOWN
    return f"{shown} and {rest} more" if rest > 0 else shown


def _size(picture: Tensor) -> tuple[int, int]:
    height, width = picture.shape[-2:]
    return width, height
