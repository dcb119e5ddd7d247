"""What ``--events`` was given, as sinks: a URL is delivered to, a file is written by its suffix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stream.errors import UsageError
from stream.events.target import is_target
from stream.sinks.base import Sink
from stream.sinks.coco_results import SUFFIX as COCO_SUFFIX
from stream.sinks.coco_results import CocoResults
from stream.sinks.csv_objects import CsvObjects
from stream.sinks.event_delivery import EventDelivery
from stream.sinks.events import EventLog
from stream.sinks.json_lines import STDOUT
from stream.sinks.rotation import Rotation

CSV_SUFFIX = ".csv"


def event_sinks(
    targets: Sequence[str],
    source: str,
    *,
    masks: bool = False,
    rotation: Rotation | None = None,
) -> list[Sink]:
    """A sink for each file, and one for all receivers.

    Args:
        targets: files, ``-`` for standard output, and URLs as in ``stream/events/target.py``.
        source: name of the source, free of credentials.
        masks: add each mask, where the form has room for it.
        rotation: of files of JSON lines.

    Raises:
        UsageError: if one of them makes no sense or cannot be written.
    """
    files = [target for target in targets if not is_target(target)]
    urls = [target for target in targets if is_target(target)]
    sinks = [_file_sink(target, source, rotation, masks=masks) for target in files]
    if urls:
        sinks.append(EventDelivery(urls, source, masks=masks))
    return sinks


def can_rotate(target: str) -> bool:
    """Whether it is a file of JSON lines."""
    is_other = is_target(target) or target == STDOUT
    return not is_other and not target.lower().endswith((COCO_SUFFIX, CSV_SUFFIX))


def rotation_of(text: str | None, targets: Sequence[str]) -> Rotation | None:
    """What ``--rotate-events`` says.

    Raises:
        UsageError: if it makes no sense, or there is nothing to rotate.
    """
    if text is None:
        return None
    if not any(map(can_rotate, targets)):
        raise UsageError("--rotate-events is for --events FILE.jsonl, of which there is none.")
    return Rotation.parse(text, "--rotate-events")


def _file_sink(target: str, source: str, rotation: Rotation | None, *, masks: bool) -> Sink:
    if target.lower().endswith(COCO_SUFFIX):
        return CocoResults(Path(target))
    if target.lower().endswith(CSV_SUFFIX):
        return CsvObjects(Path(target))
    return EventLog(
        target, masks=masks, source=source, rotation=rotation if can_rotate(target) else None
    )
