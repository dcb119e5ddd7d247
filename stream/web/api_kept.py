"""Recordings and events."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NoReturn
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse

from stream.control.history import LONGEST_PAGE
from stream.web.answers import EventView, RecordingFile
from stream.web.deck import Deck, UseDeck

router = APIRouter(prefix="/api", tags=["recordings and events"])

CHUNK_BYTES = 64 * 1024
MEDIA_TYPES = {".mkv": "video/x-matroska", ".mov": "video/quicktime"}
MP4 = "video/mp4"
Filter = Annotated[str | None, Query(max_length=128)]


@router.get("/recordings")
def recordings(deck: UseDeck, camera: Filter = None) -> list[RecordingFile]:
    """All recordings, or those of one camera, newest first."""
    return [RecordingFile.of(entry) for entry in deck.controls.recordings.entries(camera)]


@router.get(
    "/recordings/{recording_id}/video",
    response_class=Response,
    responses={200: {"content": {MP4: {}, **{one: {} for one in MEDIA_TYPES.values()}}}},
)
def video(recording_id: str, request: Request, deck: UseDeck) -> Response:
    """The file; players may ask for parts of it. What browsers cannot play is a download."""
    path = _path(recording_id, deck)
    media_type = MEDIA_TYPES.get(path.suffix.lower(), MP4)
    way = "inline" if media_type == MP4 else "attachment"
    if "range" in request.headers:
        return FileResponse(path, media_type=media_type, filename=path.name,
                            content_disposition_type=way)  # fmt: skip
    return _whole(path, media_type, way)


@router.delete("/recordings/{recording_id}", status_code=204)
def delete_recording(recording_id: str, deck: UseDeck) -> None:
    """Remove a recording; one that is being written is not."""
    try:
        deck.controls.recordings.delete(recording_id)
    except KeyError:
        _no_recording()


@router.get("/events")
def events(
    deck: UseDeck,
    camera: Filter = None,
    label: Filter = None,
    before: Annotated[int | None, Query(ge=0, le=2**53)] = None,
    limit: Annotated[int, Query(ge=1, le=LONGEST_PAGE)] = 50,
) -> list[EventView]:
    """What happened, newest first; ``before`` an event's id for the page after it."""
    found = deck.controls.events.entries(camera=camera, label=label, before=before, limit=limit)
    return [EventView.of(entry) for entry in found]


@router.get(
    "/events/{event_id}/thumbnail.jpg",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}},
)
def thumbnail(event_id: int, deck: UseDeck) -> Response:
    """The picture of an event."""
    try:
        if not 0 <= event_id <= 2**53:
            raise KeyError(event_id)
        jpeg = deck.controls.events.thumbnail(event_id)
    except KeyError:
        raise HTTPException(404, "There is no such event, or no picture of it.") from None
    return Response(jpeg, media_type="image/jpeg")


def _path(recording_id: str, deck: Deck) -> Path:
    try:
        return deck.controls.recordings.path_of(recording_id)
    except KeyError:
        _no_recording()


def _no_recording() -> NoReturn:
    raise HTTPException(404, "There is no such recording.") from None


def _whole(path: Path, media_type: str, way: str) -> Response:
    """The file as long as it is now: one that is being written grows meanwhile."""
    try:
        size = path.stat().st_size
    except OSError:
        _no_recording()

    def chunks() -> Iterator[bytes]:
        left = size
        with path.open("rb") as file:
            while left > 0 and (chunk := file.read(min(CHUNK_BYTES, left))):
                left -= len(chunk)
                yield chunk

    headers = {
        "Accept-Ranges": "bytes",
        "Content-Length": str(size),
        "Content-Disposition": f"{way}; filename*=utf-8''{quote(path.name)}",
    }
    return StreamingResponse(chunks(), media_type=media_type, headers=headers)
