"""One viewer's way through the frames of a camera."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Annotated, Self

from fastapi import HTTPException, Query

from stream.sinks.live_view import LiveView
from stream.web.deck import Deck
from stream.web.encode import Encoded, Form

MOST_VIEWERS = 200
# All viewers share Python's one lock with the pipeline, and each frame of each takes half a
# millisecond of it: 16 viewers get 30 frames a second, 50 get 10
MOST_FRAMES_A_SECOND = 500
MOST_UNACKNOWLEDGED = 2  # frames on their way to a viewer that says when it has drawn one
SMALLEST_WIDTH, LARGEST_WIDTH = 64, 4096  # px

Width = Annotated[
    int,
    Query(ge=0, le=LARGEST_WIDTH, description="px; 0 for that of the frame, never more than it"),
]


class CameraGone(Exception):
    """The camera was removed, or is another one by now."""


class Viewer:
    """Takes frames at its own pace. Use as a context manager, in the event loop.

    Args:
        deck: with the camera.
        name: of the camera.
        form: of its frames.
        most_fps: frames per second it wants at most; 0 for all there are.

    Raises:
        HTTPException: 404 without such a camera, 503 if there are too many viewers.
    """

    def __init__(self, deck: Deck, name: str, form: Form, most_fps: float = 0.0) -> None:
        if deck.viewers >= MOST_VIEWERS:
            raise HTTPException(503, f"{MOST_VIEWERS} viewers are here already: try again later.")
        self._deck, self._name = deck, name
        self._form = Form(form.annotated, form.width and max(form.width, SMALLEST_WIDTH))
        self._hub = deck.hub(name)
        self._gap_seconds = 1 / most_fps if most_fps else 0.0
        self._next_at = asyncio.get_running_loop().time()
        self._number = 0
        self._unacknowledged = 0
        self._acknowledged = asyncio.Event()
        self._answered_at = 0.0  # by the loop's clock

    @property
    def silent_seconds(self) -> float:
        """For how long it has owed an answer."""
        if self._unacknowledged < MOST_UNACKNOWLEDGED:
            return 0.0
        return asyncio.get_running_loop().time() - self._answered_at

    def acknowledge(self) -> None:
        """The viewer has drawn a frame."""
        self._unacknowledged = max(0, self._unacknowledged - 1)
        self._acknowledged.set()

    async def next(self, timeout_seconds: float) -> Encoded | None:
        """The newest frame it has not had, as soon as it may have one; None if that takes longer.

        Raises:
            CameraGone: if there will be none any more.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_seconds
        self._check_camera()
        if self._next_at > loop.time():
            await asyncio.sleep(min(self._next_at, until) - loop.time())
        if not await self._is_ready(until):
            return None
        encoded = await self._hub.next(self._form, self._number, max(0.0, until - loop.time()))
        if encoded is not None:
            self._number = encoded.number
            self._unacknowledged += 1
            self._answered_at = loop.time()
            # a frame that came late is made up for, once
            gap_seconds = max(self._gap_seconds, self._deck.viewers / MOST_FRAMES_A_SECOND)
            self._next_at = max(self._next_at, loop.time() - gap_seconds) + gap_seconds
        return encoded

    def _check_camera(self) -> None:
        camera = self._deck.controls.cameras().get(self._name)
        view: LiveView | None = camera.frames if camera is not None else None
        if view is not self._hub.view:
            raise CameraGone(self._name)

    async def _is_ready(self, until: float) -> bool:
        """Whether it may have another frame, waiting for that until then."""
        while self._unacknowledged >= MOST_UNACKNOWLEDGED:
            self._acknowledged.clear()
            try:
                async with asyncio.timeout_at(until):
                    await self._acknowledged.wait()
            except TimeoutError:
                return False
        return asyncio.get_running_loop().time() < until

    def __enter__(self) -> Self:
        self._deck.viewers += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._deck.viewers -= 1
