"""Events to a web server: a POST each, signed after standardwebhooks.com.

The receiver checks ``webhook-signature: v1,BASE64``, the HMAC-SHA256 of
``{webhook-id}.{webhook-timestamp}.{body}``, with any of that standard's libraries, and leaves out
a ``webhook-id`` that it has seen. No redirect is followed, so nothing signed goes elsewhere.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import http.client
import socket
import time
from collections.abc import Sequence

from stream.errors import UsageError
from stream.events.deliverer import ANSWER_SECONDS, CONNECT_SECONDS, Deliverer, DeliveryFailed
from stream.events.spool import SpooledEvent
from stream.events.target import Target, number

OPTIONS = ("secret", "batch")
_REFUSED = frozenset({400, 413, 415, 422})  # this body will not be taken tomorrow, either
_LONGEST_WAIT_SECONDS = 600


class Webhook(Deliverer):
    """One POST an event, or a JSON array of up to ``batch`` events.

    Args:
        target: ``http`` or ``https``; user and password become basic authentication.

    Raises:
        UsageError: if an option makes no sense.
    """

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.name = target.name
        self._target = target
        self._key = _key(target)
        size = number(target.name, target.options, "batch", 0, 0, 1000)
        self._in_arrays, self._largest = size > 0, max(1, size)
        self._size = self._largest  # of an array; less while one is refused for an event in it
        self._connection: http.client.HTTPConnection | None = None

    def deliver(self, events: Sequence[SpooledEvent]) -> None:
        start = 0
        while start < len(events):
            part = events[start : start + self._size]
            bodies = ",".join(event.body for event in part)
            body = (f"[{bodies}]" if self._in_arrays else bodies).encode()
            try:
                if self._interrupted.is_set():
                    raise DeliveryFailed("the run ends")
                self._post(part[-1].id, body)
            except DeliveryFailed as error:
                self._disconnect()
                if error.is_refused and len(part) > 1:  # find out which of them it is
                    self._size = len(part) // 2
                    continue
                error.delivered = start
                raise
            start += len(part)
            self._size = min(self._largest, self._size + 1)

    def _post(self, event_id: str, body: bytes) -> None:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "rcnn-live",
            **_signature(self._key, event_id, body),
            **self._authorization(),
        }
        try:
            try:
                answer = self._exchange(body, headers)
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                if self._interrupted.is_set():
                    raise
                self._disconnect()  # a connection that was kept open too long: once more
                answer = self._exchange(body, headers)
        except TimeoutError:
            raise DeliveryFailed("it does not answer in time") from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise DeliveryFailed(f"no connection: {reason}") from error
        _check(answer)

    def _exchange(self, body: bytes, headers: dict[str, str]) -> http.client.HTTPResponse:
        if self._connection is None:
            kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
            connection = kinds[self._target.scheme](
                self._target.host, self._target.port, timeout=CONNECT_SECONDS
            )
            self._connection = connection
            connection.connect()
            assert connection.sock is not None
            connection.sock.settimeout(ANSWER_SECONDS)
        self._connection.request("POST", self._target.request, body, headers)
        answer = self._connection.getresponse()
        answer.read(1 << 16)
        if not answer.isclosed():  # a longer answer is none of ours
            self._disconnect()
        return answer

    def _authorization(self) -> dict[str, str]:
        if self._target.user is None:
            return {}
        pair = f"{self._target.user}:{self._target.password or ''}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def interrupt(self) -> None:
        super().interrupt()
        connection = self._connection
        sock = None if connection is None else connection.sock
        if sock is not None:
            with contextlib.suppress(OSError):  # it has just gone by itself
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._disconnect()


def _key(target: Target) -> bytes | None:
    """The secret as the standard writes it, ``whsec_`` and base64, or else as it is."""
    secret = target.options.get("secret")
    if secret is None:
        return None
    if not secret.startswith("whsec_"):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        raise UsageError(
            f"--events {target.name}: behind whsec_ the secret has to be base64."
        ) from None


def _signature(key: bytes | None, event_id: str, body: bytes) -> dict[str, str]:
    stamp = str(int(time.time()))
    headers = {"webhook-id": event_id, "webhook-timestamp": stamp}
    if key is not None:
        signed = hmac.new(key, f"{event_id}.{stamp}.".encode() + body, hashlib.sha256)
        headers["webhook-signature"] = f"v1,{base64.b64encode(signed.digest()).decode()}"
    return headers


def _check(answer: http.client.HTTPResponse) -> None:
    if 200 <= answer.status < 300:
        return
    reason = f"it answers {answer.status} {answer.reason}".rstrip()
    if 300 <= answer.status < 400:
        reason += ", and redirects are not followed: give the address it leads to"
    wait = answer.headers.get("Retry-After", "")
    raise DeliveryFailed(
        reason,
        is_refused=answer.status in _REFUSED,
        wait_seconds=min(int(wait), _LONGEST_WAIT_SECONDS) if wait.isdecimal() else 0.0,
    )
