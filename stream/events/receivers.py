"""Which class delivers to which URL."""

from __future__ import annotations

from stream.events import kafka, mqtt, redis_stream, webhook
from stream.events.deliverer import Deliverer
from stream.events.target import Target, parse_target

_OPTIONS = {
    "mqtt": mqtt.OPTIONS,
    "mqtts": mqtt.OPTIONS,
    "http": webhook.OPTIONS,
    "https": webhook.OPTIONS,
    "redis": redis_stream.OPTIONS,
    "rediss": redis_stream.OPTIONS,
    "kafka": kafka.OPTIONS,
}


def create_deliverer(url: str, source: str) -> tuple[Target, Deliverer]:
    """What brings events to ``url``; nothing is connected yet.

    Args:
        url: see ``target.py``.
        source: name of the source, free of credentials.

    Raises:
        UsageError: if it makes no sense, or its library is not installed.
    """
    target = parse_target(url, _OPTIONS)
    match target.scheme:
        case "mqtt" | "mqtts":
            return target, mqtt.Mqtt(target, source)
        case "http" | "https":
            return target, webhook.Webhook(target)
        case "redis" | "rediss":
            return target, redis_stream.RedisStream(target)
        case _:
            return target, kafka.Kafka(target, source)
