"""How the recording and the deliveries of a pipeline fare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

from stream.events.outbox import OutboxStatistics
from stream.publish.publication import PublishStatistics
from stream.redact import redact
from stream.sinks.base import Sink
from stream.sinks.clip_writer import ClipStatistics
from stream.sinks.event_clips import EventClips
from stream.sinks.event_delivery import EventDelivery
from stream.sinks.publish import Publish
from stream.sinks.recording import Recording, RecordingStatistics
from stream.sinks.switched_recording import SwitchedRecording

_Figures = TypeVar("_Figures")


@dataclass(frozen=True, slots=True)
class OutputCounts:
    """A snapshot; what is counted begins with the pipeline.

    Attributes:
        recording: None without one.
        clips: None without them.
        deliveries: receiver without credentials to its figures; of receivers that would be called
            the same, such as two webhooks of one host, the second is ``NAME #2`` and so on.
        publications: where it is published, without credentials, to its figures; named alike.
    """

    recording: RecordingStatistics | None
    clips: ClipStatistics | None
    deliveries: dict[str, OutboxStatistics]
    publications: dict[str, PublishStatistics]

    @classmethod
    def of(cls, sinks: Sequence[Sink]) -> Self:
        """Of a pipeline's outputs; from any thread."""
        made = [
            sink.statistics() for sink in sinks if isinstance(sink, Recording | SwitchedRecording)
        ]
        recording = next((one for one in made if one is not None), None)
        clips = next((sink.statistics() for sink in sinks if isinstance(sink, EventClips)), None)
        deliveries = (
            each for sink in sinks if isinstance(sink, EventDelivery) for each in sink.statistics()
        )
        publications = (
            each for sink in sinks if isinstance(sink, Publish) for each in sink.statistics()
        )
        return cls(recording, clips, dict(_numbered(deliveries)), dict(_numbered(publications)))

    def trouble(self) -> dict[str, str]:
        """What does not go on, and why in a sentence without credentials: for health pages."""
        found = {}
        if self.recording is not None and not self.recording.is_going:
            found["recording"] = redact(self.recording.trouble)
        if self.clips is not None and not self.clips.is_going:
            found["clips"] = redact(self.clips.trouble)
        away = [
            f"{name} is away, {counts.waiting} events wait"
            for name, counts in self.deliveries.items()
            if not counts.is_connected
        ]
        if away:
            found["deliveries"] = "; ".join(away) + "."
        lost = [each.trouble for each in self.publications.values() if not each.is_connected]
        if any(lost):
            found["publications"] = " ".join(filter(None, lost))
        return found


def _numbered(named: Iterable[tuple[str, _Figures]]) -> Iterator[tuple[str, _Figures]]:
    seen: Counter[str] = Counter()
    for name, figures in named:
        seen[name] += 1
        yield (name if seen[name] == 1 else f"{name} #{seen[name]}"), figures
