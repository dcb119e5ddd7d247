"""All cameras of a configuration, and how they follow it when it changes."""

from __future__ import annotations

import time
from collections.abc import Callable

from stream.batcher import BatcherStatistics
from stream.camera import Camera
from stream.config import CameraSettings, Config
from stream.control.controls import Controls
from stream.errors import ThreadLeftBehind
from stream.model_pool import ModelPool
from stream.monitor.snapshot import FAILED, Accounts, CameraSnapshot
from stream.threaded import STOP_SECONDS

MODEL_SECONDS = 1.0  # what is left of a stop for the models, once the cameras have ended


class Fleet:
    """Cameras that share models. All methods but the snapshots are called by one thread.

    Args:
        config: what to begin with.
        notice: told in a sentence what takes long, and which runtime was chosen.
        controls: that cameras join as they come, and leave; None for none.
    """

    def __init__(
        self, config: Config, notice: Callable[[str], None], controls: Controls | None = None
    ) -> None:
        self._controls = controls
        self._pool = ModelPool(
            max_batch=config.max_batch, batch_wait_ms=config.batch_wait_ms, notice=notice
        )
        self._accounts: dict[str, Accounts] = {}
        self._cameras: dict[str, Camera] = {}
        self._leaving: list[Camera] = []
        self._next: dict[str, CameraSettings] = {}  # to start when the one of that name has ended
        self._left_behind: list[str] = []
        self.apply(config)

    def apply(self, config: Config) -> str:
        """Start, stop and change what differs, and try again what failed. Returns at once.

        No other camera notices.

        Returns:
            what was done, in a sentence.
        """
        self._pool.configure(config.max_batch, config.batch_wait_ms)
        old = {name: camera.settings for name, camera in self._cameras.items()} | self._next
        new = dict(config.cameras)
        removed = [name for name in old if name not in new]
        changed = [name for name in new if name in old and new[name] != old[name]]
        failed = {name for name, one in self._cameras.items() if one.status().state == FAILED}
        again = [name for name in new if name in failed and name not in changed]
        added = [name for name in new if name not in old]
        if self._controls is not None:
            for name in removed:
                self._controls.remove(name)
        for name in (*removed, *changed, *again):
            self._next.pop(name, None)
            if name in self._cameras:
                self._cameras[name].stop()
                self._leaving.append(self._cameras.pop(name))
        self._next |= {name: new[name] for name in (*changed, *again, *added)}
        self.pump()
        done = (
            ("added", added),
            ("changed", changed),
            ("tried again", again),
            ("removed", removed),
        )
        parts = [f"{verb} {', '.join(names)}" for verb, names in done if names]
        return "; ".join(parts) or "no camera changed"

    def pump(self) -> None:
        """See to cameras that leave or are to come. Call often."""
        for camera in [camera for camera in self._leaving if camera.join(0)]:
            self._leaving.remove(camera)
            self._left_behind += camera.left_behind
        busy = {camera.name for camera in self._leaving}
        for name in [name for name in self._next if name not in busy]:
            accounts = self._accounts.setdefault(name, Accounts())
            camera = Camera(name, self._next.pop(name), self._pool, accounts, self._controls)
            self._cameras[name] = camera
            camera.start()

    @property
    def has_ended(self) -> bool:
        """Whether no camera runs any more, nor will."""
        running = [*self._cameras.values(), *self._leaving]
        return not self._next and all(camera.join(0) for camera in running)

    def snapshots(self) -> list[CameraSnapshot]:
        """Of every camera; from any thread."""
        return [camera.snapshot() for camera in list(self._cameras.values())]

    def models(self) -> list[BatcherStatistics]:
        """Of every model in use; from any thread."""
        return self._pool.statistics()

    def accounts(self) -> dict[str, Accounts]:
        """Of every camera there ever was, by name; from any thread."""
        return dict(self._accounts)

    def stop(self) -> None:
        """End everything in order, within 5 s.

        Raises:
            ThreadLeftBehind: if a thread did not end in that time.
        """
        until = time.monotonic() + STOP_SECONDS
        self._next.clear()
        ending = [*self._cameras.values(), *self._leaving]
        for camera in ending:
            camera.stop()
        left = list(self._left_behind)
        for camera in ending:
            # a pipeline names its own threads that do not end, just after its 5 s
            if not camera.join(max(0.5, until - time.monotonic())):
                left.append(f"{camera.thread_name} did not stop within {STOP_SECONDS:g} s.")
            left += camera.left_behind
        models = self._pool.close(max(MODEL_SECONDS, until - time.monotonic()))
        left += [f"{name} did not stop within {STOP_SECONDS:g} s." for name in models]
        self._leaving.clear()
        if left:
            raise ThreadLeftBehind(" ".join(dict.fromkeys(left)))
