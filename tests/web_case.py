"""A live page with real pipelines behind it, and clients that ask it."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from pieces import CLASS_NAMES, NumberedSource, OneBoxRuntime
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from stream.control.camera import CameraControl, CameraParts
from stream.control.controls import Controls
from stream.control.types import Places
from stream.control.zone_store import ZoneStore
from stream.live import Wanted
from stream.monitor.snapshot import Accounts, CameraSnapshot, status_of
from stream.scene import SceneSettings
from stream.sinks.base import Sink
from stream.sinks.segments import RecordingOptions
from stream.sinks.switched_recording import SwitchedRecording
from stream.sources.base import FrameSource
from stream.stages import build_stages
from stream.threaded import ThreadedPipeline
from stream.web.server import PageServer
from stream.web.settings import ServeSettings

CHANGE = {"X-Requested-With": "rcnn-live"}
DEADLINE_SECONDS = 20.0
ANY_PORT = "127.0.0.1:0"


@dataclass
class Case:
    """What runs.

    Attributes:
        server: of the page.
        controls: of its cameras.
        pipelines: by the name of the camera.
    """

    server: PageServer
    controls: Controls
    pipelines: dict[str, ThreadedPipeline]

    @property
    def url(self) -> str:
        return self.server.url.rstrip("/")

    def client(self, **options: Any) -> httpx.Client:
        """One that may change things, as far as it is let in."""
        headers = {**CHANGE, **options.pop("headers", {})}
        return httpx.Client(base_url=self.url, headers=headers, timeout=20, **options)

    def socket(self, path: str, **options: Any) -> ClientConnection:
        """A WebSocket."""
        return connect(self.url.replace("http", "ws", 1) + path, **options)


@contextmanager
def serving(
    folder: Path,
    *,
    names: tuple[str, ...] = ("door",),
    settings: ServeSettings | None = None,
    source: Callable[[], FrameSource] | None = None,
    sinks: tuple[Sink, ...] = (),
) -> Iterator[Case]:
    """A page with cameras that show 64x48 px, 50 times a second, with a person in each."""
    controls = Controls(folder / "recordings", ZoneStore(folder / "zones.yaml"))
    (folder / "recordings").mkdir(exist_ok=True)
    pipelines: dict[str, ThreadedPipeline] = {}
    with ExitStack() as stack:
        stack.callback(controls.close)
        for name in names:
            found = (source or live_numbers)()
            pipelines[name] = stack.enter_context(_camera(folder, controls, name, found, sinks))
        server = stack.enter_context(
            PageServer(settings or ServeSettings(address=ANY_PORT), controls)
        )
        yield Case(server, controls, pipelines)


def live_numbers() -> FrameSource:
    return NumberedSource(None, is_live=True, period_seconds=0.02)


def _camera(
    folder: Path, controls: Controls, name: str, source: FrameSource, sinks: tuple[Sink, ...]
) -> ThreadedPipeline:
    accounts = Accounts()
    recording = SwitchedRecording(
        lambda: controls.recordings.next_path(name, RecordingOptions()), RecordingOptions()
    )

    def snapshot() -> CameraSnapshot:
        return CameraSnapshot.of(name, status_of(pipeline), accounts, pipeline)

    def save(places: Places) -> None:
        controls.zones.save(name, places)

    control: CameraControl = controls.add(
        CameraParts(
            name=name,
            source="numbers",
            model="one_box",
            wanted=Wanted(),
            recording=recording,
            hud_lines=None,
            snapshot=snapshot,
            meter=accounts.meter,
            save=save,
        )
    )
    control.meet(CLASS_NAMES)
    controls.zones.places(name, Places())
    stages = build_stages(
        OneBoxRuntime(),
        [recording, *sinks, *control.sinks()],
        scene=SceneSettings(track=True),
        live=control.live,
    )
    pipeline = ThreadedPipeline(source, stages, meter=accounts.meter, ledger=accounts.ledger)
    return pipeline


def until(holds: Callable[[], Any], what: str) -> Any:
    """What ``holds`` gives once that is true."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (found := holds()):
        assert time.monotonic() < deadline, f"it took too long until {what}"
        time.sleep(0.02)
    return found


def closing_code(socket: ClientConnection) -> int | None:
    """Why the server hangs up, once it has; pictures are answered until then."""
    with suppress(ConnectionClosed):
        while True:
            if isinstance(socket.recv(timeout=DEADLINE_SECONDS), bytes):
                socket.send("ack")
    return socket.close_code


def parsed(message: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and JPEG of a live message."""
    (length,) = struct.unpack(">I", message[:4])
    return json.loads(message[4 : 4 + length]), message[4 + length :]


def next_frame(socket: ClientConnection) -> tuple[dict[str, Any], bytes]:
    """The next picture; what is said of the camera's state is passed over."""
    while True:
        message = socket.recv(timeout=DEADLINE_SECONDS)
        if isinstance(message, bytes):
            return parsed(message)
