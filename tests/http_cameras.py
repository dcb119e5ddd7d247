"""Real HTTP servers for the tests: a camera's MJPEG, a live HLS playlist, sound that goes on."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import cv2
import media
import numpy as np

RATE = 20  # pictures a second
PICTURES = 40  # before there is nothing but sound


class _Server(ThreadingHTTPServer):
    """One that ends its viewers' connections when it ends."""

    daemon_threads = True

    def __init__(self, port: int, handler: Callable[..., BaseHTTPRequestHandler]) -> None:
        self.stopped = threading.Event()
        super().__init__(("127.0.0.1", port), handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A viewer that goes is no error."""


@contextlib.contextmanager
def _serving(port: int, handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[int]:
    server = _Server(port, handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - its name there
        """Nothing on the terminal."""


class _Mjpeg(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
        self.end_headers()
        for number in range(10_000):
            _, jpeg = cv2.imencode(".jpg", media.marked_picture(number % 48)[..., ::-1])
            head = f"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            self.wfile.write(head.encode() + jpeg.tobytes() + b"\r\n")
            if self.server.stopped.wait(1 / RATE):
                return

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - its name there
        """Nothing on the terminal."""


def mjpeg_camera(port: int = 0) -> contextlib.AbstractContextManager[int]:
    """Marked pictures as multipart JPEG on 127.0.0.1; gives the port."""
    return _serving(port, _Mjpeg)


class _SoundGoesOn(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "video/mp2t")
        self.end_headers()
        # the writer is told to wait for no picture before it sends the sound
        options = {"flush_packets": "1", "max_interleave_delta": "100000"}
        with av.open(self.wfile, "w", format="mpegts", options=options) as output:
            stream: Any = output.add_stream("libx264", rate=RATE)
            stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
            stream.codec_context.gop_size = RATE
            stream.codec_context.options = {"tune": "zerolatency", "preset": "ultrafast"}
            sound: Any = output.add_stream("aac", rate=16_000, layout="mono")
            silence = np.zeros((1, 16_000 // RATE), np.float32)
            began = time.monotonic()
            for number in range(10_000):
                if number < PICTURES:
                    picture = media.marked_picture(number % 48, width=128, height=96)
                    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                    frame.pts, frame.time_base = number, Fraction(1, RATE)
                    output.mux(stream.encode(frame))
                samples = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
                samples.sample_rate, samples.time_base = 16_000, Fraction(1, 16_000)
                samples.pts = number * silence.shape[1]
                output.mux(sound.encode(samples))
                if self.server.stopped.wait(max(0.0, began + number / RATE - time.monotonic())):
                    return

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - its name there
        """Nothing on the terminal."""


def camera_whose_sound_goes_on() -> contextlib.AbstractContextManager[int]:
    """``PICTURES`` to each viewer on 127.0.0.1, and then its sound alone; gives the port."""
    return _serving(0, _SoundGoesOn)


def files_of(folder: Path, port: int = 0) -> contextlib.AbstractContextManager[int]:
    """What a folder holds, over HTTP on 127.0.0.1; gives the port."""
    return _serving(port, functools.partial(_Quiet, directory=str(folder)))


@contextlib.contextmanager
def live_playlist(folder: Path) -> Iterator[Path]:
    """An HLS playlist that an encoder writes at the pace of a camera; gives its path."""
    path, stopped = folder / "live.m3u8", threading.Event()
    thread = threading.Thread(target=_encode, args=(path, stopped))
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while not path.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield path
    finally:
        stopped.set()
        thread.join()


def _encode(path: Path, stopped: threading.Event) -> None:
    options = {"hls_time": "1", "hls_list_size": "4", "hls_flags": "delete_segments+temp_file"}
    with av.open(str(path), "w", format="hls", options=options) as output:
        stream: Any = output.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.codec_context.time_base = Fraction(1, RATE)
        stream.codec_context.gop_size = RATE
        stream.codec_context.options = {"tune": "zerolatency", "sc_threshold": "0"}
        began = time.monotonic()
        for number in range(10_000):
            picture = media.marked_picture(number % 48, width=128, height=96)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            output.mux(stream.encode(frame))
            if stopped.wait(max(0.0, began + number / RATE - time.monotonic())):
                break
        output.mux(stream.encode(None))
