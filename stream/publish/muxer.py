"""The process that sends packets on: run as a script, it knows nothing but its task and PyAV.

PyAV holds Python's lock while FFmpeg connects to a server or says goodbye to it, and nothing can
interrupt that: in the program itself a slow server would stop every thread. Here it stops nobody,
an alarm ends the process when a call takes too long, and whoever started it may kill it.

It reads from standard input a line of JSON, the task, and then packets, each behind ``HEADER``;
the end of the input is the end of the stream. It writes lines of JSON: ``{"connected": true}``
once, or ``{"error": NAME, "detail": TEXT}`` at last.
"""

from __future__ import annotations

import contextlib
import json
import signal
import struct
import sys
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, BinaryIO

import av
from av.packet import Packet

TIME_BASE = Fraction(1, 90_000)  # of RTP and MPEG-TS
HEADER = struct.Struct("<qI?")  # time in units of the time base, bytes to come, is it a keyframe
CONNECT_SECONDS = 10.0  # a name to look up and a handshake take their time
WRITE_SECONDS = 5.0
CLOSE_SECONDS = 2.0  # for what waits, and for a goodbye


def main() -> None:
    """Do the task on standard input."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # an end without Python, which may be waiting
    task = json.loads(sys.stdin.buffer.readline())
    try:
        _send(task, sys.stdin.buffer)
    except Exception as error:  # noqa: BLE001 - the program that started this tells of it
        detail = getattr(error, "strerror", None) or str(error)
        _tell({"error": type(error).__name__, "detail": detail})


def _send(task: dict[str, Any], source: BinaryIO) -> None:
    container = av.open(task["url"], "w", format=task["muxer"], options=task["options"])
    stream: Any = container.add_mux_stream("h264", width=task["width"], height=task["height"])
    is_connected = False
    try:
        for packet in _packets(source):
            packet.stream = stream
            with _limit(WRITE_SECONDS if is_connected else CONNECT_SECONDS):
                container.mux(packet)
            if not is_connected:
                is_connected = True
                _tell({"connected": True})
    finally:
        with _limit(CLOSE_SECONDS):
            container.close()


def _packets(source: BinaryIO) -> Iterator[Packet[Any]]:
    while len(header := source.read(HEADER.size)) == HEADER.size:
        time, size, is_keyframe = HEADER.unpack(header)
        content = source.read(size)
        if len(content) < size:
            return
        packet: Packet[Any] = Packet(content)
        packet.pts = packet.dts = time
        packet.time_base, packet.is_keyframe = TIME_BASE, is_keyframe
        yield packet


@contextlib.contextmanager
def _limit(seconds: float) -> Iterator[None]:
    """End the process if the block takes longer."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _tell(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
