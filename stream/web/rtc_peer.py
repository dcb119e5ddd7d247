"""One WebRTC viewer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from fastapi import HTTPException

from stream.web.rtc_broadcast import Broadcast, PacketQueue, VideoPacket

CONNECT_SECONDS = 15.0  # until it is connected
LOOK_SECONDS = 2.0  # between two looks at whether it may stay
OVER = ("failed", "closed", "disconnected")
CODECS = ("video/H264", "video/rtx")  # and what is sent again of it


class _Track(MediaStreamTrack):
    """Packets that are encoded already."""

    kind = "video"

    def __init__(self, packets: PacketQueue) -> None:
        super().__init__()
        self._packets = packets

    async def recv(self) -> VideoPacket:
        """See ``aiortc``."""
        return await self._packets.take()


class Peer:
    """Is sent the stream from its answer on until it leaves. Belongs to the event loop.

    Args:
        broadcast: of the camera.
        may_stay: asked now and then; once it says no, it is sent nothing any more.
        on_closed: called at the end, maybe more than once.
    """

    def __init__(
        self,
        broadcast: Broadcast,
        may_stay: Callable[[], Awaitable[bool]],
        on_closed: Callable[[Peer], None],
    ) -> None:
        self._broadcast, self._may_stay, self._on_closed = broadcast, may_stay, on_closed
        # no server elsewhere is asked what our address is
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._packets: PacketQueue | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def answer(self, offer: str) -> str:
        """Our session description, in answer to theirs.

        Raises:
            HTTPException: 422 if it offers nothing that can be answered.
        """
        try:
            self._add_track()  # first, so that its codec is what is chosen
            await self._connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
            await self._connection.setLocalDescription(await self._connection.createAnswer())
        except Exception as error:  # what is wrong with an offer, aiortc says in many ways
            await self.close()
            raise HTTPException(
                422, "The offer cannot be answered: it has to be of one video in H.264."
            ) from error
        self._keeper = asyncio.create_task(self._keep())
        return self._connection.localDescription.sdp

    def _add_track(self) -> None:
        self._packets = self._broadcast.join()
        sender = self._connection.addTrack(_Track(self._packets))
        transceiver = next(
            one for one in self._connection.getTransceivers() if one.sender is sender
        )
        codecs = RTCRtpSender.getCapabilities("video").codecs
        transceiver.setCodecPreferences([one for one in codecs if one.mimeType in CODECS])

    async def _keep(self) -> None:
        """Look after it until it is over."""
        loop = asyncio.get_running_loop()
        connect_until = loop.time() + CONNECT_SECONDS
        while self._connection.connectionState not in OVER and await self._may_stay():
            is_late = loop.time() > connect_until
            if is_late and self._connection.connectionState != "connected":
                break
            await asyncio.sleep(LOOK_SECONDS)
        self._keeper = None
        await self.close()

    async def close(self) -> None:
        """Leave. Legal any number of times."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
        packets, self._packets = self._packets, None
        if packets is not None:
            self._broadcast.leave(packets)
        await self._connection.close()
        self._on_closed(self)
