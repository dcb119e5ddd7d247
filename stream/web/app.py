"""The application: all endpoints behind the security that each request has to pass."""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from stream.control.controls import Controls
from stream.errors import RcnnLiveError, SinkError, UsageError
from stream.redact import redact
from stream.web import api_cameras, api_kept, api_session, docs, mjpeg, rtc, websocket
from stream.web.answers import Problem
from stream.web.deck import Deck
from stream.web.gate import Gate
from stream.web.security import Security
from stream.web.settings import ServeSettings

# whatever the system believes: a browser runs no script that is called something else
mimetypes.add_type("text/javascript", ".js")
mimetypes.add_type("image/svg+xml", ".svg")
STATIC = Path(__file__).with_name("static")
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: {"model": Problem, "description": "Log in first"},
    403: {"model": Problem, "description": "Not allowed, or not from there"},
    404: {"model": Problem, "description": "There is no such thing"},
    409: {"model": Problem, "description": "Not possible at the moment"},
    413: {"model": Problem, "description": "Too large"},
    422: {"model": Problem, "description": "Wrong in itself"},
    429: {"model": Problem, "description": "Too often"},
}


def create_app(controls: Controls, settings: ServeSettings) -> ASGIApp:
    """Everything that is served.

    Args:
        controls: of the cameras.
        settings: to whom.

    Raises:
        UsageError: if the file of users is wrong.
    """
    gate = Gate(settings)
    app = FastAPI(
        title="rcnn-live",
        version=version("rcnn-live"),
        summary="Live pictures, figures, recordings and events of every camera.",
        description="Requests that change something need the header `X-Requested-With: rcnn-live` "
        "and, where there is a login, an operator. Programs send `Authorization: Bearer TOKEN`.",
        docs_url=None,
        redoc_url=None,
        responses=_PROBLEMS,
        lifespan=_lifespan,
        exception_handlers={
            HTTPException: _http_problem,
            RequestValidationError: _wrong_request,
            UsageError: _problem(422),
            SinkError: _problem(409),
            RcnnLiveError: _problem(500),
            Exception: _surprise,
        },
    )
    app.state.deck = Deck(controls, gate, is_secure=settings.tls_cert is not None)
    for module in (api_session, api_cameras, api_kept, mjpeg, rtc, websocket, docs):
        app.include_router(module.router)
    app.add_api_route("/healthz", _health, methods=["GET"], tags=["session"])
    app.add_api_route("/", _page, methods=["GET"], include_in_schema=False)
    app.mount("/docs/static", StaticFiles(directory=docs.assets()))
    app.mount("/static", StaticFiles(directory=STATIC))
    return Security(app, gate, settings)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    await app.state.deck.close()


async def _health() -> dict[str, bool]:
    """That the server is alive; no login."""
    return {"alive": True}


async def _page() -> FileResponse:
    return FileResponse(STATIC / "index.html")


# ── what went wrong ──


async def _http_problem(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse({"detail": str(error.detail)}, error.status_code, error.headers)


async def _wrong_request(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":  # its place is a number of characters
        return JSONResponse({"detail": "The request has to be JSON."}, 422)
    place = ".".join(str(part) for part in first["loc"][1:]) or "the request"
    message = first["msg"].replace("Input should", "it has to").replace("Field", "it is")
    return JSONResponse({"detail": f"{place}: {message}."}, 422)


def _problem(status: int) -> Any:
    async def answer(_request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": redact(str(error))}, status)

    return answer


async def _surprise(_request: Request, _error: Exception) -> JSONResponse:
    return JSONResponse({"detail": "The server has a bug: its log says more."}, 500)
