"""A contender in a process of its own, so that none is helped or hindered by another's libraries.

OpenMP's threads of two libraries on the same cores wait for each other: up to 50 times as slow.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self


class Alone:
    """Calls in a process of its own, whenever it is called, what ``make`` gives there.

    Args:
        make: a function that another process can import. The first call waits for it, too.
    """

    def __init__(self, make: Callable[[], Callable[[], Any]]) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._asking, answering = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(answering, make), daemon=True)
        self._process.start()
        answering.close()

    def __call__(self) -> Any:
        """What a call gives there."""
        self._asking.send(None)
        return self._asking.recv()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._asking.close()
        self._process.join(timeout=10)


def _serve(answering: Connection, make: Callable[[], Callable[[], Any]]) -> None:
    call = make()
    while True:
        try:
            answering.recv()
        except EOFError:  # the program is done
            return
        answering.send(call())
