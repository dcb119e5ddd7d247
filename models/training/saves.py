"""What a run leaves in its folder, each file whole at any moment."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from models.errors import RcnnLiveError, UsageError
from models.paths import check_writable
from models.training.settings import TrainSettings

BEST, LAST, STATE = "best.safetensors", "last.safetensors", "state.pt"


def save_weights(
    model: nn.Module, class_names: tuple[str, ...], path: Path, *, half: bool = False
) -> None:
    """Weights with the class names inside, as ``--weights`` takes them.

    Args:
        model: any module.
        class_names: background first.
        path: a .safetensors file.
        half: fp16, half the size.
    """
    state = {
        name: (value.half() if half and value.is_floating_point() else value).cpu().contiguous()
        for name, value in model.state_dict().items()
    }
    metadata = {"classes": json.dumps(class_names)}
    _replace(path, lambda part: save_file(state, part, metadata))


class RunFolder:
    """One run's folder: ``best``, ``last`` and the state to resume from.

    Args:
        path: made if it is not there.
        identity: what a resumed run must have in common: the data, the model, the settings.
    """

    def __init__(self, path: Path, identity: dict[str, str]) -> None:
        self.path, self.identity = path, identity

    def open(self, *, resume: bool) -> dict[str, Any] | None:
        """Make the folder, or find the state of the run in it.

        Returns:
            What ``Trainer.load_state`` takes, or None for a new run.

        Raises:
            UsageError: if there is a run and it is not to be resumed, or the other way round, or
                if it was started otherwise, or if the folder takes no files.
        """
        state_file = self.path / STATE
        if resume:
            state = self._read(state_file)
            check_writable(state_file, "--output", replaced=True)
            return state
        if state_file.exists():
            raise UsageError(
                f"{self.path} holds a training run: add --resume to go on with it, or give another "
                "--output."
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{self.path} cannot be made: {error.strerror}.") from error
        check_writable(state_file, "--output", replaced=True)
        return None

    def _read(self, state_file: Path) -> dict[str, Any]:
        if not state_file.is_file():
            raise UsageError(f"{self.path} holds no training run to resume: leave out --resume.")
        try:
            saved = torch.load(state_file, map_location="cpu", weights_only=True)
            identity, state = saved["identity"], saved["trainer"]
        except Exception as error:  # damaged bytes make the unpickler fail in any way
            raise UsageError(
                f"{state_file} is damaged: start anew from {LAST} with --weights."
            ) from error
        differing = [
            f"{name} was {identity.get(name)}, not {value}"
            for name, value in self.identity.items()
            if identity.get(name) != value
        ]
        if differing:
            raise UsageError(
                f"The run in {self.path} was started otherwise ({'; '.join(differing)}): repeat "
                "its options, or start another with another --output."
            )
        return dict(state)

    def save_state(self, state: dict[str, Any]) -> None:
        """Keep a ``Trainer.state()``."""
        content = {"identity": self.identity, "trainer": state}
        _replace(self.path / STATE, lambda part: torch.save(content, part))


def identity_of(settings: TrainSettings, **more: str) -> dict[str, str]:
    """The settings, and whatever else decides what a run learns, as text."""
    return {**more, **{name: str(value) for name, value in asdict(settings).items()}}


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside, then move: an interruption leaves the old file.

    Raises:
        RcnnLiveError: if it cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        write(part)
        part.chmod(0o644)  # safetensors makes it private
        part.replace(path)
    except (OSError, RuntimeError, SafetensorError) as error:  # each writer's own, disk full
        reason = getattr(error, "strerror", None) or "is the disk full?"
        raise RcnnLiveError(
            f"{path} cannot be written: {reason}; what was saved before is still there."
        ) from error
    finally:
        part.unlink(missing_ok=True)
