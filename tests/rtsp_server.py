"""A real RTSP server for the tests: gst-rtsp-server in a process of its own.

As a module it is the helper that starts, freezes and kills the server. As a script it is the
server, run with the system's Python because only that has the GStreamer bindings:

    /usr/bin/python3 rtsp_server.py PORT CLIP.json [USER PASSWORD]

It serves the clip without end at /live, prints its port, and needs these packages of Debian:
gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-base gstreamer1.0-plugins-good
"""

from __future__ import annotations

import base64
import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SYSTEM_PYTHON = "/usr/bin/python3"
_BINDINGS = (
    "import gi; gi.require_version('GstRtspServer', '1.0'); gi.require_version('Gst', '1.0')"
)


@dataclass
class RtspServer:
    """A running server.

    Attributes:
        process: of the server.
        port: on 127.0.0.1.
    """

    process: subprocess.Popen[str]
    port: int

    def url(self, path: str = "live", user_info: str = "") -> str:
        """The address of ``path``; ``user_info`` is "user:password"."""
        return f"rtsp://{user_info}{'@' if user_info else ''}127.0.0.1:{self.port}/{path}"

    def freeze(self) -> None:
        """Stop answering, with every connection open."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after ``freeze``."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End at once, as in a power cut."""
        self.process.kill()
        self.process.wait()


@functools.cache
def missing() -> str | None:
    """Why no server can run here, or None if one can."""
    if not Path(SYSTEM_PYTHON).exists():
        return f"there is no {SYSTEM_PYTHON}"
    probe = subprocess.run([SYSTEM_PYTHON, "-c", _BINDINGS], capture_output=True, check=False)
    return None if probe.returncode == 0 else "gir1.2-gst-rtsp-server-1.0 is not installed"


def require() -> None:
    """Skip the test if no server can run here; fail it if REQUIRE_SERVERS=1."""
    import pytest

    if reason := missing():
        if os.environ.get("REQUIRE_SERVERS") == "1":
            pytest.fail(f"REQUIRE_SERVERS=1, but {reason}")
        pytest.skip(reason)


@contextmanager
def rtsp_server(
    folder: Path, *, user: str | None = None, password: str | None = None, port: int = 0
) -> Iterator[RtspServer]:
    """Serve marked pictures, 128x96 at 25 fps, until the end of the block.

    Args:
        folder: for the clip.
        user: who may watch; None for everybody.
        password: of the user.
        port: to listen on; 0 for any that is free.
    """
    require()
    clip = folder / "rtsp_clip.json"
    clip.write_text(json.dumps({"frame_rate": 25, "packets": _clip_packets()}), encoding="utf-8")
    command = [SYSTEM_PYTHON, __file__, str(port), str(clip)]
    if user is not None and password is not None:
        command += [user, password]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("port "), f"the RTSP server did not start: {line!r}"
            yield RtspServer(process, int(line.split()[1]))
        finally:
            process.kill()  # also works on a frozen one


def _clip_packets() -> list[str]:
    """48 H.264 access units in Annex B, a keyframe every 12, no B-frames; in base 64."""
    from fractions import Fraction

    import av
    import media

    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = 128, 96, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
    encoder.gop_size, encoder.max_b_frames, encoder.thread_count = 12, 0, 1
    encoder.options = {"tune": "zerolatency", "sliced-threads": "0", "sc_threshold": "0"}
    packets = []
    for number in range(48):
        frame = av.VideoFrame.from_ndarray(media.marked_picture(number), format="rgb24")
        frame.pts = number
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    return [base64.b64encode(bytes(packet)).decode() for packet in packets]


def _serve(port: str, clip: dict[str, Any], credentials: list[str]) -> None:
    """Serve ``clip`` at /live until killed."""
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtspServer

    Gst.init(None)
    packets = [base64.b64decode(packet) for packet in clip["packets"]]

    def feed(media: Any) -> None:
        """Push a packet a tick into the media's appsrc for as long as it lives."""
        source = media.get_element().get_child_by_name("source")
        numbers = iter(range(sys.maxsize))

        def push() -> bool:
            packet = packets[next(numbers) % len(packets)]
            flow = source.emit("push-buffer", Gst.Buffer.new_wrapped(packet))
            return bool(flow == Gst.FlowReturn.OK)

        tick = GLib.timeout_add(1000 // clip["frame_rate"], push)
        media.connect("unprepared", lambda _: GLib.source_remove(tick))

    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        "( appsrc name=source is-live=true do-timestamp=true format=time "
        "caps=video/x-h264,stream-format=byte-stream,alignment=au "
        "! rtph264pay name=pay0 pt=96 config-interval=-1 )"
    )
    factory.set_shared(True)
    factory.connect("media-configure", lambda _, media: feed(media))
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    server.get_mount_points().add_factory("/live", factory)
    if credentials:
        _protect(GstRtspServer, server, factory, *credentials)
    server.attach(None)
    sys.stdout.write(f"port {server.get_bound_port()}\n")
    sys.stdout.flush()
    GLib.MainLoop().run()


def _protect(api: Any, server: Any, factory: Any, user: str, password: str) -> None:
    """Let only ``user`` watch."""
    token = api.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth = api.RTSPAuth()
    auth.add_basic(api.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    permissions = api.RTSPPermissions()
    for permission in ("media.factory.access", "media.factory.construct"):
        permissions.add_permission_for_role("viewer", permission, True)
    factory.set_permissions(permissions)


if __name__ == "__main__":
    _serve(sys.argv[1], json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")), sys.argv[3:])
