"""What every request has to pass before any endpoint sees it.

    size ─ Host ─ where it comes from ─ who sent it ─ what they may do

Whatever is not listed as open needs a login, and whatever changes something needs an operator.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import socket
from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect
from uvicorn.protocols.utils import ClientDisconnected

from stream.web.gate import COOKIE, Gate, TooManyTries
from stream.web.sessions import Identity
from stream.web.settings import ServeSettings, is_loopback

logger = logging.getLogger(__name__)

MOST_BODY_BYTES = 256 * 1024
MOST_HEADER_BYTES = 32 * 1024
BODY_SECONDS = 10.0
WS_REFUSED = 1008  # RFC 6455: against the policy
REQUESTED_WITH = "rcnn-live"

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_OPEN = re.compile(r"/|/static/.*|/favicon\.ico|/healthz|/api/session|/api/login|/api/logout")
_VIEWERS_MAY = re.compile(r"/api/login|/api/logout|/api/cameras/[^/]+/webrtc")
_HOST = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<name>[A-Za-z0-9_.-]+))(?::\d{1,5})?")

CONTENT_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self'; "
    "style-src 'self'; script-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
# Swagger UI writes styles into its page
DOCS_POLICY = CONTENT_POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class Refused(Exception):
    """A request that is not answered.

    Attributes:
        status: of HTTP.
        detail: one sentence.
        headers: beside the usual ones.
    """

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers or {}


class Security:
    """See the module. An ASGI middleware; ``scope["state"]["identity"]`` says who was let in.

    Args:
        app: what is behind it.
        gate: who is who.
        settings: under which names it can be reached.
    """

    def __init__(self, app: ASGIApp, gate: Gate, settings: ServeSettings) -> None:
        self._app, self._gate = app, gate
        self._is_known_host = known_hosts(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            _check_size(headers)
            self._check_host(headers)
            _check_origin(scope, headers)
            identity = await identify(self._gate, scope)
            _check_role(scope, headers, identity)
            if scope["type"] == "http":
                receive = await _bounded_body(scope, headers, receive)
        except Refused as refused:
            await _refuse(scope, receive, _with_headers(scope, send), refused)
            return
        scope.setdefault("state", {})["identity"] = identity
        try:
            await self._app(scope, receive, _with_headers(scope, send))
        except (ClientDisconnected, WebSocketDisconnect):
            return  # whoever leaves may
        except Exception as error:  # the client has its answer, and the server goes on
            if _is_over(scope, error):
                return
            logger.error("The live page failed at %s: %r", scope["path"], error)
            logger.debug("Where it failed:", exc_info=error)

    def _check_host(self, headers: Headers) -> None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_known_host(hosts[0]):
            raise Refused(
                403, "This host name is not known here: name it with --serve-name on the server."
            )


def _is_over(scope: Scope, error: Exception) -> bool:
    """Whether a socket was closed by Uvicorn meanwhile, as after too large a message."""
    is_closed = isinstance(error, RuntimeError) and "websocket.close" in str(error)
    return scope["type"] == "websocket" and is_closed


async def identify(gate: Gate, scope: Scope) -> Identity | None:
    """Who sent this; None for somebody unknown.

    Raises:
        Refused: if they were wrong too often.
    """
    headers, client = Headers(scope=scope), scope.get("client")
    arguments = headers, cookie_of(headers), client[0] if client else ""
    try:
        if gate.asks_to_hash(headers):
            return await run_in_threadpool(gate.identify, *arguments)
        return gate.identify(*arguments)
    except TooManyTries as error:
        raise too_many_tries(error) from error


def too_many_tries(error: TooManyTries) -> Refused:
    """What somebody is told who was wrong too often."""
    seconds = math.ceil(error.wait_seconds)
    return Refused(429, f"Too many wrong tries: wait {seconds} s.", {"Retry-After": str(seconds)})


def known_hosts(settings: ServeSettings) -> Callable[[str], bool]:
    """Whether a Host header is one of ours, so that no foreign name can be made to mean us.

    A number cannot be a foreign name; names are those of this machine and those that were given.
    """
    given, own = {name.lower() for name in settings.names}, socket.gethostname().lower()
    names = given | {settings.host.lower(), own, f"{own}.local"}

    def is_known(host: str) -> bool:
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = (found["six"] or found["name"]).lower().rstrip(".")
        if is_loopback(name) or name in given:
            return True
        return not settings.is_loopback and (name in names or _is_number(name))

    return is_known


def cookie_of(headers: Headers) -> str | None:
    """The session's cookie, if there is one, whatever other programs of this host have set."""
    return cookie_parser(headers.get("cookie", "")).get(COOKIE)


def _is_number(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _check_size(headers: Headers) -> None:
    if sum(len(name) + len(value) for name, value in headers.raw) > MOST_HEADER_BYTES:
        raise Refused(431, f"The headers are too large: {MOST_HEADER_BYTES // 1024} KB at most.")


def _check_origin(scope: Scope, headers: Headers) -> None:
    """Refuse what another site's page makes a browser send."""
    site = headers.get("sec-fetch-site", "same-origin")
    is_visit = headers.get("sec-fetch-mode") == "navigate" and scope.get("method") in _SAFE_METHODS
    if site not in ("same-origin", "none") and not is_visit:
        raise Refused(403, "Another site's page asks for this: it may not.")
    is_change = scope.get("method", "GET") not in _SAFE_METHODS
    try:
        # behind a proxy that ends TLS the scheme differs, the name does not
        origin = urlsplit(headers.get("origin", "//" + headers["host"])).netloc
    except ValueError:  # such as half an address of version 6
        origin = ""
    if (is_change or scope["type"] == "websocket") and origin.lower() != headers["host"].lower():
        raise Refused(403, "Another site's page asks for this: it may not.")
    if is_change and headers.get("x-requested-with") != REQUESTED_WITH:
        raise Refused(403, f"Send the header 'X-Requested-With: {REQUESTED_WITH}'.")


def _check_role(scope: Scope, headers: Headers, identity: Identity | None) -> None:
    path = scope["path"]
    if identity is None:
        if _OPEN.fullmatch(path):
            return
        # players ask for a password when told to; browsers would, too, before the page can
        is_for_players = path.startswith("/stream/") and "sec-fetch-site" not in headers
        asks = {"WWW-Authenticate": 'Basic realm="rcnn-live"'} if is_for_players else {}
        raise Refused(401, "Log in first.", asks)
    is_change = scope.get("method", "GET") not in _SAFE_METHODS
    if is_change and identity.role != "operator" and not _VIEWERS_MAY.fullmatch(path):
        raise Refused(403, "Viewers may look, and change nothing: log in as an operator.")


async def _bounded_body(scope: Scope, headers: Headers, receive: Receive) -> Receive:
    """The whole body, read here, so that neither a large one nor a slow one gets further."""
    if scope["method"] in _SAFE_METHODS:
        return receive
    too_large = Refused(413, f"The request is too large: {MOST_BODY_BYTES // 1024} KB at most.")
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > MOST_BODY_BYTES:
        raise too_large
    body, is_complete = bytearray(), False
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while not is_complete:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Refused(400, "The request was not finished.")
                body += message.get("body", b"")
                is_complete = not message.get("more_body", False)
                if len(body) > MOST_BODY_BYTES:
                    raise too_large
    except TimeoutError as error:
        raise Refused(408, "The request took too long.") from error
    return _replayed(bytes(body), receive)


def _replayed(body: bytes, receive: Receive) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


def _with_headers(scope: Scope, send: Send) -> Send:
    path = scope["path"]
    is_docs = path == "/docs" or path.startswith("/docs/")
    is_kept = path == "/" or path.startswith(("/static/", "/docs"))

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            headers["Content-Security-Policy"] = DOCS_POLICY if is_docs else CONTENT_POLICY
            headers.setdefault("Cache-Control", "no-cache" if is_kept else "no-store")
        await send(message)

    return send_with_headers


async def _refuse(scope: Scope, receive: Receive, send: Send, refused: Refused) -> None:
    if scope["type"] == "websocket":  # a 403, of which a browser shows its page nothing
        await receive()  # its "connect"
        await send({"type": "websocket.close", "code": WS_REFUSED})
        return
    response = JSONResponse({"detail": refused.detail}, refused.status, refused.headers)
    await response(scope, receive, send)
