"""What all endpoints share: the cameras, their hubs, and the newest figures."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, HTTPException
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from stream.control.camera import CameraControl
from stream.control.controls import Controls
from stream.sinks.live_view import LiveView
from stream.web.answers import StatusView
from stream.web.gate import Gate
from stream.web.live import LiveHub, LiveHubs
from stream.web.security import Refused, identify

if TYPE_CHECKING:
    from stream.web.rtc_broadcast import Broadcast
    from stream.web.rtc_peer import Peer

FRESH_SECONDS = 0.5  # figures are asked for again when they are older


@dataclass
class Deck:
    """See the module. Belongs to the event loop, but for what is said to be for any thread.

    Attributes:
        controls: of the cameras; any thread.
        gate: any thread.
        is_secure: whether browsers come by TLS.
        viewers: how many watch.
        peers: those by WebRTC.
    """

    controls: Controls
    gate: Gate
    is_secure: bool = False
    viewers: int = 0
    peers: set[Peer] = field(default_factory=set)
    hubs: LiveHubs = field(default_factory=LiveHubs)
    _broadcasts: dict[LiveView, Broadcast] = field(default_factory=dict)
    _figures: dict[str, StatusView] = field(default_factory=dict)
    _figures_at: float = 0.0
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    def camera(self, name: str) -> CameraControl:
        """The camera of that name; any thread.

        Raises:
            HTTPException: 404 if there is none.
        """
        camera = self.controls.cameras().get(name)
        if camera is None:
            raise HTTPException(404, "There is no camera of that name.")
        return camera

    def hub(self, name: str) -> LiveHub:
        """The frames of that camera.

        Raises:
            HTTPException: 404 if there is none.
        """
        return self.hubs.of(self.camera(name).frames)

    def broadcast(self, view: LiveView) -> Broadcast:
        """The stream of that camera for WebRTC."""
        from stream.web.rtc_broadcast import Broadcast

        if view not in self._broadcasts:
            self._broadcasts[view] = Broadcast(view, asyncio.get_running_loop())
        return self._broadcasts[view]

    async def close(self) -> None:
        """Send everybody away."""
        self.hubs.close()
        await asyncio.gather(*(peer.close() for peer in list(self.peers)))

    def _forget(self) -> None:
        """Nothing is kept of cameras that are gone."""
        views = {camera.frames for camera in self.controls.cameras().values()}
        self.hubs.keep(views)
        for view in [view for view in self._broadcasts if view not in views]:
            del self._broadcasts[view]

    async def figures(self) -> dict[str, StatusView]:
        """Of all cameras, asked for at most twice a second however many want them."""
        async with self._asking:
            if time.monotonic() - self._figures_at > FRESH_SECONDS:
                self._figures = await run_in_threadpool(self._ask)
                self._figures_at = time.monotonic()
                self._forget()
        return self._figures

    async def may_stay(self, connection: HTTPConnection) -> bool:
        """Whether who was let in still would be: they may have logged out."""
        try:
            return await identify(self.gate, connection.scope) is not None
        except Refused:
            return False

    def _ask(self) -> dict[str, StatusView]:
        cameras = self.controls.cameras().items()
        return {name: StatusView.of(camera.status()) for name, camera in cameras}


def deck_of(connection: HTTPConnection) -> Deck:
    """That of the app which a connection came to."""
    deck: Deck = connection.app.state.deck
    return deck


UseDeck = Annotated[Deck, Depends(deck_of)]
