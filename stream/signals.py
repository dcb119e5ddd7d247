"""Signals become names in a list, for the main thread to see to between two other things."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def signals_into(requests: list[str], *, reload: bool = False) -> Iterator[None]:
    """Append the name of every Ctrl-C and SIGTERM; a second Ctrl-C no longer waits.

    Args:
        requests: gets ``SIGINT``, ``SIGTERM`` and ``SIGHUP``.
        reload: whether SIGHUP is one of them, where there is such a thing.

    Raises:
        KeyboardInterrupt: in the main thread, at the second Ctrl-C.
    """

    def ask(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and signal.SIGINT.name in requests:
            raise KeyboardInterrupt
        requests.append(signal.Signals(number).name)

    numbers = [signal.SIGINT, signal.SIGTERM]
    if reload and hasattr(signal, "SIGHUP"):
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
