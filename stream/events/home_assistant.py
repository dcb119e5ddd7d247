"""Two entities a class for Home Assistant: how many objects there are, and whether any."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence


class HomeAssistant:
    """What to publish, and keep at the broker, so that Home Assistant finds and follows them.

    A class gets its entities when it is seen for the first time. The counts are those of the
    newest frame, in ``TOPIC/counts``.

    Args:
        prefix: of discovery, ``homeassistant`` unless it was changed there.
        topic: of the events.
        source: name of the device.
    """

    def __init__(self, prefix: str, topic: str, source: str) -> None:
        self._prefix, self._topic, self._source = prefix, topic, source
        self._node = f"rcnn_live_{_slug(topic)}"
        self._labels: set[str] = set()  # ever seen
        self._announced: set[str] = set()
        self._published = ""

    def forget(self) -> None:
        """Publish everything again: the broker may be another, or have lost it."""
        self._announced.clear()
        self._published = ""

    def updates(self, bodies: Sequence[str]) -> list[tuple[str, str]]:
        """Topics and texts to publish after these events."""
        counts: Counter[str] | None = None
        for body in bodies:
            event = json.loads(body)
            if event["type"] == "frame":
                counts = Counter(row["label"] for row in event["detections"])
                self._labels |= counts.keys()
        news: list[tuple[str, str]] = []
        for label in sorted(self._labels - self._announced):
            news += [self._count(label), self._occupancy(label)]
            self._announced.add(label)
        if counts is not None:
            text = json.dumps({label: counts[label] for label in sorted(self._labels)})
            if text != self._published:
                news.append((f"{self._topic}/counts", text))
                self._published = text
        return news

    def _count(self, label: str) -> tuple[str, str]:
        return self._entity(
            "sensor",
            label,
            "count",
            {"name": f"{label} count", "state_class": "measurement", "value_template": "{{ %s }}"},
        )

    def _occupancy(self, label: str) -> tuple[str, str]:
        template = "{{ 'ON' if %s > 0 else 'OFF' }}"
        return self._entity(
            "binary_sensor",
            label,
            "occupancy",
            {
                "name": f"{label} occupancy",
                "device_class": "occupancy",
                "value_template": template,
            },
        )

    def _entity(
        self, component: str, label: str, kind: str, settings: dict[str, str]
    ) -> tuple[str, str]:
        name = f"{_slug(label)}_{kind}"
        value = f"value_json[{json.dumps(label)}] | default(0)"
        config = {
            **settings,
            "value_template": settings["value_template"].replace("%s", f"({value})"),
            "unique_id": f"{self._node}_{name}",
            "state_topic": f"{self._topic}/counts",
            "availability_topic": f"{self._topic}/status",
            "device": {"identifiers": [self._node], "name": self._source, "model": "rcnn-live"},
        }
        return f"{self._prefix}/{component}/{self._node}/{name}/config", json.dumps(config)


def _slug(text: str) -> str:
    return re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_").lower() or "x"
