"""One training run from its data to its best weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.console import Console
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN

from models import zoo
from models.data.augment import augmentation
from models.data.copy_paste import CopyPaste
from models.data.open import DataParts, open_data
from models.data.samples import LabelledPictures
from models.errors import DataError
from models.evaluation.evaluate import evaluate
from models.runtimes.torch_eager import TorchEager, pick_device
from models.training.board import Board
from models.training.draws import DrawnSamples
from models.training.loop import Progress, StepReport, Trainer
from models.training.processes import Processes, join_processes
from models.training.progress import TrainingView
from models.training.saves import BEST, LAST, RunFolder, identity_of, save_weights
from models.training.settings import TrainSettings
from models.training.start import start_from

LEAST_SCORE = 0.05  # of detections in validation: average precision wants the uncertain ones
JITTER = 0.7, 1.1  # of the canvas side, in steps of 32 px


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """What a run is asked to do.

    Attributes:
        data, images, validation_count: see ``models.data.open.open_data``.
        model, weights, from_scratch: see ``models.training.start.start_from``.
        output: folder of everything the run leaves.
        resume: go on with the run in that folder.
        device: see ``pick_device``.
        workers: processes that read pictures.
        augment: see ``augmentation``.
        copy_paste: share of the training pictures that get objects of others.
        canvas_side: shorter side in px, None for the model's own.
        scale_jitter: whether training varies it.
        evaluate_every: epochs between two validations; the last is always validated.
        tensorboard: whether to write event files.
        max_steps: stop, as if interrupted, after so many.
        settings: see there.
    """

    data: Path
    model: str = zoo.EMBEDDED
    output: Path
    images: Path | None = None
    validation_count: int | None = None
    weights: Path | None = None
    from_scratch: bool = False
    resume: bool = False
    device: str = "auto"
    workers: int = 1
    augment: str = "standard"
    copy_paste: float = 0.0
    canvas_side: int | None = None
    scale_jitter: bool = True
    evaluate_every: int = 1
    tensorboard: bool = True
    max_steps: int | None = None
    settings: TrainSettings = field(default_factory=TrainSettings)

    def identity(self, parts: DataParts, processes: Processes) -> dict[str, str]:
        """What a resumed run must have in common with the interrupted one."""
        names = ("model", "from_scratch", "augment", "copy_paste", "canvas_side", "scale_jitter")
        own = {name: str(getattr(self, name)) for name in names}
        own["classes"] = ", ".join(parts.train.class_names[1:])
        own["pictures"] = f"{len(parts.train)} and {len(parts.validation)} held out"
        own["processes"] = str(processes.count)
        return identity_of(self.settings, data=self.data.resolve().name, **own)


@dataclass(frozen=True, slots=True)
class TrainOutcome:
    """How a run ended.

    Attributes:
        finished: whether it came to the end.
        epochs: done.
        best: what the best weights scored in validation, by name; empty without validation.
        is_first: whether this process is the one that validated, saved and reports.
    """

    finished: bool
    epochs: int
    best: dict[str, float]
    is_first: bool = True


def train(
    request: TrainRequest, console: Console, *, stop: Callable[[], bool] = lambda: False
) -> TrainOutcome:
    """Train, validate and save.

    Args:
        request: what to do.
        console: where progress is shown; the first process's alone is used.
        stop: asked after each update; a stopped run can be resumed.

    Raises:
        UsageError: if the request contradicts itself, the data or what is in the folder.
        DataError: if the data is damaged, or a loss is no number.
        ModelError: if the weights to start from cannot be had, or memory runs out.
        RcnnLiveError: if the folder takes no more files.
    """
    parts = open_data(
        request.data,
        images=request.images,
        keypoints="keypoint" in request.model,
        validation_count=request.validation_count,
    )
    _check_objects(parts)
    with ExitStack() as stack:
        processes = stack.enter_context(join_processes(pick_device(request.device)))
        if not processes.is_first:
            console = Console(quiet=True)
        session = _Session(request, parts, processes)
        folder = request.output if request.tensorboard and processes.is_first else None
        steps = session.trainer.progress.total_steps
        session.board = stack.enter_context(Board(folder and folder / "tensorboard", done=steps))
        session.view = stack.enter_context(
            TrainingView(
                console,
                epochs=request.settings.epochs,
                steps_per_epoch=len(session.trainer.batches),
                first_step=steps,
            )
        )
        return session.run(stop)


def _check_objects(parts: DataParts) -> None:
    if not any(len(parts.train[index][1]["labels"]) for index in range(len(parts.train))):
        raise DataError(f"The training part of {parts.source} has no object: check its labels.")


class _StopAskedError(Exception):
    """Stopping was asked for during a validation."""


class _Session:
    """A trainer with everything around it."""

    board: Board
    view: TrainingView
    stop: Callable[[], bool]

    def __init__(self, request: TrainRequest, parts: DataParts, processes: Processes) -> None:
        self.request, self.parts, self.processes = request, parts, processes
        self.class_names = parts.train.class_names
        self.folder = RunFolder(request.output, request.identity(parts, processes))
        saved = self.folder.open(resume=request.resume)
        torch.manual_seed(request.settings.seed)  # of new predictors, or all the weights
        detector = start_from(
            request.model, parts.train, request.weights, from_scratch=request.from_scratch
        )
        self.canvas_side = _set_sides(detector, request)
        self.trainer = Trainer(
            detector,
            _pasted(parts.train, request.copy_paste),
            augmentation(request.augment, keypoint_names=parts.train.keypoint_names),
            request.settings,
            processes,
            workers=request.workers,
        )
        self.best: dict[str, float] = {}
        self.sums: dict[str, float] = {}
        if saved is not None:
            self.best, self.sums = saved.pop("best"), saved.pop("sums")
            self.trainer.load_state(saved)

    def run(self, stop: Callable[[], bool]) -> TrainOutcome:
        self.stop = stop
        trainer, limit = self.trainer, self.request.max_steps
        if limit is not None and limit >= self.request.settings.epochs * len(trainer.batches):
            limit = None  # it comes to the end, with its validation
        self.view.sums = self.sums
        classes = len(self.class_names) - 1
        self.view.say(
            f"{self.request.model}: {len(self.parts.train)} pictures to learn from, "
            f"{len(self.parts.validation)} to validate, {classes} "
            f"{'class' if classes == 1 else 'classes'}, on {self.processes.count} x "
            f"{self.processes.device}; everything goes to {self.request.output}"
        )
        if trainer.progress.total_steps == 0:
            samples = DrawnSamples(trainer.samples, trainer.transform, seed=trainer.settings.seed)
            self.board.samples(samples)
        finished = trainer.run(
            on_step=self._step,
            on_epoch=self._epoch,
            stop=lambda: stop() or (limit is not None and trainer.progress.total_steps >= limit),
        )
        if not finished:
            self._save()
        return TrainOutcome(
            finished, trainer.progress.epoch, self.best, is_first=self.processes.is_first
        )

    def _step(self, report: StepReport) -> None:
        self.view.step(report)
        self.board.step(report)

    def _epoch(self, epoch: int) -> None:
        due = epoch % self.request.evaluate_every == 0 or epoch == self.request.settings.epochs
        figures: dict[str, float] = {}
        stopped = False
        if self.processes.is_first and due and len(self.parts.validation):
            try:
                figures = self._validate()
            except _StopAskedError:
                stopped = True
        if not stopped:
            self.view.epoch(epoch, figures)
            self._save()
        trainer = self.trainer
        if self.processes.any(stopped):  # meanwhile, the others waited here
            # as after the last step: a resumed run begins with this validation
            trainer.progress = Progress(
                epoch - 1, len(trainer.batches), trainer.progress.total_steps
            )

    def _on_picture(self, _done: int, _of: int) -> None:
        """A validation takes longer than whoever stops a process may wait before it is killed."""
        if self.stop():
            raise _StopAskedError

    def _validate(self) -> dict[str, float]:
        """Score the detector; keep its weights if they are the best so far."""
        detector = copy.deepcopy(self.trainer.evaluated).eval()
        detector.transform.min_size = (self.canvas_side,)
        loaded = zoo.LoadedModel(self.request.model, detector, self.class_names)
        runtime = TorchEager(loaded, min_score=LEAST_SCORE, device=self.processes.device)
        with runtime:
            scores = evaluate(
                runtime, self.parts.validation, warm_up=0, on_picture=self._on_picture
            ).scores
            self.board.found(runtime, self.parts.validation, self.trainer.progress.total_steps)
        figures = {
            f"{kind} {name}": score.table[measure] or 0.0
            for kind, score in scores.items()
            for name, measure in (("AP@0.5", "ap50"), ("AP", "ap"))
        }
        self.board.scores(figures, self.trainer.progress.total_steps)
        # of equals the later one: at first, all of them score 0
        if not self.best or _decisive(figures) >= _decisive(self.best):
            self.best = figures
            save_weights(self.trainer.evaluated, self.class_names, self.folder.path / BEST)
        return figures

    def _save(self) -> None:
        if self.processes.is_first:
            save_weights(self.trainer.evaluated, self.class_names, self.folder.path / LAST)
            outer = {"best": self.best, "sums": self.view.sums}
            self.folder.save_state({**self.trainer.state(), **outer})


def _decisive(figures: dict[str, float]) -> float:
    """AP of the most demanding kind there is."""
    return next(
        figures[f"{kind} AP"] for kind in ("mask", "keypoints", "box") if f"{kind} AP" in figures
    )


def _pasted(samples: LabelledPictures, share: float) -> LabelledPictures:
    return CopyPaste(samples, probability=share) if share else samples


def _set_sides(detector: GeneralizedRCNN, request: TrainRequest) -> int:
    """Let training vary the canvas; returns the side in px that validation uses."""
    transform = detector.transform
    own = int(transform.min_size[-1])
    side = request.canvas_side or own
    transform.max_size = round(transform.max_size * side / own)
    low, high = (round(side * factor / 32) * 32 for factor in JITTER)
    sides = tuple(range(low, high + 1, 32)) if request.scale_jitter else (side,)
    transform.min_size = sides
    return side
