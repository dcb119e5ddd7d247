"""Coming in and leaving."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request, Response

from stream.web.answers import SessionView
from stream.web.deck import UseDeck
from stream.web.forms import Login
from stream.web.gate import COOKIE, TooManyTries
from stream.web.rtc import IS_THERE
from stream.web.security import cookie_of, too_many_tries
from stream.web.sessions import SESSION_SECONDS, Identity

router = APIRouter(prefix="/api", tags=["session"])


@router.get("/session")
def session(request: Request, deck: UseDeck) -> SessionView:
    """Who asks, and whether they have to log in first."""
    return _view(request.state.identity, needs_login=deck.gate.needs_login)


@router.post("/login")
def login(form: Login, request: Request, response: Response, deck: UseDeck) -> SessionView:
    """Begin a session by token, or by user and password; the answer sets its cookie."""
    if not deck.gate.needs_login:
        return _view(request.state.identity, needs_login=False)
    address = request.client.host if request.client else ""
    try:
        identity = deck.gate.log_in(
            address, token=form.token, user=form.user, password=form.password
        )
    except TooManyTries as error:
        refused = too_many_tries(error)
        raise HTTPException(refused.status, refused.detail, refused.headers) from error
    if identity is None:
        wrong = "The token is wrong." if form.token is not None else "User or password is wrong."
        raise HTTPException(401, wrong)
    response.set_cookie(
        COOKIE,
        deck.gate.begin_session(identity),
        max_age=int(SESSION_SECONDS),
        httponly=True,
        samesite="strict",
        secure=deck.is_secure,
    )
    return _view(identity, needs_login=True)


@router.post("/logout")
def logout(request: Request, response: Response, deck: UseDeck) -> SessionView:
    """End the session."""
    cookie = cookie_of(request.headers)
    if cookie is not None:
        deck.gate.end_session(cookie)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=deck.is_secure)
    needs_login = deck.gate.needs_login
    return _view(None if needs_login else request.state.identity, needs_login=needs_login)


def _view(identity: Identity | None, *, needs_login: bool) -> SessionView:
    if identity is None:
        return SessionView(user=None, role=None, needs_login=needs_login, webrtc=IS_THERE)
    return SessionView(
        user=identity.user, role=identity.role, needs_login=needs_login, webrtc=IS_THERE
    )
