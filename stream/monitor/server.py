"""``/metrics``, ``/healthz`` and ``/readyz`` over HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app

from stream.batcher import BatcherStatistics
from stream.config import Metrics
from stream.errors import UsageError
from stream.monitor.collector import CameraCollector
from stream.monitor.snapshot import READY, CameraSnapshot
from stream.worker import Worker

LOOPBACK = "127.0.0.1"
CLIENT_SECONDS = 1.0  # a client that says nothing for longer is hung up on


class _Handler(WSGIRequestHandler):
    timeout = CLIENT_SECONDS

    def log_message(self, *_arguments: Any) -> None:
        """A scrape every few seconds is no news."""


class _Server(WSGIServer):
    def handle_error(self, *_arguments: Any) -> None:
        """A client that hangs up is none, too."""


class MonitorServer:
    """Serves until it is closed, one request after the other, on a thread of its own.

    ``/healthz`` says that the process is alive. ``/readyz`` is 200 if every camera is live or has
    come to its end, else 503; its JSON says of each camera where it stands and why, and of its
    recording and deliveries why they do not go on, which the camera itself does.

    Args:
        port: to listen on; 0 for any that is free.
        host: to listen on.
        cameras: asked at every request.
        models: asked at every request.

    Attributes:
        port: that it listens on.

    Raises:
        UsageError: if the port is taken or there is no such host.
    """

    def __init__(
        self,
        port: int,
        host: str,
        *,
        cameras: Callable[[], Sequence[CameraSnapshot]],
        models: Callable[[], Sequence[BatcherStatistics]] = list,
    ) -> None:
        registry = CollectorRegistry()
        registry.register(CameraCollector(cameras, models))
        ProcessCollector(registry=registry)
        self._metrics, self._cameras = make_wsgi_app(registry), cameras
        try:
            self._server = make_server(
                host, port, self._answer, server_class=_Server, handler_class=_Handler
            )
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "there is no such host"
            raise UsageError(
                f"--metrics-port {port} on {host} cannot be used: {reason}; give another one."
            ) from error
        self.port = self._server.server_port
        self._worker = Worker("monitor", lambda: self._server.serve_forever(poll_interval=0.1))
        self._closing = threading.Lock()
        self._worker.start()

    def _answer(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            answer: Iterable[bytes] = self._metrics(environ, start_response)
            return answer
        status, body = self._page(path)
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        start_response(status, headers)
        return [body]

    def _page(self, path: str) -> tuple[str, bytes]:
        if path == "/healthz":
            return "200 OK", b'{"alive": true}\n'
        if path == "/readyz":
            return self._readiness()
        pages = {"pages": ["/metrics", "/healthz", "/readyz"]}
        return ("200 OK" if path == "/" else "404 Not Found"), json.dumps(pages).encode() + b"\n"

    def _readiness(self) -> tuple[str, bytes]:
        cameras = self._cameras()
        is_ready = all(camera.status.state in READY for camera in cameras)
        rows = {camera.name: _standing(camera) for camera in cameras}
        body = json.dumps({"ready": is_ready, "cameras": rows}, indent=2).encode() + b"\n"
        return ("200 OK" if is_ready else "503 Service Unavailable"), body

    def close(self) -> None:
        """Stop serving. Legal any number of times."""
        with self._closing:
            if not self._worker.join(0):
                self._server.shutdown()
                self._worker.join()
            self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _standing(camera: CameraSnapshot) -> dict[str, str]:
    """Where a camera stands: its state, and what else is to be said."""
    state, reason = camera.status.state, camera.status.reason
    return {"state": state, **({"reason": reason} if reason else {}), **camera.outputs.trouble()}


@contextmanager
def serving(
    metrics: Metrics | None,
    notice: Callable[[str], None],
    *,
    cameras: Callable[[], Sequence[CameraSnapshot]],
    models: Callable[[], Sequence[BatcherStatistics]] = list,
) -> Iterator[None]:
    """Serve for the length of the block, if it was asked for.

    Args:
        metrics: where; None for not at all.
        notice: told the address.
        cameras: see ``MonitorServer``.
        models: see there.
    """
    if metrics is None:
        yield
        return
    with MonitorServer(metrics.port, metrics.host, cameras=cameras, models=models) as server:
        notice(f"Metrics at http://{metrics.host}:{server.port}/metrics")
        yield
