"""The training loop: pictures, losses, gradients, one update after another."""

from __future__ import annotations

import contextlib
import math
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.transforms import v2

from models.data.samples import LabelledPictures
from models.errors import DataError, ModelError
from models.runtimes.heap import keep_freed_memory
from models.training.draws import DrawnBatches, DrawnSamples, collate, seed_of
from models.training.optimise import make_average, make_optimizer, make_schedule
from models.training.processes import Processes
from models.training.settings import TrainSettings

Batch = tuple[list[Tensor], list[dict[str, Tensor]]]


@dataclass(slots=True)
class Progress:
    """How far a run has come.

    Attributes:
        epoch: the current one, from 0.
        step: batches done of it.
        total_steps: batches done since the beginning.
    """

    epoch: int = 0
    step: int = 0
    total_steps: int = 0


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one step tells.

    Attributes:
        progress: after the step.
        losses: each part, and ``total``: means over all processes.
        lr: the heads' learning rate in this step.
        updated: whether it ended an update, or gradients are still being accumulated.
    """

    progress: Progress
    losses: dict[str, float]
    lr: float
    updated: bool


@dataclass
class Trainer:
    """A detector in training.

    Args:
        detector: any torchvision R-CNN.
        samples: what it learns from.
        transform: see ``models.data.augment``.
        settings: see there.
        processes: this process and its peers.
        workers: processes that read pictures; 0 does it in this one.
        network: gives the losses of pictures and targets; the detector itself when None.
    """

    detector: GeneralizedRCNN
    samples: LabelledPictures
    transform: v2.Transform
    settings: TrainSettings
    processes: Processes = field(default_factory=Processes)
    workers: int = 1
    network: nn.Module | None = None

    def __post_init__(self) -> None:
        settings, device = self.settings, torch.device(self.processes.device)
        keep_freed_memory()
        network = self.network or self.detector
        network.to(device)
        if not self.detector.roi_heads.has_keypoint():  # torchvision's keypoint loss needs it plain
            # 1.3 times as fast on a CPU
            network.to(memory_format=torch.channels_last)
        self.batches = DrawnBatches(
            len(self.samples),
            settings.batch_size,
            seed=settings.seed,
            rank=self.processes.rank,
            processes=self.processes.count,
        )
        self.progress = Progress()
        self.optimizer = make_optimizer(network, self.detector, settings)
        updates = settings.epochs * self.updates_per_epoch
        self.schedule = make_schedule(self.optimizer, settings, updates)
        decay = settings.ema_decay
        self.average = make_average(self.detector, decay) if decay else None
        self._precision = _autocast_dtype(settings.precision, device)
        self._scaler = torch.GradScaler(
            device.type, enabled=self._precision is torch.float16 and device.type != "mps"
        )
        self._trained = [p for p in network.parameters() if p.requires_grad]
        self._bare_network = network
        self._network = self.processes.wrap(network)

    @property
    def updates_per_epoch(self) -> int:
        """Updates of the weights in an epoch."""
        return -(-len(self.batches) // self.settings.accumulate)

    @property
    def evaluated(self) -> GeneralizedRCNN:
        """The detector as it would be used: with averaged weights, if they are averaged."""
        return self.detector if self.average is None else self.average.module

    def run(
        self,
        *,
        on_step: Callable[[StepReport], None],
        on_epoch: Callable[[int], None],
        stop: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Train to the end, or until ``stop`` says so.

        Args:
            on_step: called after each step.
            on_epoch: called after each epoch with the number of epochs done.
            stop: asked after each update, and before each epoch.

        Returns:
            Whether it came to the end.

        Raises:
            DataError: when a picture cannot be read, or a loss is no number, naming the picture.
            ModelError: if the device runs out of memory.
        """
        loader = DataLoader(
            DrawnSamples(self.samples, self.transform, seed=self.settings.seed),
            batch_sampler=self.batches,
            collate_fn=collate,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            worker_init_fn=one_quiet_thread if self.workers else None,
            pin_memory=self.processes.device.startswith("cuda"),
        )
        self._bare_network.train()
        while self.progress.epoch < self.settings.epochs:
            if self.processes.any(stop()):
                return False
            for report in self._epoch(loader):
                on_step(report)
                if report.updated and self.processes.any(stop()):
                    return False
            self.progress.epoch, self.progress.step = self.progress.epoch + 1, 0
            on_epoch(self.progress.epoch)
        return True

    def _epoch(self, loader: DataLoader[Any]) -> Iterator[StepReport]:
        self.batches.start_at(self.progress.epoch, self.progress.step)
        for batch in loader:
            if isinstance(batch, DataError):
                raise batch
            progress = self.progress
            last_of_epoch = progress.step + 1 == len(self.batches)
            update = last_of_epoch or (progress.step + 1) % self.settings.accumulate == 0
            lr = self.optimizer.param_groups[-1]["lr"]
            try:
                losses = self._step(batch, update=update)
            except torch.OutOfMemoryError as error:
                raise ModelError(
                    f"A batch does not fit into the memory of {self.processes.device}: give a "
                    "smaller --batch-size, with a larger --accumulate, or a smaller --canvas-side."
                ) from error
            progress.step += 1
            progress.total_steps += 1
            yield StepReport(progress, losses, lr, update)

    def _step(self, batch: Batch, *, update: bool) -> dict[str, float]:
        device = self.processes.device
        images = [image.to(device, non_blocking=True) for image in batch[0]]
        targets = [
            {name: value.to(device, non_blocking=True) for name, value in target.items()}
            for target in batch[1]
        ]
        settings = self.settings
        torch.manual_seed(seed_of(settings.seed, self.progress.total_steps, self.processes.rank))
        losses = self._losses(images, targets)
        parts = torch.stack(list(losses.values()))
        means = dict(zip(losses, self.processes.mean(parts.detach()).tolist(), strict=True))
        means["total"] = sum(means.values())
        if not math.isfinite(means["total"]):
            raise DataError(self._name_the_culprit(images, targets, means))
        self._scaler.scale(parts.sum() / settings.accumulate).backward()  # type: ignore[no-untyped-call]
        if update:
            self._update()
        return means

    def _losses(self, images: list[Tensor], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        with self._autocast():
            losses: dict[str, Tensor] = self._network(images, targets)
        return losses

    def _autocast(self) -> contextlib.AbstractContextManager[None]:
        if self._precision is torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(torch.device(self.processes.device).type, self._precision)

    def _update(self) -> None:
        self._scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self._trained, self.settings.max_gradient_norm)
        self._scaler.step(self.optimizer)
        scale = self._scaler.get_scale()
        self._scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self._scaler.get_scale() < scale:  # fp16 overflowed: the optimiser left the weights
            return
        self.schedule.step()
        if self.average is not None:
            self.average.update_parameters(self.detector)

    @torch.no_grad()
    def _name_the_culprit(
        self, images: list[Tensor], targets: list[dict[str, Tensor]], means: dict[str, float]
    ) -> str:
        """The sentence for a loss that is no number; each picture is tried alone."""
        parts = [name for name, value in means.items() if not math.isfinite(value)]
        parts.remove("total")
        paths = [self.samples.path(int(target["image_id"])) for target in targets]
        culprits = []
        for image, target, path in zip(images, targets, paths, strict=True):
            with self._autocast():
                alone = self._bare_network([image], [target])
            if not all(bool(loss.isfinite()) for loss in alone.values()):
                culprits.append(path.name)
        culprits = self.processes.gather(culprits)
        named = ", ".join(culprits or self.processes.gather([path.name for path in paths]))
        return (
            f"The loss became {means['total']} ({', '.join(parts)}) in epoch "
            f"{self.progress.epoch + 1}, step {self.progress.step + 1}, with {named}: check its "
            "labels, or lower the learning rate."
        )

    def state(self) -> dict[str, Any]:
        """All that a later process needs to go on as if nothing had happened."""
        return {
            "progress": [self.progress.epoch, self.progress.step, self.progress.total_steps],
            "network": self._bare_network.state_dict(),
            "average": {} if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a ``state()``; the settings must be the same."""
        self.progress = Progress(*state["progress"])
        self._bare_network.load_state_dict(state["network"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self._scaler.load_state_dict(state["scaler"])


def _autocast_dtype(precision: str, device: torch.device) -> torch.dtype:
    named = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if precision != "auto":
        return named[precision]
    if device.type != "cuda":
        return torch.float32
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if has_bf16 else torch.float16


def one_quiet_thread(worker: int) -> None:  # noqa: ARG001 - torch passes it
    """A reading process computes on one thread, and leaves signals to the one that trains.

    Ctrl-C and service managers signal the whole group, and a reader that dies fails the training.
    """
    torch.set_num_threads(1)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
