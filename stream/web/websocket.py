"""Live pictures and figures over WebSocket.

A picture is a binary message: the length of a JSON header (4 bytes, big-endian), the header, the
JPEG of the clean frame. The viewer answers each with the text ``ack`` when it has drawn it. What a
camera's state is comes as JSON text, whenever it changes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, WebSocket, WebSocketDisconnect

from stream.web.answers import Figures, StatusView
from stream.web.deck import Deck, UseDeck
from stream.web.encode import Form
from stream.web.viewer import CameraGone, Viewer, Width

router = APIRouter()

STATUS_SECONDS = 1.0
STATE_SECONDS = 0.5  # between two looks at whether a camera's state has changed
SILENT_SECONDS = 30.0  # without an ack while frames wait for one: nobody is there
GONE, LOGGED_OUT, SILENT = 4404, 4401, 4408  # why it hangs up: 4000 + the code of HTTP
_STATE = {"state", "sentence", "attempt", "recording"}
Fps = Annotated[float, Query(ge=0, le=1000, allow_inf_nan=False)]


@router.websocket("/ws/live/{name}")
async def live(
    websocket: WebSocket, name: str, deck: UseDeck, width: Width = 0, fps: Fps = 0.0
) -> None:
    """One viewer of one camera."""
    try:
        viewer = Viewer(deck, name, Form(annotated=False, width=width), fps)
    except HTTPException as error:
        await websocket.accept()
        await websocket.close(4000 + error.status_code, error.detail)
        return
    with viewer:
        await websocket.accept()
        await _until_either_ends(
            _take_acks(websocket, viewer), _send_frames(websocket, viewer, deck, name)
        )


@router.websocket("/ws/status")
async def status(websocket: WebSocket, deck: UseDeck) -> None:
    """The figures of all cameras, each second."""

    async def send() -> None:
        while await deck.may_stay(websocket):
            figures = Figures(cameras=await deck.figures())
            await websocket.send_text(figures.model_dump_json())
            await asyncio.sleep(STATUS_SECONDS)
        await websocket.close(LOGGED_OUT)

    await websocket.accept()
    await _until_either_ends(_take_nothing(websocket), send())


async def _take_acks(websocket: WebSocket, viewer: Viewer) -> None:
    async for text in _texts(websocket):
        if text == "ack":
            viewer.acknowledge()


async def _take_nothing(websocket: WebSocket) -> None:
    async for _ in _texts(websocket):
        continue


async def _texts(websocket: WebSocket) -> AsyncIterator[str | None]:
    """What the client says, None for what is no text; ends when it leaves."""
    while (message := await websocket.receive())["type"] != "websocket.disconnect":
        yield message.get("text")


async def _send_frames(websocket: WebSocket, viewer: Viewer, deck: Deck, name: str) -> None:
    told, look_at = "", 0.0
    loop = asyncio.get_running_loop()
    while True:
        if loop.time() >= look_at:
            look_at = loop.time() + STATE_SECONDS
            if not await deck.may_stay(websocket):
                return await websocket.close(LOGGED_OUT)
            if viewer.silent_seconds > SILENT_SECONDS:
                return await websocket.close(SILENT)
            figures = (await deck.figures()).get(name)
            if figures is not None and (state := _state_of(figures)) != told:
                told = state
                await websocket.send_text(state)
        try:
            encoded = await viewer.next(max(0.0, look_at - loop.time()))
        except CameraGone:
            return await websocket.close(GONE)
        if encoded is not None:
            await websocket.send_bytes(encoded.payload)


def _state_of(figures: StatusView) -> str:
    return json.dumps({"type": "state", **figures.model_dump(include=_STATE)})


async def _until_either_ends(*works: Awaitable[None]) -> None:
    """Run all until the first has ended; that the viewer leaves is no error."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    except (WebSocketDisconnect, ConnectionError):
        return
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
