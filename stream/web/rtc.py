"""Annotated pictures over WebRTC, for viewers that are far away. It needs the extra ``webrtc``."""

from __future__ import annotations

from importlib.util import find_spec

from fastapi import APIRouter, HTTPException, Request

from stream.web.answers import Problem, WebRtcAnswer
from stream.web.deck import UseDeck
from stream.web.forms import Offer

router = APIRouter(prefix="/api", tags=["live"])

IS_THERE = find_spec("aiortc") is not None
MOST_PEERS = 32


@router.post("/cameras/{name}/webrtc", responses={code: {"model": Problem} for code in (501, 503)})
async def webrtc(name: str, offer: Offer, request: Request, deck: UseDeck) -> WebRtcAnswer:
    """Answer an offer to receive video; both have all their ICE candidates in them."""
    if not IS_THERE:
        raise HTTPException(501, "WebRTC is not installed here: pip install 'rcnn-live[webrtc]'.")
    view = deck.camera(name).frames
    if len(deck.peers) >= MOST_PEERS:
        raise HTTPException(503, f"{MOST_PEERS} WebRTC viewers are here already.")
    from stream.web.rtc_peer import Peer  # only where it is installed

    async def may_stay() -> bool:
        camera = deck.controls.cameras().get(name)
        is_there = camera is not None and camera.frames is view  # it may be another one by now
        return is_there and await deck.may_stay(request)

    peer = Peer(deck.broadcast(view), may_stay, deck.peers.discard)
    deck.peers.add(peer)
    return WebRtcAnswer(sdp=await peer.answer(offer.sdp), type="answer")
