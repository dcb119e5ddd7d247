"""Events to a Redis stream: an entry each, with the fields ``id`` and ``event``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stream.events.deliverer import CONNECT_SECONDS, Deliverer, DeliveryFailed, need
from stream.events.spool import SpooledEvent
from stream.events.target import Target, number

if TYPE_CHECKING:
    import redis

OPTIONS = ("db", "maxlen")
DEFAULT_STREAM = "rcnn-live"
_DEFAULT_LENGTH = 100_000
_PORT = 6379
_ANSWER_SECONDS = 2.0  # it answers at once or not at all, and a read cannot be interrupted


class RedisStream(Deliverer):
    """Adds with XADD, many in one round trip; the stream keeps about ``maxlen`` entries.

    Args:
        target: ``redis`` or, with TLS, ``rediss``; its path is the stream.

    Raises:
        UsageError: if an option makes no sense, or redis is not installed.
    """

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.name = target.name
        self._redis = need("redis", "redis", f"--events {target.name}")
        self._target = target
        self._stream = target.path or DEFAULT_STREAM
        self._database = number(target.name, target.options, "db", 0, 0, 1_000_000)
        self._length = number(
            target.name, target.options, "maxlen", _DEFAULT_LENGTH, 0, 1_000_000_000
        )
        self._client: redis.Redis | None = None

    def deliver(self, events: Sequence[SpooledEvent]) -> None:
        errors = self._redis.exceptions
        try:
            client = self._client or self._connect()
            # a transaction: the entries of a batch are there together or not at all
            with client.pipeline(transaction=True) as pipeline:
                for event in events:
                    pipeline.xadd(
                        self._stream,
                        {"id": event.id, "event": event.body},
                        maxlen=self._length or None,
                        approximate=True,
                    )
                pipeline.execute()
        except errors.TimeoutError:
            self._drop_connection()
            raise DeliveryFailed("it does not answer in time") from None
        except (errors.RedisError, OSError) as error:
            self._drop_connection()
            raise DeliveryFailed(f"it says {_short(str(error))}") from error

    def _connect(self) -> redis.Redis:
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        target = self._target
        self._client = self._redis.Redis(
            host=target.host,
            port=target.port or _PORT,
            db=self._database,
            username=target.user,
            password=target.password,
            ssl=target.scheme == "rediss",
            socket_timeout=_ANSWER_SECONDS,
            socket_connect_timeout=CONNECT_SECONDS,
            retry=Retry(NoBackoff(), 0),  # the outbox tries again, and tells of it
        )
        return self._client

    def _drop_connection(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def close(self) -> None:
        self._drop_connection()


def _short(text: str) -> str:
    """A server's words on one line."""
    return " ".join(text.split())[:200].rstrip(".")
