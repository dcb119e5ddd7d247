"""All stages on the caller's thread, a frame at a time: for debugging, with the same output."""

from __future__ import annotations

import time
from typing import Any

from stream.pipeline import Pipeline


class SerialPipeline(Pipeline):
    """Works only while ``wait`` is called; arguments as ``Pipeline``."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._error: BaseException | None = None
        self._started = self._ended = False

    def start(self) -> None:
        """See ``Pipeline.start``; the source is opened by the first ``wait``."""

    def stop(self) -> None:
        self._stop_requested.set()
        self._source.interrupt()

    def wait(self, timeout_seconds: float) -> bool:
        until = time.monotonic() + timeout_seconds
        try:
            while not self._ended:
                self._step()
                if time.monotonic() >= until:
                    break
        except BaseException as error:  # noqa: BLE001 - raised by finish()
            self._keep(error)
            self._end()
        return self._ended

    def finish(self) -> None:
        if self._error is not None:
            raise self._error
        self._check_ledger()

    def _step(self) -> None:
        if not self._started:
            self._started = True
            info = self._open_source()
            if info is None:
                self._end()
                return
            for stage in self._stages:
                stage.open(info)
        job = self._next_job()
        if job is None:
            self._end()
            return
        for stage in self._stages:
            if not self._process(stage, job):
                return

    def _end(self) -> None:
        self._ended = True
        for close in [stage.close for stage in self._stages] + [self._source.close]:
            try:
                close()
            except BaseException as error:  # noqa: BLE001 - the others must be closed too
                self._keep(error)

    def _keep(self, error: BaseException) -> None:
        self._error = self._error or error
