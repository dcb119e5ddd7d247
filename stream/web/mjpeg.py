"""Annotated pictures for whatever shows an image that never ends: an img, VLC, Home Assistant."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from stream.web.deck import Deck, UseDeck
from stream.web.encode import Encoded, Form
from stream.web.viewer import CameraGone, Viewer, Width

router = APIRouter(tags=["live"])

BOUNDARY = "rcnn-live-frame"
MEDIA_TYPE = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
STILL_SECONDS = 5.0  # without a new frame, until the last one is sent again: the way is still open


@router.get(
    "/stream/{name}.mjpg",
    response_class=Response,
    responses={200: {"content": {"multipart/x-mixed-replace": {}}}},
)
async def mjpeg(name: str, request: Request, deck: UseDeck, width: Width = 0) -> Response:
    """The live picture with everything drawn on it, one JPEG after the other."""
    viewer = Viewer(deck, name, Form(annotated=True, width=width))
    return StreamingResponse(_parts(viewer, request, deck), media_type=MEDIA_TYPE)


async def _parts(viewer: Viewer, request: Request, deck: Deck) -> AsyncIterator[bytes]:
    """A part as soon as there is room for it on the way to the viewer."""
    latest: Encoded | None = None
    with viewer:
        while await deck.may_stay(request):
            try:
                latest = await viewer.next(STILL_SECONDS) or latest
            except CameraGone:
                return
            if latest is not None:
                yield _part(latest.payload)
                viewer.acknowledge()


def _part(jpeg: bytes) -> bytes:
    head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
    return head.encode() + jpeg + b"\r\n"
