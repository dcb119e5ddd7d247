"""Events to a Kafka topic, each confirmed by all replicas that are in step.

The key is the source, so that its events stay in order; the header ``id`` tells doubles.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from stream.errors import UsageError
from stream.events.deliverer import ANSWER_SECONDS, Deliverer, DeliveryFailed, need
from stream.events.spool import SpooledEvent
from stream.events.target import Target

if TYPE_CHECKING:
    from confluent_kafka import Producer

_VALUES = {
    "security": ("SASL_SSL", "SASL_PLAINTEXT", "SSL", "PLAINTEXT"),
    "mechanism": ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"),
}
OPTIONS = tuple(_VALUES)
DEFAULT_TOPIC = "rcnn-live"
_POLL_SECONDS = 0.1  # how soon an interrupt is noticed
_REFUSED = ("MSG_SIZE_TOO_LARGE", "INVALID_MSG", "INVALID_RECORD")


class Kafka(Deliverer):
    """One producer; the order of a batch is kept, and the library's own retries make no doubles.

    Args:
        target: ``kafka``, with one or several ``host:port``; user and password mean SASL, with
            ``#mechanism=`` (PLAIN) and ``#security=`` (SASL_SSL, or SSL without a user).
        source: name of the source.

    Raises:
        UsageError: if an option has a value of nothing, or confluent-kafka is not installed.
    """

    def __init__(self, target: Target, source: str) -> None:
        super().__init__()
        self.name = target.name
        for option, allowed in _VALUES.items():
            if target.options.get(option, allowed[0]) not in allowed:
                raise UsageError(
                    f"--events {target.name} has a #{option}= that Kafka does not know: allowed "
                    f"are {', '.join(allowed)}."
                )
        self._kafka = need("confluent_kafka", "confluent-kafka", f"--events {target.name}")
        self._target, self._source = target, source
        self._topic = target.path or DEFAULT_TOPIC
        self._producer: Producer | None = None
        self._problem = ""  # what the library said first of its connection
        self._is_down = False  # no broker is there

    def deliver(self, events: Sequence[SpooledEvent]) -> None:
        results: dict[int, Any] = {}  # number to its error, None if it was confirmed

        def note(number: int, error: Any, _message: Any) -> None:
            results[number] = error

        try:
            producer = self._producer or self._open()
            for number, event in enumerate(events):
                producer.produce(
                    self._topic,
                    event.body.encode(),
                    key=self._source.encode(),
                    headers=[("id", event.id.encode())],
                    on_delivery=partial(note, number),
                )
            until = time.monotonic() + ANSWER_SECONDS
            while len(results) < len(events):
                producer.poll(_POLL_SECONDS)
                if time.monotonic() > until or self._is_down or self._interrupted.is_set():
                    break
        except (self._kafka.KafkaException, BufferError, ValueError) as error:
            self._drop_producer()
            raise DeliveryFailed(f"it says {_said(error)}") from error
        done = 0
        while done < len(events) and results.get(done, "missing") is None:
            done += 1
        if done == len(events):
            return
        found = results.get(done)  # before what is given up says so, too
        self._drop_producer()
        said = "it does not answer in time" if found is None else found.str()
        is_about_it = found is not None and found.code() != self._kafka.KafkaError._MSG_TIMED_OUT
        reason = said if is_about_it else self._problem or said
        is_refused = found is not None and found.name() in _REFUSED
        raise DeliveryFailed(reason, done, is_refused=is_refused)

    def _open(self) -> Producer:
        target = self._target
        settings: dict[str, Any] = {
            "bootstrap.servers": target.address,
            "client.id": "rcnn-live",
            "enable.idempotence": True,
            "delivery.timeout.ms": int(ANSWER_SECONDS * 1e3),
            "linger.ms": 5,
            "error_cb": self._note_problem,
            "log_level": 0,  # it would write to standard error
        }
        if target.user is not None:
            settings |= {
                "security.protocol": target.options.get("security", "SASL_SSL"),
                "sasl.mechanism": target.options.get("mechanism", "PLAIN"),
                "sasl.username": target.user,
                "sasl.password": target.password or "",
            }
        elif "security" in target.options:
            settings["security.protocol"] = target.options["security"]
        self._problem, self._is_down = "", False
        self._producer = self._kafka.Producer(settings)
        return self._producer

    def _note_problem(self, error: Any) -> None:
        self._problem = self._problem or error.str()
        self._is_down |= error.code() == self._kafka.KafkaError._ALL_BROKERS_DOWN

    def _drop_producer(self) -> None:
        """Give up what is on its way: it will be delivered again."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()
            producer.flush(0.5)

    def close(self) -> None:
        self._drop_producer()


def _said(error: Exception) -> str:
    first = error.args[0] if error.args else error
    return str(first.str() if hasattr(first, "str") else first)
