"""A build of TensorRT as it is seen and stopped: bars for its phases, and Ctrl-C."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Self, TypeVar

import tensorrt as trt
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

_Result = TypeVar("_Result")


class BuildProgress:
    """Bars in the terminal, for the length of the block.

    Args:
        console: where; None for nowhere.
        title: of the first bar.

    Attributes:
        monitor: what TensorRT reports to.
        is_cancelled: set it, and TensorRT stops after the step it is at.
    """

    def __init__(self, console: Console | None, title: str) -> None:
        self.is_cancelled = threading.Event()
        self.monitor = _Monitor(self)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=console is None or console.quiet,
        )
        self._title = title
        self._tasks: dict[str, TaskID] = {}

    def started(self, phase: str, parent: str | None, steps: int) -> None:
        """A phase begins."""
        name = f"  {phase}" if parent else f"{self._title}: {phase}"
        self._tasks[phase] = self._bars.add_task(name, total=steps)

    def completed(self, phase: str, step: int) -> None:
        """A step of it, counted from 0, is done."""
        if phase in self._tasks:
            self._bars.update(self._tasks[phase], completed=step + 1)

    def ended(self, phase: str) -> None:
        """It is over, or was given up."""
        if phase in self._tasks:
            self._bars.remove_task(self._tasks.pop(phase))

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()


class _Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # the package has no types
    """TensorRT calls these from threads of its own; rich's bars may be moved from any."""

    def __init__(self, progress: BuildProgress) -> None:
        trt.IProgressMonitor.__init__(self)
        self._progress = progress

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        self._progress.started(phase_name, parent_phase, num_steps)

    def step_complete(self, phase_name: str, step: int) -> bool:
        self._progress.completed(phase_name, step)
        return not self._progress.is_cancelled.is_set()

    def phase_finish(self, phase_name: str) -> None:
        self._progress.ended(phase_name)


def run_interruptibly(build: Callable[[], _Result], progress: BuildProgress) -> _Result:
    """Run a build so that Ctrl-C ends it: in the main thread, Python would see it afterwards.

    Raises:
        KeyboardInterrupt: once the build has stopped.
    """
    outcome: Future[_Result] = Future()

    def work() -> None:
        try:
            outcome.set_result(build())
        except BaseException as error:  # noqa: BLE001 - for the caller
            outcome.set_exception(error)

    thread = threading.Thread(target=work, name="tensorrt-build")
    try:
        thread.start()
        return outcome.result()
    except KeyboardInterrupt:
        progress.is_cancelled.set()
        raise
    finally:
        thread.join()
