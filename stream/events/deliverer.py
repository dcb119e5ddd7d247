"""What every way to deliver events promises. A new one has to pass the tests of all."""

from __future__ import annotations

import importlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import ModuleType

from stream.errors import UsageError
from stream.events.spool import SpooledEvent

CONNECT_SECONDS = 2.0  # that a connection may take
ANSWER_SECONDS = 10.0  # that a receiver may take to confirm


class DeliveryFailed(Exception):
    """Not everything was confirmed.

    Args:
        reason: a sentence's part without credentials, such as "it does not answer".
        delivered: how many of the events, from the first, were confirmed nevertheless.
        is_refused: the event after those will never be taken, however often it is tried.
        wait_seconds: the receiver asks to be left alone for so long.
    """

    def __init__(
        self,
        reason: str,
        delivered: int = 0,
        *,
        is_refused: bool = False,
        wait_seconds: float = 0.0,
    ) -> None:
        super().__init__(reason)
        self.delivered, self.is_refused, self.wait_seconds = delivered, is_refused, wait_seconds


class Deliverer(ABC):
    """Brings events to one receiver.

    All methods but ``interrupt`` are called by one thread. A connection is made when the first
    events come, and again after any failure; none is made by the constructor.

    Attributes:
        name: what to call the receiver in messages: its address without credentials.
        batch: how many events ``deliver`` wants at most.
    """

    name: str
    batch: int = 100

    def __init__(self) -> None:
        self._interrupted = threading.Event()

    @abstractmethod
    def deliver(self, events: Sequence[SpooledEvent]) -> None:
        """Return once the receiver has confirmed all of them, in order.

        Raises:
            DeliveryFailed: whatever went wrong; the next call starts afresh.
        """

    def idle(self) -> None:
        """Keep an open connection alive; called about once a second while there is nothing."""

    def interrupt(self) -> None:
        """Make a ``deliver`` that waits for the network fail soon; from any thread."""
        self._interrupted.set()

    @abstractmethod
    def close(self) -> None:
        """End the connection, within a second. Legal in every state, any number of times."""


def need(module: str, library: str, what: str) -> ModuleType:
    """A library that is only there if it was asked for.

    Raises:
        UsageError: if it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"{what} needs a library that is not installed: pip install {library}"
        ) from error
