"""The process that muxes for one connection, seen from the program: see ``muxer.py``."""

from __future__ import annotations

import contextlib
import json
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO, cast

from av.packet import Packet

from stream.errors import SinkDenied, SinkError
from stream.publish.muxer import HEADER
from stream.publish.target import PublishTarget
from stream.redact import redact

_SCRIPT = Path(__file__).with_name("muxer.py")

_DENIALS = {
    "HTTPUnauthorizedError": "wants a user and a password, or those given are wrong.",
    "HTTPForbiddenError": "does not allow this user to publish.",
    "PermissionError": "may not be written by this user.",
}
_REASONS = {
    "ConnectionRefusedError": "refuses the connection: is the server up, the port right?",
    "ConnectionResetError": "broke the connection.",
    "BrokenPipeError": "broke the connection.",
    "EOFError": "broke the connection.",
    "HTTPNotFoundError": "takes no stream at this path.",
    "HTTPClientError": "does not accept the request.",
    "HTTPServerError": "reports an error of its own.",
}


class MuxerProcess:
    """Takes packets and reports how it goes. One thread uses it; any may ``kill`` it.

    Args:
        target: where to publish.
        coded_size: (width, height) px of the pictures.

    Raises:
        SinkError: if there can be no process.

    Attributes:
        is_connected: whether the server has taken the stream, as far as is known.
    """

    def __init__(self, target: PublishTarget, coded_size: tuple[int, int]) -> None:
        self.is_connected = False
        self._name = target.name
        self._error: dict[str, str] | None = None
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(_SCRIPT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # what it has to say may hold the URL
                start_new_session=True,  # a Ctrl-C is for the program, which ends it in order
            )
        except OSError as error:
            reason = f"no process can be started: {error.strerror}"
            raise SinkError(f"{self._name} cannot be written to: {reason}.") from error
        width, height = coded_size
        self._task: dict[str, Any] | None = {
            "url": target.url,  # not among the arguments, which every user of the machine can see
            "muxer": target.muxer,
            "options": target.options,
            "width": width,
            "height": height,
        }

    def put(self, packet: Packet[Any]) -> None:
        """Send a packet; waits while the server is slow, up to the process's own deadlines.

        Raises:
            SinkDenied: if user or password are wrong.
            SinkError: if the connection failed.
        """
        content = bytes(packet)
        assert packet.pts is not None
        begin = b"" if self._task is None else json.dumps(self._task).encode() + b"\n"
        self._task = None
        header = HEADER.pack(packet.pts, len(content), packet.is_keyframe)
        try:
            self._input.write(begin + header + content)
            self._input.flush()
        except OSError:
            raise self._ended() from None
        self.check()

    def check(self) -> None:
        """Learn how it goes.

        Raises:
            SinkDenied: if user or password are wrong.
            SinkError: if the connection failed.
        """
        self._listen()
        if self._error is not None or self._process.poll() is not None:
            raise self._ended()

    @property
    def has_begun(self) -> bool:
        """Whether there was a packet, with which it begins to connect."""
        return self._task is None

    def finish(self) -> None:
        """End the stream in order; waits for that as ``put`` does.

        Raises:
            SinkError: if it could not be ended in order.
        """
        with contextlib.suppress(OSError):
            self._input.close()
        error = self._ended()
        if self._process.returncode or self._error is not None:
            raise error

    def kill(self) -> None:
        """Give it up, from any thread; whoever waits for it goes on at once."""
        self._process.kill()

    def discard(self) -> None:
        """Leave nothing of it. Legal in every state, any number of times."""
        self._process.kill()
        self._ended()

    def _listen(self) -> None:
        """Take what it has said so far."""
        while select.select([self._output], [], [], 0)[0]:
            if not self._hear():
                return

    def _hear(self) -> bool:
        """Wait for a line; False at the end."""
        line = self._output.readline()
        if not line.endswith(b"\n"):  # or it was killed while it said so
            return False
        said = json.loads(line)
        if "error" in said:
            self._error = said
        self.is_connected = self.is_connected or "connected" in said
        return True

    def _ended(self) -> SinkError:
        """Wait for the end and say why it came."""
        if not self._output.closed:
            while self._hear():
                continue
        self._process.wait()
        with contextlib.suppress(OSError):
            self._input.close()
        self._output.close()
        return self._reason()

    def _reason(self) -> SinkError:
        if self._error is None:
            if self._process.returncode in (-signal.SIGALRM, -signal.SIGKILL):
                return SinkError(f"{self._name} was silent for too long.")
            return SinkError(f"{self._name} could not be written to.")
        kind, detail = self._error["error"], self._error["detail"]
        if kind in _DENIALS:
            return SinkDenied(f"{self._name} {_DENIALS[kind]}")
        if kind in _REASONS:
            return SinkError(f"{self._name} {_REASONS[kind]}")
        return SinkError(f"{self._name} cannot be written to: {redact(detail).rstrip('.')}.")

    @property
    def _input(self) -> BinaryIO:
        return cast("BinaryIO", self._process.stdin)

    @property
    def _output(self) -> BinaryIO:
        return cast("BinaryIO", self._process.stdout)
