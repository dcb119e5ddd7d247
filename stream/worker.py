"""One named thread. Nothing else in the project starts threads."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Worker:
    """Runs a function once on a thread of its own.

    The thread is a daemon: a read that never returns must not keep the process alive.

    Args:
        name: of the thread, for logs and debuggers.
        run: the whole work; it returns when its input ends and keeps its errors to itself.
    """

    def __init__(self, name: str, run: Callable[[], None]) -> None:
        self.name = name
        self._thread = threading.Thread(target=run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread; once."""
        self._thread.start()

    def join(self, timeout_seconds: float | None = None) -> bool:
        """Wait for the end; True if the thread has ended or was never started."""
        if self._thread.ident is not None:
            self._thread.join(timeout_seconds)
        return not self._thread.is_alive()
