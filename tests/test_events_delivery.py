"""Every receiver, killed, silent and back again: each event arrives, and its id tells doubles."""

from __future__ import annotations

import json
import logging
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import brokers
import paho.mqtt.client as paho
import pytest
import redis
from brokers import until

from stream.errors import UsageError
from stream.events import outbox as outbox_module
from stream.events.outbox import Outbox
from stream.events.receivers import create_deliverer
from stream.events.spool import MEBIBYTE

RUN = "20260301T120000.000Z-0123abcd"


def event_id(number: int) -> str:
    return f"{RUN}-{number:010d}"


def body(number: int, label: str = "person", count: int = 1) -> str:
    found = [{"label": label, "score": 0.9, "box": [1, 2, 3, 4]}] * count
    return json.dumps({"type": "frame", "id": event_id(number), "detections": found})


class Subscriber:
    """Collects what a broker sends, as another program would."""

    def __init__(self, port: int, topic: str = "#") -> None:
        self.messages: list[tuple[str, str, bool]] = []  # topic, text, whether it was kept
        self._topic, self._is_subscribed = topic, threading.Event()
        # a session that the broker keeps, so that this program is the one that misses nothing
        self._client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id="subscriber", clean_session=False
        )
        self._client.on_connect = lambda client, *_: client.subscribe(self._topic, 1)
        self._client.on_subscribe = lambda *_: self._is_subscribed.set()
        self._client.on_message = self._on_message
        self._client.on_disconnect = lambda *_: self._is_subscribed.clear()
        self._client.reconnect_delay_set(0.1, 0.2)  # type: ignore[arg-type]
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self.wait()

    def wait(self) -> None:
        """Until the broker knows whom to send to: what it takes before that goes nowhere."""
        assert self._is_subscribed.wait(brokers.SECONDS)

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        self.messages.append((message.topic, message.payload.decode(), message.retain))

    def is_subscribed(self) -> bool:
        return self._is_subscribed.is_set()

    def ids(self, topic: str) -> list[str]:
        return [json.loads(text)["id"] for name, text, _ in self.messages if name == topic]

    def newest(self, topic: str) -> str:
        return next((text for name, text, _ in reversed(self.messages) if name == topic), "")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@dataclass
class Receiver:
    """One kind of receiver, seen from the test."""

    url: str
    ids: Callable[[], list[str]]  # that arrived, in order
    go: Callable[[], None]  # away, in the receiver's own worst way
    come: Callable[[], None]  # back


@contextmanager
def mqtt_receiver(folder: Path) -> Iterator[Receiver]:
    settings = ("persistence true", f"persistence_location {folder}/", "autosave_interval 1")
    with brokers.mosquitto(folder, *settings, "autosave_on_changes true") as broker:
        subscriber = Subscriber(broker.port)
        broker.send_signal(signal.SIGUSR1)  # save: after a kill it still knows the subscriber
        until(lambda: b"subscriber" in brokers.content(folder / "mosquitto.db"), "it does not save")
        url = f"mqtt://user:password@127.0.0.1:{broker.port}/cameras/door"

        def go() -> None:
            broker.kill()
            until(lambda: not subscriber.is_subscribed(), "the subscriber does not notice")

        def come() -> None:
            broker.start()
            subscriber.wait()

        try:
            yield Receiver(url, lambda: subscriber.ids("cameras/door"), go, come)
        finally:
            subscriber.close()


@contextmanager
def redis_receiver(folder: Path) -> Iterator[Receiver]:
    with brokers.redis_server(folder) as broker:
        client = redis.Redis(port=broker.port, decode_responses=True)

        def ids() -> list[str]:
            try:
                return [entry["id"] for _, entry in client.xrange("door")]
            except redis.RedisError:
                return []

        url = f"redis://127.0.0.1:{broker.port}/door"
        yield Receiver(url, ids, broker.kill, broker.start)
        client.close()


@contextmanager
def webhook_receiver(folder: Path, fragment: str = "") -> Iterator[Receiver]:
    with brokers.web_server() as server:

        def ids() -> list[str]:
            bodies = [json.loads(request.body) for request in server.taken]
            return [
                event["id"]
                for found in bodies
                for event in (found if isinstance(found, list) else [found])
            ]

        def go() -> None:
            server.mood = 503

        def come() -> None:
            server.mood = 200

        yield Receiver(server.url() + fragment, ids, go, come)


RECEIVERS = {
    "mqtt": mqtt_receiver,
    "redis": redis_receiver,
    "webhook": webhook_receiver,
    "webhook in arrays": lambda folder: webhook_receiver(folder, "#batch=7"),
}


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "FIRST_WAIT_SECONDS", 0.05)
    monkeypatch.setattr(outbox_module, "LONGEST_WAIT_SECONDS", 0.2)


@pytest.fixture(params=RECEIVERS)
def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Receiver]:
    with RECEIVERS[request.param](tmp_path) as made:
        yield made


@contextmanager
def started(url: str, folder: Path, max_bytes: int = 8 * MEBIBYTE) -> Iterator[Outbox]:
    _, deliverer = create_deliverer(url, "door")
    outbox = Outbox(deliverer, folder / "spool.sqlite", max_bytes)
    outbox.start()
    with ExitStack() as stack:
        stack.callback(outbox.join)
        stack.callback(outbox.end)
        yield outbox


def test_contract_all_arrive_in_order(receiver: Receiver, tmp_path: Path) -> None:
    with started(receiver.url, tmp_path) as outbox:
        for number in range(250):
            outbox.put(event_id(number), body(number))
        until(lambda: len(receiver.ids()) >= 250, "not all arrive")
        assert receiver.ids() == [event_id(number) for number in range(250)]
        until(lambda: outbox.statistics().delivered == 250, "not all are confirmed")
    assert outbox.statistics().waiting == outbox.statistics().lost == 0


def test_contract_none_is_missing_after_the_receiver_was_away(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), started(receiver.url, tmp_path) as outbox:
        for number in range(300):
            outbox.put(event_id(number), body(number))
            if number == 100:
                until(lambda: len(receiver.ids()) > 20, "the first do not arrive")
                receiver.go()
            time.sleep(0.001)
        until(lambda: not outbox.statistics().is_connected, "it does not notice")
        assert outbox.statistics().waiting > 100
        receiver.come()
        everything = {event_id(number) for number in range(300)}
        until(lambda: set(receiver.ids()) == everything, "some are missing")
    assert list(dict.fromkeys(receiver.ids())) == sorted(everything)  # doubles aside, in order
    assert caplog.text.count("events wait on disk until it is back") == 1
    assert caplog.text.count("takes events again") == 1
    assert "password" not in caplog.text


def test_contract_the_next_run_delivers_what_was_left(receiver: Receiver, tmp_path: Path) -> None:
    receiver.go()
    with started(receiver.url, tmp_path) as outbox:
        for number in range(30):
            outbox.put(event_id(number), body(number))
        until(lambda: outbox.statistics().waiting == 30, "they are not spooled")
        until(lambda: not outbox.statistics().is_connected, "it does not notice")
        began = time.monotonic()
    assert time.monotonic() - began < 5
    receiver.come()
    with started(receiver.url, tmp_path) as outbox:
        outbox.put(event_id(30), body(30))
        until(lambda: len(set(receiver.ids())) == 31, "some are missing")
    assert list(dict.fromkeys(receiver.ids())) == [event_id(number) for number in range(31)]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("mqtt://127.0.0.1:{}/t", "Connection refused"),
        ("redis://127.0.0.1:{}/t", "Connection refused"),
        ("http://127.0.0.1:{}/t", "Connection refused"),
        ("kafka://user:password@127.0.0.1:{}/t#security=SASL_PLAINTEXT", "Connect"),
    ],
)
def test_nobody_there_is_told_once_and_ends_at_once(
    url: str, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.WARNING),
        started(url.format(brokers.free_port()), tmp_path) as outbox,
    ):
        outbox.put(event_id(0), body(0))
        until(lambda: not outbox.statistics().is_connected, "it does not notice")
        time.sleep(0.3)  # several attempts
        began = time.monotonic()
    assert time.monotonic() - began < 4
    (told, left) = caplog.messages
    assert reason in told
    assert "1 events for" in left
    assert "password" not in caplog.text


@pytest.mark.parametrize("scheme", ["mqtt", "redis", "http", "kafka"])
def test_a_receiver_that_accepts_and_says_nothing_does_not_hold_up_the_end(
    scheme: str, tmp_path: Path
) -> None:
    with brokers.silent_server() as (port, connected):
        outbox: Outbox
        with started(f"{scheme}://127.0.0.1:{port}/t", tmp_path) as outbox:
            outbox.put(event_id(0), body(0))
            assert connected.wait(brokers.SECONDS)
            began = time.monotonic()
        assert time.monotonic() - began < 5
        assert outbox.statistics().waiting == 1


@pytest.mark.parametrize("scheme", ["mqtt", "redis", "http", "kafka"])
def test_a_receiver_behind_a_firewall_does_not_hold_up_the_end(scheme: str, tmp_path: Path) -> None:
    with brokers.deaf_server() as port:
        with started(f"{scheme}://127.0.0.1:{port}/t", tmp_path) as outbox:
            outbox.put(event_id(0), body(0))
            until(lambda: outbox.statistics().waiting == 1, "it is not spooled")
            time.sleep(0.2)  # it is connecting
            began = time.monotonic()
        assert time.monotonic() - began < 5
        assert outbox.statistics().waiting == 1


def test_losses_of_a_full_spool_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    url = f"mqtt://127.0.0.1:{brokers.free_port()}/t"
    with (
        caplog.at_level(logging.WARNING),
        started(url, tmp_path, max_bytes=20_000) as outbox,
    ):
        for number in range(400):
            outbox.put(event_id(number), body(number))
        until(lambda: (s := outbox.statistics()).waiting + s.lost == 400, "some are unaccounted")
        assert outbox.statistics().lost > 250
    assert "are lost. The spool" in caplog.text


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("ftp://host/x", "it has to begin with mqtt://"),
        ("mqtt:///topic", "names no host"),
        ("mqtt://user:pass@host:99999/t", "its port has to be"),
        ("mqtt://user:pa#ss@host/t", "NAME=VALUE"),
        ("mqtt://user:12/pass@host/t", "has an @ after its host"),
        ("mqtt://[::1/t", "it is no URL"),
        ("mqtt://host/t#discovry=x", "no option 'discovry': allowed are empty, spool_mb, disc"),
        ("mqtt://host/t#empty=maybe", "empty has to be keep or skip"),
        ("mqtt://host/a/+/b", "a topic has no +"),
        ("redis://host/t#maxlen=many", "maxlen has to be a whole number"),
        ("https://host/t#secret=whsec_%25", "has to be base64"),
    ],
)
def test_a_url_that_makes_no_sense_is_one_sentence(url: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        create_deliverer(url, "door")
    assert sentence in str(caught.value)
    said = re.sub("spool|part|password", "", str(caught.value))
    assert "pa" not in said


@pytest.mark.parametrize("url", ["mqtt://h/t", "redis://h/t", "kafka://h/t"])
def test_a_library_that_is_missing_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr("stream.events.deliverer.importlib.import_module", refuse)
    with pytest.raises(UsageError, match=r"not installed: pip install (paho|redis|conf)"):
        create_deliverer(url, "door")
