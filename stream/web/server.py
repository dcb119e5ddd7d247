"""The page's server, on a thread of its own."""

from __future__ import annotations

import logging
import os
import socket
import ssl
import threading
from types import TracebackType
from typing import Self

import uvicorn
from starlette.types import ASGIApp

from stream.control.controls import Controls
from stream.errors import SinkError, ThreadLeftBehind, UsageError
from stream.redact import keep_secret
from stream.web.app import create_app
from stream.web.settings import ServeSettings
from stream.worker import Worker

logger = logging.getLogger(__name__)

GRACE_SECONDS = 1  # that requests in progress get at the end
STOP_SECONDS = 4.5
START_LOOK_SECONDS = 0.1
MOST_CONNECTIONS = 512
BACKLOG = 128
EVERYWHERE = ("0.0.0.0", "::")  # what no browser can go to
# what waits in the kernel for a slow viewer gets old there: a few pictures are enough
SEND_BUFFER_BYTES = 512 * 1024
STUCK_SECONDS = 120.0  # a client that takes nothing of what waits for it is cut off after that
MOST_MESSAGE_BYTES = 4096  # from a viewer by WebSocket
FIRST_FREE_PORT = 1024  # those below belong to root


class PageServer:
    """Serves from when it is made until it is closed.

    Args:
        settings: where, and to whom.
        controls: of the cameras.

    Attributes:
        url: to open in a browser.
        port: that it listens on.

    Raises:
        UsageError: if the address is taken, or certificate or users cannot be used.
        SinkError: if it cannot be started all the same.
    """

    def __init__(self, settings: ServeSettings, controls: Controls) -> None:
        if settings.token is not None:
            keep_secret(settings.token)
        _check_certificate(settings)
        app = create_app(controls, settings)
        listener = listen(settings)
        self.port = listener.getsockname()[1]
        scheme = "https" if settings.tls_cert is not None else "http"
        host = socket.gethostname() if settings.host in EVERYWHERE else settings.host
        self.url = f"{scheme}://{_shown(host)}:{self.port}/"
        self._server = _Server(_config(app, settings))
        self._worker = Worker("web", lambda: self._server.run(sockets=[listener]))
        self._worker.start()
        while not self._server.is_ready.wait(START_LOOK_SECONDS):
            if self._worker.join(0):
                raise SinkError("The live page could not be started: the log says why.")

    def close(self) -> None:
        """Say good-bye to everybody. Legal any number of times.

        Raises:
            ThreadLeftBehind: if it does not end in time.
        """
        self._server.should_exit = True
        if self._worker.join(STOP_SECONDS / 2):
            return
        self._server.force_exit = True
        if not self._worker.join(STOP_SECONDS / 2):
            raise ThreadLeftBehind("web did not stop in time and was left behind.")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Server(uvicorn.Server):
    """Says when it is ready; signals are for the main thread."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_ready.set()


def _config(app: ASGIApp, settings: ServeSettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="websockets-sansio",
        ws_max_size=MOST_MESSAGE_BYTES,
        ws_per_message_deflate=False,  # a JPEG cannot be made smaller
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )


def listen(settings: ServeSettings) -> socket.socket:
    """A socket that listens there.

    Raises:
        UsageError: if it cannot.
    """
    host, port = settings.host, settings.port
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
        try:
            if os.name == "posix":  # elsewhere it would let two programs have one port
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            if hasattr(socket, "TCP_USER_TIMEOUT"):  # on Linux; those it accepts have it from it
                stuck_ms = round(STUCK_SECONDS * 1000)
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, stuck_ms)
            listener.bind(address)
            listener.listen(BACKLOG)
        except BaseException:
            listener.close()
            raise
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"--serve {_shown(host)}:{port} cannot be used: {_why(error, port)}."
        ) from (error)
    return listener


def _why(error: Exception, port: int) -> str:
    if isinstance(error, PermissionError) and port < FIRST_FREE_PORT:
        return f"ports below {FIRST_FREE_PORT} are root's; give another one"
    if isinstance(error, socket.gaierror | UnicodeError):
        return "there is no such host; give HOST:PORT of this machine, and SOURCE before --serve"
    reason = getattr(error, "strerror", None) or str(error)
    return f"{reason}; give another address or port"


def _check_certificate(settings: ServeSettings) -> None:
    if settings.tls_cert is None or settings.tls_key is None:
        return

    def refuse_to_ask() -> str:
        raise UsageError(
            f"--tls-key {settings.tls_key} is locked with a password: give one that is not, which "
            "only you can read."
        )

    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings.tls_cert, settings.tls_key, password=refuse_to_ask)
    except ssl.SSLError as error:
        raise UsageError(
            f"--tls-cert {settings.tls_cert} and --tls-key {settings.tls_key} cannot be used "
            f"({error.reason}): both have to be PEM files, of one pair."
        ) from error
    except OSError as error:
        raise UsageError(
            f"--tls-cert {settings.tls_cert} or --tls-key {settings.tls_key} cannot be read: "
            f"{error.strerror}."
        ) from error


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
