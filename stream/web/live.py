"""Live pictures for any number of viewers: each frame is encoded once for all who want that form.

    pipeline ─ LiveView ─▶ newest frame ─ encoder thread ─▶ event loop ─▶ viewers

A viewer asks for a frame newer than its last one whenever it can take one. So a slow viewer gets
fewer frames, the newest there are, and nothing waits in a queue; a frame nobody asked for is not
encoded, and a camera nobody watches has no encoder thread. Neither the pipeline nor the event loop
ever waits for an encoding.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from dataclasses import dataclass

from stream.sinks.live_view import LiveView
from stream.web.encode import Encoded, Form, encode
from stream.worker import Worker

logger = logging.getLogger(__name__)

IDLE_SECONDS = 2.0  # without a viewer, until the encoder thread ends
CLOSE_SECONDS = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    form: Form
    after: int  # number of the frame that the viewer has
    answer: asyncio.Future[Encoded]


class LiveHub:
    """Hands out the frames of one camera.

    Args:
        view: of the camera.
        loop: that all viewers run in.
    """

    def __init__(self, view: LiveView, loop: asyncio.AbstractEventLoop) -> None:
        self.view, self._loop = view, loop
        self._changed = threading.Condition()
        # below: read and written under the condition's lock
        self._requests: list[_Request] = []
        self._worker: Worker | None = None
        self._is_closed = False
        # below: of the encoder thread
        self._kept_number = 0
        self._kept: dict[Form, Encoded] = {}  # of the frame of that number

    async def next(self, form: Form, after: int, timeout_seconds: float) -> Encoded | None:
        """The newest frame in that form, once there is one newer than number ``after``.

        Returns:
            None if none came in time.

        Raises:
            Exception: whatever kept the frame from being encoded.
        """
        request = _Request(form, after, self._loop.create_future())
        with self._changed:
            if self._is_closed:
                return None
            self._requests.append(request)
            if self._worker is None:
                self._worker = Worker("live encoder", self._encode_all)
                self._worker.start()
            self._changed.notify()
        try:
            return await asyncio.wait_for(request.answer, timeout_seconds)
        except TimeoutError:
            return None
        finally:
            self._withdraw(request)

    def close(self) -> None:
        """Hand out nothing more. Returns at once; from any thread, any number of times."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    def join(self) -> None:
        """Wait until the encoder thread has ended, once it is closed."""
        with self._changed:
            worker = self._worker
        if worker is not None and not worker.join(CLOSE_SECONDS):
            logger.warning("The %s did not end in time.", worker.name)

    def _withdraw(self, request: _Request) -> None:
        with self._changed:
            if request in self._requests:
                self._requests.remove(request)

    # ── the encoder thread ──

    def _encode_all(self) -> None:
        unwatch = self.view.watch(self._wake)
        try:
            while (requests := self._due()) is not None:
                self._answer(requests)
        finally:
            unwatch()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def _due(self) -> list[_Request] | None:
        """The requests that can be answered now, waiting for them; None when nobody watches."""
        idle_at = time.monotonic() + IDLE_SECONDS
        with self._changed:
            while not self._is_closed:
                newest = self.view.newest
                number = 0 if newest is None else newest.number
                due = [request for request in self._requests if request.after < number]
                if due:
                    self._requests = [one for one in self._requests if one.after >= number]
                    return due
                if self._requests:
                    idle_at = time.monotonic() + IDLE_SECONDS
                if not self._changed.wait(max(0.0, idle_at - time.monotonic())) and (
                    not self._requests and time.monotonic() >= idle_at
                ):
                    break
            self._worker = None
            return None

    def _answer(self, requests: list[_Request]) -> None:
        frame = self.view.newest
        assert frame is not None
        if frame.number != self._kept_number:
            self._kept_number, self._kept = frame.number, {}
        for form in dict.fromkeys(request.form for request in requests):
            answers = [request.answer for request in requests if request.form == form]
            try:
                if form not in self._kept:
                    self._kept[form] = encode(self.view, frame, form)
                self._hand_over(answers, self._kept[form])
            except Exception as error:  # noqa: BLE001 - it is for those who wait: the thread goes on
                self._hand_over(answers, error)

    def _hand_over(
        self, answers: list[asyncio.Future[Encoded]], found: Encoded | Exception
    ) -> None:
        def set_results() -> None:
            for answer in answers:
                if answer.done():
                    continue
                if isinstance(found, Encoded):
                    answer.set_result(found)
                else:
                    answer.set_exception(found)

        try:
            self._loop.call_soon_threadsafe(set_results)
        except RuntimeError:  # the loop has ended
            return


class LiveHubs:
    """A hub for each camera that somebody watches or has watched. Belongs to the event loop."""

    def __init__(self) -> None:
        self._hubs: dict[LiveView, LiveHub] = {}

    def of(self, view: LiveView) -> LiveHub:
        """The hub of a camera."""
        if view not in self._hubs:
            self._hubs[view] = LiveHub(view, asyncio.get_running_loop())
        return self._hubs[view]

    def keep(self, views: set[LiveView]) -> None:
        """Forget the cameras that are gone."""
        for view in [view for view in self._hubs if view not in views]:
            self._hubs.pop(view).close()

    def close(self) -> None:
        """Close all of them, and wait for their threads."""
        hubs = list(self._hubs.values())
        self.keep(set())
        for hub in hubs:
            hub.join()
