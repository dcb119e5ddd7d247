"""Real receivers of events for the tests: mosquitto, Redis, and a web server of many moods.

mosquitto and redis-server are packages of Debian. Each keeps its port when it is started again,
and mosquitto what it was told to keep.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

SECONDS = 20.0  # for whatever is awaited, on a busy machine


def until(condition: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def program_or_skip(name: str) -> str:
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        if os.environ.get("REQUIRE_SERVERS") == "1":
            pytest.fail(f"REQUIRE_SERVERS=1, but {name} is not installed")
        pytest.skip(f"{name} is not installed")
    return path


def content(path: Path) -> bytes:
    """What is in a file by now, nothing if there is none."""
    return path.read_bytes() if path.exists() else b""


@dataclass
class Broker:
    """A server in a process of its own, that can be killed and started again."""

    command: list[str]
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(self._listens, f"{self.command[0]} does not listen")

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"{self.command[0]} has ended"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def send_signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """At once, as in a power cut."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@contextmanager
def mosquitto(folder: Path, *settings: str) -> Iterator[Broker]:
    """Listens on 127.0.0.1, open to anybody unless ``settings`` say otherwise."""
    program, port = program_or_skip("mosquitto"), free_port()
    if not any(line.startswith("allow_anonymous") for line in settings):
        settings = (*settings, "allow_anonymous true")
    lines = (f"listener {port} 127.0.0.1", "user root", *settings)
    (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")
    broker = Broker([program, "-c", str(folder / "mosquitto.conf")], port)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


@contextmanager
def redis_server(folder: Path, *settings: str) -> Iterator[Broker]:
    """Keeps every entry on disk before it answers, so that a kill costs nothing it confirmed."""
    program, port = program_or_skip("redis-server"), free_port()
    durable = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")
    place = ("--dir", str(folder), "--bind", "127.0.0.1", "--port", str(port))
    broker = Broker([program, *place, *durable, *settings], port)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


@dataclass
class Request:
    """One POST as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class WebServer:
    """Answers as ``mood`` says: a status, or None to say nothing until it is changed.

    What holds ``poison`` it refuses with 400.
    """

    port: int
    mood: int | None = 200
    poison: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)  # of its answers
    taken: list[Request] = field(default_factory=list)  # those it answered with 2xx
    seen: list[Request] = field(default_factory=list)  # all

    def url(self, path: str = "hook") -> str:
        return f"http://127.0.0.1:{self.port}/{path}"


@contextmanager
def web_server() -> Iterator[WebServer]:
    """A real HTTP/1.1 server that keeps connections open."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            request = Request(self.path, dict(self.headers.items()), body)
            state.seen.append(request)
            while state.mood is None and not ending.is_set():
                time.sleep(0.02)
            is_poisoned = state.poison is not None and state.poison in body
            status = 400 if is_poisoned else state.mood or 503
            if 200 <= status < 300:
                state.taken.append(request)
            with contextlib.suppress(OSError):  # whoever asked has gone
                self.send_response(status)
                for name, value in {"Content-Length": "2", **state.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(b"ok")

        def log_message(self, *_arguments: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def process_request(self, request: object, client_address: object) -> None:
            connections.append(request)  # type: ignore[arg-type]
            super().process_request(request, client_address)  # type: ignore[arg-type]

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a connection that was cut

    connections: list[socket.socket] = []
    ending = threading.Event()
    server = Server(("127.0.0.1", 0), Handler)
    state = WebServer(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield state
    finally:
        ending.set()
        server.shutdown()
        thread.join()
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        server.server_close()


@contextmanager
def silent_server() -> Iterator[tuple[int, threading.Event]]:
    """Accepts every connection and never says a word; gives its port, and tells of the first."""
    connected = threading.Event()
    accepted: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    accepted.append(server.accept()[0])
                    connected.set()

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield server.getsockname()[1], connected
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in accepted:
                connection.close()


@contextmanager
def deaf_server() -> Iterator[int]:
    """Takes no connection and refuses none, as behind a firewall; gives its port."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        waiting = []
        for _ in range(3):  # as many as the system holds back for it, and more
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(server.getsockname())
            waiting.append(one)
        yield server.getsockname()[1]
        for one in waiting:
            one.close()
