"""A real RTSP server for the tests that is published to: gst-rtsp-server with RECORD.

As a module it starts the server, and reads what has come; as a script it is the server, run with
the system's Python as ``rtsp_server.py`` is:

    /usr/bin/python3 rtsp_recorder.py PORT FOLDER [USER PASSWORD]

It takes one H.264 stream at /live, writes each connection's pictures into a file of FOLDER, and
tells on standard output when one ends with TEARDOWN.
"""

from __future__ import annotations

import itertools
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtsp_server import SYSTEM_PYTHON, RtspServer, protect, require

HEADER = struct.Struct("<qI")  # nanoseconds, bytes to come


@dataclass
class RtspRecorder(RtspServer):
    """A running server.

    Attributes:
        folder: of what was received.
    """

    folder: Path = Path()

    def connections(self) -> list[Path]:
        """A file for each connection that brought pictures, in order."""
        return sorted(self.folder.glob("received-*"))

    def received(self) -> int:
        """How many pictures there are."""
        return sum(len(packets_in(file)) for file in self.connections())


def packets_in(file: Path) -> list[tuple[float, bytes]]:
    """Seconds and H.264 of each picture."""
    content, packets, start = file.read_bytes(), [], 0
    while start + HEADER.size <= len(content):
        time, size = HEADER.unpack_from(content, start)
        start += HEADER.size
        if start + size > len(content):
            break  # it is being written
        packets.append((time / 1e9, content[start : start + size]))
        start += size
    return packets


def pictures_in(file: Path) -> list[tuple[float, Any]]:
    """Seconds and (H,W,3) RGB of each picture that can be decoded."""
    import av
    from av.packet import Packet

    decoder: Any = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    times: dict[int, float] = {}
    frames = []
    for number, (seconds, content) in enumerate(packets_in(file)):
        packet: Any = Packet(content)
        packet.pts, times[number] = number, seconds
        frames += decoder.decode(packet)
    frames += decoder.decode(None)
    return [(times[frame.pts], frame.to_ndarray(format="rgb24")) for frame in frames]


@contextmanager
def rtsp_recorder(
    folder: Path, *, user: str | None = None, password: str | None = None, port: int = 0
) -> Iterator[RtspRecorder]:
    """Take what is published until the end of the block.

    Args:
        folder: for what is received; made if need be.
        user: who may publish; None for everybody.
        password: of the user.
        port: to listen on; 0 for any that is free.
    """
    require()
    folder.mkdir(exist_ok=True)
    command = [SYSTEM_PYTHON, __file__, str(port), str(folder)]
    if user is not None and password is not None:
        command += [user, password]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("port "), f"the RTSP server did not start: {line!r}"
            yield RtspRecorder(process, int(line.split()[1]), folder=folder)
        finally:
            process.kill()  # also works on a frozen one


def _serve(port: str, folder: Path, credentials: list[str]) -> None:
    """Take streams at /live until killed."""
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtspServer

    Gst.init(None)
    taken = itertools.count(len(list(folder.iterdir())))

    def tell(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    def take(media: Any) -> None:
        """Write what the media's appsink gets into a file of its own."""
        path = folder / f"received-{next(taken):04d}"

        def write(sink: Any) -> Any:
            buffer = sink.emit("pull-sample").get_buffer()
            content = buffer.extract_dup(0, buffer.get_size())
            with path.open("ab") as file:
                file.write(HEADER.pack(buffer.pts, len(content)) + content)
            return Gst.FlowReturn.OK

        media.get_element().get_child_by_name("out").connect("new-sample", write)

    def leave(client: Any, context: Any) -> None:
        tell("teardown")

    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        "( rtph264depay name=depay0 ! video/x-h264,stream-format=byte-stream,alignment=au "
        "! appsink name=out emit-signals=true sync=false )"
    )
    factory.set_transport_mode(GstRtspServer.RTSPTransportMode.RECORD)
    factory.set_latency(0)
    factory.connect("media-configure", lambda _, media: take(media))
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    server.get_mount_points().add_factory("/live", factory)
    if credentials:
        protect(GstRtspServer, server, factory, credentials, None)
    server.connect("client-connected", lambda _, client: client.connect("teardown-request", leave))
    server.attach(None)
    tell(f"port {server.get_bound_port()}")
    GLib.MainLoop().run()


if __name__ == "__main__":
    _serve(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
