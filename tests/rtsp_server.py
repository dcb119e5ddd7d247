"""A real RTSP server for the tests: gst-rtsp-server in a process of its own.

As a module it is the helper that starts, freezes and kills the server. As a script it is the
server, run with the system's Python because only that has the GStreamer bindings:

    /usr/bin/python3 rtsp_server.py PORT CLIP.json [USER PASSWORD]

It serves the clip without end at /live and a sound at /audio, over TLS if the clip names a
certificate, prints its port, and needs these packages of Debian:
gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-base gstreamer1.0-plugins-good
glib-networking
"""

from __future__ import annotations

import base64
import functools
import json
import math
import os
import random
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOUNDS = {  # Hz, and what encodes and sends it
    "aac": (48_000, "voaacenc ! rtpmp4gpay name=pay1 pt=97"),
    "opus": (48_000, "opusenc ! rtpopuspay name=pay1 pt=97"),
    "alaw": (8000, "alawenc ! rtppcmapay name=pay1 pt=8"),
}
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
        scheme: rtsp or rtsps.
    """

    process: subprocess.Popen[str]
    port: int
    scheme: str = "rtsp"

    def url(self, path: str = "live", user_info: str = "") -> str:
        """The address of ``path``; ``user_info`` is "user:password"."""
        return f"{self.scheme}://{user_info}{'@' if user_info else ''}127.0.0.1:{self.port}/{path}"

    def wait_for_goodbye(self) -> None:
        """Until a viewer has sent TEARDOWN."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "teardown\n"

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
    folder: Path,
    *,
    user: str | None = None,
    password: str | None = None,
    port: int = 0,
    sizes: Sequence[tuple[int, int]] = ((128, 96),),
    damage: float = 0.0,
    loss: float = 0.0,
    certificate: Path | None = None,
    sound: str | None = None,
) -> Iterator[RtspServer]:
    """Serve marked pictures, 128x96 at 25 fps, until the end of the block.

    Args:
        folder: for the clip.
        user: who may watch; None for everybody.
        password: of the user.
        port: to listen on; 0 for any that is free.
        sizes: width and height px; each for 48 frames, one after the other.
        damage: part of the H.264 packets with wrong bytes in them.
        loss: part of the RTP packets that never leave the server.
        certificate: a PEM file with its key; serve over TLS.
        sound: one of ``SOUNDS``, which beeps while one of the first three pictures is shown.
    """
    require()
    clip = folder / "rtsp_clip.json"
    packets = [packet for size in sizes for packet in _clip_packets(*size)]
    content = {
        "frame_rate": 25,
        "loss": loss,
        "packets": _damaged(packets, damage),
        "certificate": certificate and str(certificate),
        "sound": sound,
    }
    clip.write_text(json.dumps(content), encoding="utf-8")
    command = [SYSTEM_PYTHON, __file__, str(port), str(clip)]
    if user is not None and password is not None:
        command += [user, password]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("port "), f"the RTSP server did not start: {line!r}"
            yield RtspServer(process, int(line.split()[1]), "rtsps" if certificate else "rtsp")
        finally:
            process.kill()  # also works on a frozen one


@functools.cache
def _clip_packets(width: int, height: int) -> list[bytes]:
    """48 H.264 access units in Annex B, a keyframe every 12, no B-frames."""
    from fractions import Fraction

    import av
    import media

    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
    encoder.gop_size, encoder.max_b_frames, encoder.thread_count = 12, 0, 1
    encoder.options = {"tune": "zerolatency", "sliced-threads": "0", "sc_threshold": "0"}
    packets = []
    for number in range(48):
        picture = media.marked_picture(number, width=width, height=height)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts = number
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    return [bytes(packet) for packet in packets]


def _damaged(packets: list[bytes], part: float) -> list[str]:
    """In base 64; the second half of every so many packets is noise, always of the same ones."""
    chance = random.Random(0)
    sent = []
    for packet in packets:
        content = bytearray(packet)
        if chance.random() < part:
            half = len(content) // 2
            content[half:] = chance.randbytes(len(content) - half)
        sent.append(base64.b64encode(content).decode())
    return sent


def _tone(rate: int, parts: int, *, is_loud: bool) -> bytes:
    """One of so many parts of a second of 1 kHz, or of silence, in 16 bits."""
    waves = (math.sin(2000 * math.pi * k / rate) for k in range(rate // parts))
    return b"".join(struct.pack("<h", round(20_000 * is_loud * wave)) for wave in waves)


def _serve(port: str, clip: dict[str, Any], credentials: list[str]) -> None:
    """Serve ``clip`` at /live until killed."""
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtspServer

    Gst.init(None)
    packets = [base64.b64decode(packet) for packet in clip["packets"]]
    chance = random.Random(0)

    def feed(media: Any) -> None:
        """Push a packet a tick into the media's appsrc for as long as it lives."""
        source = media.get_element().get_child_by_name("source")
        beeps = media.get_element().get_child_by_name("beeps")
        numbers = iter(range(sys.maxsize))
        tick_ns = Gst.SECOND // clip["frame_rate"]

        def push() -> bool:
            number = next(numbers)
            picture = Gst.Buffer.new_wrapped(packets[number % len(packets)])
            if beeps is not None:
                picture.pts = number * tick_ns
                tone = _tone(rate, clip["frame_rate"], is_loud=number % len(packets) < 3)
                sound = Gst.Buffer.new_wrapped(tone)
                sound.pts, sound.duration = picture.pts, tick_ns
                beeps.emit("push-buffer", sound)
            flow = source.emit("push-buffer", picture)
            return bool(flow == Gst.FlowReturn.OK)

        payloader = media.get_element().get_child_by_name("pay0")
        payloader.get_static_pad("src").add_probe(Gst.PadProbeType.BUFFER, lose)
        tick = GLib.timeout_add(1000 // clip["frame_rate"], push)
        media.connect("unprepared", lambda _: GLib.source_remove(tick))

    def tell(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    def leave(client: Any, context: Any) -> None:
        tell("teardown")

    def lose(pad: Any, info: Any) -> Any:
        lost = chance.random() < clip["loss"]
        return Gst.PadProbeReturn.DROP if lost else Gst.PadProbeReturn.OK

    rate, sender = SOUNDS.get(clip["sound"], (0, ""))
    beeping = (
        f"appsrc name=beeps is-live=true format=time caps=audio/x-raw,format=S16LE,rate={rate},"
        f"channels=1,layout=interleaved ! audioconvert ! {sender} "
        if sender
        else ""
    )
    factory = GstRtspServer.RTSPMediaFactory()
    sound = GstRtspServer.RTSPMediaFactory()
    sound.set_launch("( audiotestsrc is-live=true ! alawenc ! rtppcmapay name=pay0 pt=8 )")
    factory.set_launch(
        f"( appsrc name=source is-live=true do-timestamp={not clip['sound']} format=time "
        "caps=video/x-h264,stream-format=byte-stream,alignment=au "
        f"! rtph264pay name=pay0 pt=96 config-interval=-1 {beeping})"
    )
    factory.set_shared(True)
    factory.connect("media-configure", lambda _, media: feed(media))
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    server.get_mount_points().add_factory("/live", factory)
    server.get_mount_points().add_factory("/audio", sound)
    if credentials or clip["certificate"]:
        protect(GstRtspServer, server, factory, credentials, clip["certificate"])
    server.connect("client-connected", lambda _, client: client.connect("teardown-request", leave))
    server.attach(None)
    tell(f"port {server.get_bound_port()}")
    GLib.MainLoop().run()


def protect(
    api: Any, server: Any, factory: Any, credentials: list[str], certificate: str | None
) -> None:
    """Speak TLS only, let only one user watch, or both."""
    auth = api.RTSPAuth()
    if certificate is not None:
        from gi.repository import Gio

        auth.set_tls_certificate(Gio.TlsCertificate.new_from_file(certificate))
    token = api.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    if credentials:
        auth.add_basic(api.RTSPAuth.make_basic(*credentials), token)
    else:
        auth.set_default_token(token)
    server.set_auth(auth)
    permissions = api.RTSPPermissions()
    for permission in ("media.factory.access", "media.factory.construct"):
        permissions.add_permission_for_role("viewer", permission, True)
    factory.set_permissions(permissions)


if __name__ == "__main__":
    _serve(sys.argv[1], json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")), sys.argv[3:])
