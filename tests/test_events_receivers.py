"""What each receiver promises on its own, against the real server."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import brokers
import confluent_kafka
import pytest
import redis
from brokers import until
from test_events_delivery import Subscriber, body, event_id, short_waits, started

from stream.errors import UsageError
from stream.events.receivers import create_deliverer

__all__ = ["short_waits"]  # a fixture, for these tests too

# ── webhooks ──


@pytest.mark.parametrize("secret", ["plain words", "whsec_" + base64.b64encode(b"key").decode()])
def test_a_body_is_signed_as_the_standard_says(tmp_path: Path, secret: str) -> None:
    key = b"key" if secret.startswith("whsec_") else secret.encode()
    with brokers.web_server() as server:
        url = server.url("hook?their=1").replace("//", "//user:word@") + f"#secret={secret}"
        with started(url, tmp_path) as outbox:
            outbox.put(event_id(5), body(5))
            until(lambda: server.taken, "it does not arrive")
    (request,) = server.taken
    stamp = request.headers["webhook-timestamp"]
    signed = f"{event_id(5)}.{stamp}.".encode() + body(5).encode()
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert request.path == "/hook?their=1"  # nothing of what is behind #
    assert request.body == body(5).encode()
    assert request.headers["webhook-id"] == event_id(5)
    assert request.headers["webhook-signature"] == f"v1,{signature}"
    assert request.headers["Authorization"] == "Basic " + base64.b64encode(b"user:word").decode()
    assert abs(int(stamp) - time.time()) < 60


def test_nothing_signed_follows_a_redirect(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with brokers.web_server() as elsewhere, brokers.web_server() as server:
        server.mood, server.headers = 307, {"Location": elsewhere.url()}
        with caplog.at_level(logging.WARNING), started(server.url(), tmp_path) as outbox:
            outbox.put(event_id(0), body(0))
            until(lambda: len(server.seen) >= 2, "it is not tried again")
            assert outbox.statistics().delivered == 0
    assert not elsewhere.seen
    assert "it answers 307" in caplog.text
    assert "redirects are not followed" in caplog.text
    assert "/hook" not in caplog.text  # many a webhook's path is its password


def test_a_body_that_is_refused_for_good_does_not_hold_up_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with brokers.web_server() as server:
        server.mood = 422
        with caplog.at_level(logging.WARNING), started(server.url(), tmp_path) as outbox:
            outbox.put(event_id(0), body(0))
            until(lambda: outbox.statistics().refused == 1, "it is not given up")
            server.mood = 200
            outbox.put(event_id(1), body(1))
            until(lambda: outbox.statistics().delivered == 1, "the next does not arrive")
    assert [json.loads(request.body)["id"] for request in server.taken] == [event_id(1)]
    assert f"refuses event {event_id(0)} for good: it answers 422" in caplog.text


def test_an_event_that_is_refused_does_not_hold_up_its_array(tmp_path: Path) -> None:
    with brokers.web_server() as server:
        server.poison = event_id(5).encode()
        with started(server.url() + "#batch=20", tmp_path) as outbox:
            for number in range(20):
                outbox.put(event_id(number), body(number))
            until(lambda: outbox.statistics().delivered == 19, "the others do not arrive")
            assert outbox.statistics().refused == 1
            assert outbox.statistics().waiting == 0
    arrived = [event["id"] for request in server.taken for event in json.loads(request.body)]
    assert arrived == [event_id(number) for number in range(20) if number != 5]


def test_a_server_that_asks_to_wait_is_left_alone(tmp_path: Path) -> None:
    with brokers.web_server() as server:
        server.mood, server.headers = 429, {"Retry-After": "2"}
        with started(server.url(), tmp_path) as outbox:
            outbox.put(event_id(0), body(0))
            until(lambda: server.seen, "it does not arrive")
            server.mood = 200
            time.sleep(1)  # its own waits are a fifth of a second here
            assert len(server.seen) == 1
            until(lambda: server.taken, "it is not tried again")


def test_a_server_that_hangs_gets_the_event_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.events.webhook.ANSWER_SECONDS", 0.3)
    with brokers.web_server() as server:
        server.mood = None
        with started(server.url(), tmp_path) as outbox:
            outbox.put(event_id(0), body(0))
            until(lambda: len(server.seen) >= 2, "it is not tried again")
            assert outbox.statistics().delivered == 0
            server.mood = 200
            until(lambda: outbox.statistics().delivered == 1, "it does not arrive")


# ── MQTT ──


def test_home_assistant_finds_counts_and_occupancy(tmp_path: Path) -> None:
    with brokers.mosquitto(tmp_path) as broker:
        url = f"mqtt://127.0.0.1:{broker.port}/cameras/door#discovery=homeassistant"
        subscriber = Subscriber(broker.port)
        with started(url, tmp_path) as outbox:
            outbox.put(event_id(0), body(0, "person", 2))
            until(lambda: subscriber.newest("cameras/door/counts") == '{"person": 2}', "no count")
            assert subscriber.newest("cameras/door/status") == "online"
            outbox.put(event_id(1), body(1, "traffic light"))
            both = '{"person": 0, "traffic light": 1}'
            until(lambda: subscriber.newest("cameras/door/counts") == both, "no second class")
        until(lambda: subscriber.newest("cameras/door/status") == "offline", "it is not said")
        subscriber.close()

        late = Subscriber(broker.port, "homeassistant/#")  # started after all was published
        until(lambda: len(late.messages) == 4, "the broker has not kept the entities")
        late.close()
    assert {topic for topic, _, _ in late.messages} == {
        f"homeassistant/{kind}/config"
        for kind in (
            "sensor/rcnn_live_cameras_door/person_count",
            "sensor/rcnn_live_cameras_door/traffic_light_count",
            "binary_sensor/rcnn_live_cameras_door/person_occupancy",
            "binary_sensor/rcnn_live_cameras_door/traffic_light_occupancy",
        )
    }
    configs = [json.loads(text) for _, text, _ in late.messages]
    assert len({config["unique_id"] for config in configs}) == 4
    assert all(config["state_topic"] == "cameras/door/counts" for config in configs)
    assert all(config["availability_topic"] == "cameras/door/status" for config in configs)
    assert all(config["device"]["name"] == "door" for config in configs)
    assert rendered(configs, "person_count", both) == "0"
    assert rendered(configs, "traffic_light_occupancy", both) == "ON"


def rendered(configs: list[dict[str, str]], name: str, payload: str) -> str:
    """As Home Assistant, which uses jinja, makes a value of the payload."""
    import jinja2

    (config,) = [config for config in configs if str(config["unique_id"]).endswith(name)]
    template = jinja2.Template(config["value_template"])
    return template.render(value_json=json.loads(payload))


def test_entities_that_are_refused_do_not_hold_up_the_events(tmp_path: Path) -> None:
    (tmp_path / "acl").write_text("topic readwrite cameras/#\n")
    with brokers.mosquitto(tmp_path, f"acl_file {tmp_path / 'acl'}") as broker:
        url = f"mqtt://127.0.0.1:{broker.port}/cameras/door#discovery=homeassistant"
        subscriber = Subscriber(broker.port, "cameras/door")
        with started(url, tmp_path) as outbox:
            for number in range(3):
                outbox.put(event_id(number), body(number, "person", 1))
                until(lambda n=number: outbox.statistics().delivered == n + 1, "it is stuck")
            assert outbox.statistics().waiting == 0
        assert len(subscriber.messages) == 3  # and none comes twice
        subscriber.close()


def test_a_broker_says_offline_for_a_program_that_is_gone(tmp_path: Path) -> None:
    with brokers.mosquitto(tmp_path) as broker:
        subscriber = Subscriber(broker.port)
        with started(f"mqtt://127.0.0.1:{broker.port}/t", tmp_path) as outbox:
            outbox.put(event_id(0), body(0))
            until(lambda: subscriber.newest("t/status") == "online", "it is not said")
            client = outbox._deliverer._client  # type: ignore[attr-defined]
            client.socket().close()  # as a cut cable would
            until(lambda: subscriber.newest("t/status") == "offline", "nobody notices")
            outbox.put(event_id(1), body(1))
            until(lambda: subscriber.newest("t/status") == "online", "it does not come back")
            until(lambda: set(subscriber.ids("t")) == {event_id(0), event_id(1)}, "one is missing")
        subscriber.close()


def test_a_wrong_password_is_told_without_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "passwords").touch(mode=0o600)
    settings = ("allow_anonymous false", f"password_file {tmp_path}/passwords")
    with brokers.mosquitto(tmp_path, *settings) as broker, caplog.at_level(logging.WARNING):
        url = f"mqtt://somebody:s3cret@127.0.0.1:{broker.port}/t"
        with started(url, tmp_path) as outbox:
            outbox.put(event_id(0), body(0))
            until(lambda: not outbox.statistics().is_connected, "it does not notice")
    assert "it refuses the connection: Not authorized" in caplog.text
    assert "s3cret" not in caplog.text
    assert outbox.statistics().waiting == 1


def test_a_topic_that_is_refused_loses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "acl").write_text("topic readwrite ours/#\n")
    (tmp_path / "acl").chmod(0o600)
    settings = (f"acl_file {tmp_path}/acl",)
    with brokers.mosquitto(tmp_path, *settings) as broker, caplog.at_level(logging.WARNING):
        with started(f"mqtt://127.0.0.1:{broker.port}/theirs", tmp_path) as outbox:
            outbox.put(event_id(0), body(0))
            until(lambda: not outbox.statistics().is_connected, "it does not notice")
        assert outbox.statistics().waiting == 1
    assert "it refuses the topic theirs" in caplog.text


@pytest.mark.parametrize("setting", ["max_packet_size", "message_size_limit"])
def test_a_message_that_is_too_large_does_not_hold_up_the_others(
    tmp_path: Path, setting: str
) -> None:
    """With the one the broker says so beforehand, with the other it hangs up."""
    with brokers.mosquitto(tmp_path, f"{setting} 2000") as broker:
        subscriber = Subscriber(broker.port)
        with started(f"mqtt://127.0.0.1:{broker.port}/t", tmp_path) as outbox:
            for number in range(9):
                outbox.put(event_id(number), body(number, count=200 if number == 4 else 1))
            until(lambda: outbox.statistics().delivered == 8, "the others do not arrive")
        until(lambda: len(set(subscriber.ids("t"))) == 8, "some are missing")
        subscriber.close()
    assert event_id(4) not in subscriber.ids("t")
    assert outbox.statistics().refused == 1


# ── Redis ──


def test_a_redis_stream_has_a_length_and_a_password(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with brokers.redis_server(tmp_path, "--requirepass", "s3cret") as broker:
        wrong = f"redis://:wr0ng@127.0.0.1:{broker.port}/door"
        with caplog.at_level(logging.WARNING), started(wrong, tmp_path) as outbox:
            outbox.put(event_id(0), body(0))
            until(lambda: not outbox.statistics().is_connected, "it does not notice")
        assert "invalid username-password pair" in caplog.text
        assert "wr0ng" not in caplog.text
        url = f"redis://:s3cret@127.0.0.1:{broker.port}/door#maxlen=200&db=3"
        with started(url, tmp_path) as outbox:
            for number in range(1, 1000):
                outbox.put(event_id(number), body(number))
            until(lambda: outbox.statistics().delivered == 1000, "not all arrive")
        with redis.Redis(port=broker.port, password="s3cret", db=3) as client:
            assert 200 <= client.xlen("door") < 600  # Redis drops whole blocks
            ((_, newest),) = client.xrevrange("door", count=1)
    assert newest == {b"id": event_id(999).encode(), b"event": body(999).encode()}


def test_a_stream_that_is_none_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with brokers.redis_server(tmp_path) as broker:
        with redis.Redis(port=broker.port) as client:
            client.set("door", "a word")
        url = f"redis://127.0.0.1:{broker.port}/door"
        with caplog.at_level(logging.WARNING), started(url, tmp_path) as outbox:
            outbox.put(event_id(0), body(0))
            until(lambda: not outbox.statistics().is_connected, "it does not notice")
    assert "WRONGTYPE" in caplog.text
    assert outbox.statistics().waiting == 1


# ── Kafka ──


@contextmanager
def mock_cluster() -> Iterator[str]:
    """Brokers of librdkafka's own making, which speak Kafka's protocol over TCP; their address.

    They are not Kafka: nothing is kept on a disk, and none of them can be killed and come back.
    """
    cluster = confluent_kafka.Producer({"test.mock.num.brokers": 3, "log_level": 0})
    brokers_of = cluster.list_topics(timeout=brokers.SECONDS).brokers.values()
    yield ",".join(f"{broker.host}:{broker.port}" for broker in brokers_of)
    cluster.flush(1)


def test_kafka_gets_every_event_in_order_and_once(tmp_path: Path) -> None:
    with mock_cluster() as address:
        with started(f"kafka://{address}/door", tmp_path) as outbox:
            for number in range(300):
                outbox.put(event_id(number), body(number))
            until(lambda: outbox.statistics().delivered == 300, "not all are confirmed")
        consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": address,
                "group.id": "g",
                "auto.offset.reset": "earliest",
                "log_level": 0,
            }
        )
        consumer.subscribe(["door"])
        messages: list[confluent_kafka.Message] = []
        until(lambda: messages.extend(consumer.consume(300, 0.5)) or len(messages) >= 300, "few")
        consumer.close()
    assert [message.value().decode() for message in messages] == [body(n) for n in range(300)]
    assert {message.key() for message in messages} == {b"door"}  # one partition, in order
    assert [dict(message.headers())["id"].decode() for message in messages] == [
        event_id(number) for number in range(300)
    ]


def test_kafka_that_goes_away_loses_nothing(tmp_path: Path) -> None:
    with mock_cluster() as address, started(f"kafka://{address}/door", tmp_path) as outbox:
        outbox.put(event_id(0), body(0))
        until(lambda: outbox.statistics().delivered == 1, "it does not arrive")
    with started(f"kafka://{address}/door", tmp_path) as outbox:
        for number in range(1, 30):
            outbox.put(event_id(number), body(number))
        until(lambda: not outbox.statistics().is_connected, "it does not notice")
        until(lambda: outbox.statistics().waiting == 29, "some are lost")
    assert outbox.statistics().lost == 0


@pytest.mark.parametrize("option", ["security=SASL", "mechanism=SCRAM"])
def test_kafka_says_what_it_does_not_know(option: str) -> None:
    url = f"kafka://user:s3cr3t@127.0.0.1:9092/door#{option}"
    with pytest.raises(UsageError, match=r"that Kafka does not know: allowed are ") as caught:
        create_deliverer(url, "door")
    assert "s3cr3t" not in str(caught.value)
