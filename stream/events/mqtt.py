"""Events to an MQTT broker, each confirmed (QoS 1), and what Home Assistant shows of them.

``TOPIC`` of the URL gets every event; ``TOPIC/status`` is ``online`` or ``offline``, kept by the
broker; with ``#discovery=homeassistant`` see ``home_assistant.py``.
"""

from __future__ import annotations

import selectors
import ssl
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stream.errors import UsageError
from stream.events.deliverer import (
    ANSWER_SECONDS,
    CONNECT_SECONDS,
    Deliverer,
    DeliveryFailed,
    need,
)
from stream.events.home_assistant import HomeAssistant
from stream.events.spool import SpooledEvent
from stream.events.target import Target

if TYPE_CHECKING:
    from paho.mqtt.client import Client

OPTIONS = ("discovery",)
_KEEPALIVE_SECONDS = 30
_POLL_SECONDS = 0.1  # how soon an interrupt is noticed
_GOODBYE_SECONDS = 0.5
_QOS = 1
_LARGEST_PACKET = 268_435_455  # bytes that MQTT can count
_HEAD_BYTES = 20  # more than a message has beside topic and body
_PACKET_TOO_LARGE, _PAYLOAD_INVALID = 0x95, 0x99
# malformed packet and protocol error, which brokers say of a message they will not have
_BLAMES_PACKET = (0x81, 0x82, _PACKET_TOO_LARGE, _PAYLOAD_INVALID)
DEFAULT_TOPIC = "rcnn-live"


class Mqtt(Deliverer):
    """Speaks MQTT 5, because older versions cannot tell that a message was not taken.

    Args:
        target: ``mqtt`` or, with TLS, ``mqtts``.
        source: name of the source, for Home Assistant.

    Raises:
        UsageError: if the topic is none, or paho-mqtt is not installed.
    """

    def __init__(self, target: Target, source: str) -> None:
        super().__init__()
        self.name = target.name
        self._paho = need("paho.mqtt.client", "paho-mqtt", f"--events {target.name}")
        self._target = target
        self._topic = target.path.rstrip("/") or DEFAULT_TOPIC
        if any(sign in self._topic for sign in "+#\0"):
            raise UsageError(f"--events {target.name}: a topic has no + and no #.")
        self._client: Client | None = None
        self._problem = ""  # what the broker says, since the last attempt
        self._confirmed: set[int] = set()  # message ids
        self._refused: dict[int, str] = {}  # message id to what the broker has against it
        self._largest_packet = _LARGEST_PACKET
        self._is_packet_blamed = False
        self._entities = (
            HomeAssistant(target.options["discovery"] or "homeassistant", self._topic, source)
            if "discovery" in target.options
            else None
        )

    def deliver(self, events: Sequence[SpooledEvent]) -> None:
        try:
            client = self._client or self._connect()
            self._publish_all(client, events)
            if self._entities is not None:
                try:
                    self._publish_entities(client, self._entities, events)
                except DeliveryFailed as error:
                    error.delivered = len(events)  # only what is made of them is not there
                    raise
        except DeliveryFailed as error:
            if not error.is_refused or self._client is None or self._client.socket() is None:
                self._drop_connection()
            raise
        if self.batch < Deliverer.batch:
            self.batch += 1  # the suspect of ``_publish_all`` was another, or is through

    def _publish_all(self, client: Client, events: Sequence[SpooledEvent]) -> None:
        bodies = [event.body.encode() for event in events]
        room = self._largest_packet - len(self._topic.encode()) - _HEAD_BYTES
        fitting = next((i for i, body in enumerate(bodies) if len(body) > room), len(bodies))
        self._confirmed.clear()
        self._refused.clear()
        self._is_packet_blamed = False
        sent = [client.publish(self._topic, body, _QOS).mid for body in bodies[:fitting]]
        try:
            self._wait_for(client, set(sent))
        except DeliveryFailed:
            if self._is_packet_blamed:  # find out which it is: from now on one at a time
                if len(sent) == 1:
                    raise DeliveryFailed(self._problem, is_refused=True) from None
                self.batch = 1
            raise
        for done, mid in enumerate(sent):
            if mid in self._refused:
                raise DeliveryFailed(self._refused[mid], done, is_refused=True)
        if fitting < len(bodies):
            raise DeliveryFailed("it takes no message so large", fitting, is_refused=True)

    def _publish_entities(
        self, client: Client, entities: HomeAssistant, events: Sequence[SpooledEvent]
    ) -> None:
        updates = entities.updates([event.body for event in events])
        self._wait_for(
            client,
            {
                client.publish(topic, text.encode(), _QOS, retain=True).mid
                for topic, text in updates
            },
        )

    def idle(self) -> None:
        if self._client is not None:
            try:
                self._turn(self._client, 0.0)
            except DeliveryFailed:  # the next events open another connection
                self._drop_connection()

    def close(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        try:
            goodbye = client.publish(f"{self._topic}/status", b"offline", _QOS, retain=True).mid
            self._wait_for(client, {goodbye}, _GOODBYE_SECONDS, may_interrupt=False)
        except DeliveryFailed:  # the broker says it in our place
            pass
        client.disconnect()

    def _connect(self) -> Client:
        paho, target = self._paho, self._target
        client: Client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5, reconnect_on_failure=False
        )
        client.connect_timeout = CONNECT_SECONDS
        client.max_queued_messages_set(0)
        if target.user is not None:
            client.username_pw_set(target.user, target.password)
        if target.scheme == "mqtts":
            client.tls_set_context(ssl.create_default_context())
        client.will_set(f"{self._topic}/status", b"offline", _QOS, retain=True)
        client.on_connect = self._on_connect
        client.on_publish = self._on_publish
        client.on_disconnect = self._on_disconnect
        self._problem = ""
        self._confirmed.clear()
        self._refused.clear()
        default_port = 8883 if target.scheme == "mqtts" else 1883
        try:
            client.connect(target.host, target.port or default_port, _KEEPALIVE_SECONDS)
        except OSError as error:
            reason = error.strerror or str(error) or "it does not answer"
            raise DeliveryFailed(f"no connection: {reason}") from error
        self._client = client
        until = time.monotonic() + CONNECT_SECONDS
        while not client.is_connected():
            self._turn(client, _POLL_SECONDS)
            self._check_patience(until)
        online = client.publish(f"{self._topic}/status", b"online", _QOS, retain=True).mid
        self._wait_for(client, {online})
        if self._entities is not None:
            self._entities.forget()
        return client

    def _wait_for(
        self,
        client: Client,
        mids: set[int],
        seconds: float = ANSWER_SECONDS,
        *,
        may_interrupt: bool = True,
    ) -> None:
        """Until the broker has confirmed all of them; each confirmation renews the patience."""
        until, before = time.monotonic() + seconds, len(self._confirmed)
        while not mids <= self._confirmed | self._refused.keys():
            self._turn(client, _POLL_SECONDS)
            if len(self._confirmed) > before:
                until, before = time.monotonic() + seconds, len(self._confirmed)
            self._check_patience(until, may_interrupt=may_interrupt)

    def _check_patience(self, until: float, *, may_interrupt: bool = True) -> None:
        if may_interrupt and self._interrupted.is_set():
            raise DeliveryFailed("the run ends")
        if time.monotonic() > until:
            raise DeliveryFailed("it does not answer in time")

    def _turn(self, client: Client, seconds: float) -> None:
        """Let the library read and write, waiting for the network at most so long."""
        sock = client.socket()
        if sock is not None:
            # select() itself cannot tell files of a number above 1023
            with selectors.DefaultSelector() as selector:
                wanted = selectors.EVENT_READ
                if client.want_write():
                    wanted |= selectors.EVENT_WRITE
                selector.register(sock, wanted)
                pending = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
                ready = selector.select(0 if pending else seconds)
            events = ready[0][1] if ready else 0
            if pending or events & selectors.EVENT_READ:
                client.loop_read()
            if events & selectors.EVENT_WRITE:
                client.loop_write()
            client.loop_misc()
        if self._problem or client.socket() is None:
            raise DeliveryFailed(self._problem or "the connection is gone")

    def _drop_connection(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()

    # ── called by the library, from within _turn ──

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, code: Any, more: Any) -> None:
        if code.is_failure:
            self._problem = f"it refuses the connection: {code}"
        self._largest_packet = getattr(more, "MaximumPacketSize", _LARGEST_PACKET)

    def _on_publish(self, _client: Any, _data: Any, mid: int, code: Any, _more: Any) -> None:
        if code.value in (_PACKET_TOO_LARGE, _PAYLOAD_INVALID):
            self._refused[mid] = str(code)
        elif code.is_failure:
            self._problem = f"it refuses the topic {self._topic}: {code}"
        else:
            self._confirmed.add(mid)

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, code: Any, _more: Any) -> None:
        if not self._problem and code.value in _BLAMES_PACKET:  # whichever side found it
            self._is_packet_blamed = True
        self._problem = self._problem or f"the connection is gone: {code}"
