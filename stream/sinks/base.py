"""What every sink promises. A new sink is done when it passes the contract suite in tests."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from stream.observer import Observer
from stream.sources.base import SourceInfo
from stream.sources.tap import PacketTap

if TYPE_CHECKING:
    from stream.stages import Job


class Sink(Observer, ABC):
    """One output of the pipeline: a recording, a log, a window.

    All methods are called by one thread, but for those of ``Observer``. A sink makes its file when
    the first frame comes, so a run that never gets that far leaves nothing behind and an older
    file untouched.

    Attributes:
        name: for traces and messages.
        wants_picture: whether ``write`` reads ``job.picture``; a sink that is switched on and off
            may change it between two frames, and leaves out a frame that came without.
        tap: takes the source's packets, for this sink; None if it wants none.
    """

    name: str
    wants_picture: bool = False
    tap: PacketTap | None = None

    @property
    def may_want_picture(self) -> bool:
        """Whether ``wants_picture`` is ever true."""
        return self.wants_picture

    def open(self, info: SourceInfo) -> None:
        """Learn what is to come; called once, before the first frame."""

    @abstractmethod
    def write(self, job: Job) -> None:
        """Take one frame. The job is only lent; picture and detections may be kept.

        Raises:
            SinkError: in one sentence; what was written so far stays usable.
        """

    @abstractmethod
    def close(self) -> None:
        """Finish the output. Legal in every state, any number of times.

        Raises:
            SinkError: if the output could not be finished.
        """
