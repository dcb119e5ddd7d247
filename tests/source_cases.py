"""One of every kind of source, with what is true of it; for the contract suite."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import http.server
import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import media
import rtsp_server
from xvfb import xvfb

from stream.frame import Frame
from stream.sources import FrameSource, ReconnectOptions, create_source
from stream.sources.demo import FRAME_COUNT

ENDLESS_SAMPLE = 8  # frames read of a source without an end
SECRET = "s3cr3t"
TEST_PICTURE = "testsrc2=size=96x64:rate=50"


@dataclass(frozen=True)
class Case:
    """A source that can be opened, and what is true of it; None where nothing is promised."""

    uri: str
    size: tuple[int, int]
    is_live: bool = False
    is_endless: bool = False
    numbers: tuple[int, ...] | None = None
    pts: tuple[int, ...] | None = None
    time_base: Fraction | None = None
    frame_count: int | None = None
    reconnect: ReconnectOptions | None = None

    def create(self) -> FrameSource:
        """The source, not yet open."""
        return create_source(self.uri, reconnect=self.reconnect)


def clip_case(make: Callable[[Path], media.Clip], folder: Path) -> AbstractContextManager[Case]:
    clip = make(folder)
    return nullcontext(
        Case(
            uri=str(clip.path),
            size=clip.size,
            numbers=clip.numbers,
            pts=clip.pts,
            time_base=clip.time_base,
            frame_count=clip.frame_count,
        )
    )


def pictures_case(pattern: str, folder: Path) -> AbstractContextManager[Case]:
    pictures = media.picture_folder(folder)
    return nullcontext(
        Case(
            uri=str(pictures / pattern) if pattern else str(pictures),
            size=(128, 96),
            numbers=tuple(range(11)),
            pts=tuple(range(11)),
            time_base=Fraction(1),
            frame_count=12,  # an estimate: one of them is broken
        )
    )


def fixed_case(case: Case, folder: Path) -> AbstractContextManager[Case]:
    return nullcontext(case)


@contextmanager
def http_case(make: Callable[[Path], media.Clip], folder: Path) -> Iterator[Case]:
    clip = make(folder)
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Case(
                uri=f"http://user:{SECRET}@127.0.0.1:{server.server_port}/{clip.path.name}",
                size=clip.size,
                numbers=clip.numbers,
                pts=clip.pts,
                frame_count=clip.frame_count,
            )
        finally:
            server.shutdown()
            thread.join()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def copyfile(self, source: object, outputfile: object) -> None:
        with contextlib.suppress(ConnectionError):  # the player may leave before the end
            super().copyfile(source, outputfile)  # type: ignore[type-var]


@contextmanager
def byte_server(content: bytes) -> Iterator[int]:
    """Sends ``content`` to whoever connects first, and hangs up; yields the port."""

    def send() -> None:
        connection, _ = server.accept()
        with connection:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):  # so that nothing sent is lost in a reset
                continue

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        thread = threading.Thread(target=send)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


@contextmanager
def rtsp_case(folder: Path) -> Iterator[Case]:
    with rtsp_server.rtsp_server(folder, user="user", password=SECRET) as server:
        yield Case(
            uri=server.url(user_info=f"user:{SECRET}"),
            size=(128, 96),
            is_live=True,
            is_endless=True,
            time_base=Fraction(1, 90_000),
        )


@contextmanager
def reconnecting(case: AbstractContextManager[Case]) -> Iterator[Case]:
    """The same source, brought back should it fail."""
    with case as plain:
        yield dataclasses.replace(plain, reconnect=ReconnectOptions())


def replay_case(folder: Path) -> AbstractContextManager[Case]:
    """A clip of 24 frames at the pace of a run of 10."""
    clip = media.constant_rate(folder)
    trace = folder / "trace.jsonl"
    rows = [{"index": index, "captured_ms": 5000.0 + 20 * index} for index in range(10)]
    trace.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return nullcontext(
        Case(
            uri=f"replay:{trace}:{clip.path}",
            size=clip.size,
            is_live=True,
            numbers=clip.numbers[:10],
            pts=clip.pts[:10],
            time_base=clip.time_base,
            frame_count=10,
        )
    )


def faults_case(folder: Path) -> AbstractContextManager[Case]:
    """Faults that leave the contract as it is, and one that would break it."""
    return nullcontext(
        Case(
            uri="faults:drop=0.1,repeat=0.1,corrupt=0.1,jump=0.2/-1,burst=0.1/3,slow=0.001:"
            f"lavfi:{TEST_PICTURE}:duration=1",
            size=(96, 64),
            time_base=Fraction(1, 50),
        )
    )


@contextmanager
def screen_case(folder: Path) -> Iterator[Case]:
    with xvfb(160, 120) as display:
        yield Case(
            uri=f"screen:{display}",
            size=(160, 120),
            is_live=True,
            is_endless=True,
            time_base=Fraction(1, 1_000_000),
        )


CASES: dict[str, Callable[[Path], AbstractContextManager[Case]]] = {
    **{name: functools.partial(clip_case, make) for name, make in media.CLIPS.items()},
    "picture folder": functools.partial(pictures_case, ""),
    "picture glob": functools.partial(pictures_case, "view*.png"),
    "one picture": lambda folder: nullcontext(
        Case(uri=str(media.sideways_jpeg(folder)), size=(128, 96), numbers=(5,), frame_count=1)
    ),
    "lavfi": functools.partial(
        fixed_case,
        Case(uri=f"lavfi:{TEST_PICTURE}:duration=0.2", size=(96, 64), pts=tuple(range(10))),
    ),
    "lavfi realtime": functools.partial(
        fixed_case,
        Case(
            uri=f"lavfi:{TEST_PICTURE}:duration=0.2,realtime",
            size=(96, 64),
            is_live=True,
            pts=tuple(range(10)),
        ),
    ),
    "demo": functools.partial(
        fixed_case,
        Case(uri="demo", size=(854, 480), pts=tuple(range(FRAME_COUNT)), frame_count=FRAME_COUNT),
    ),
    "demo live": functools.partial(
        fixed_case, Case(uri="demo:live", size=(854, 480), is_live=True, is_endless=True)
    ),
    "shapes": functools.partial(
        fixed_case,
        Case(
            uri="shapes:size=96x64,frames=12",
            size=(96, 64),
            pts=tuple(range(12)),
            time_base=Fraction(1, 25),
            frame_count=12,
        ),
    ),
    "shapes live": functools.partial(
        fixed_case,
        Case(uri="shapes:size=96x64,live", size=(96, 64), is_live=True, is_endless=True),
    ),
    "http file": functools.partial(http_case, media.constant_rate),
    "http file without duration": functools.partial(http_case, media.no_duration),
    "rtsp": rtsp_case,
    "rtsp that comes back": lambda folder: reconnecting(rtsp_case(folder)),
    "http file that could come back": lambda folder: reconnecting(
        http_case(media.constant_rate, folder)
    ),
    "replay": replay_case,
    "faults": faults_case,
    "screen": screen_case,
}


def read_all(source: FrameSource, *, is_endless: bool = False) -> Iterator[Frame]:
    """Every frame, or a sample if there is no end."""
    left = ENDLESS_SAMPLE if is_endless else sys.maxsize
    while left and (frame := source.read()) is not None:
        yield frame
        left -= 1
