"""Where frames come from: files, network streams, cameras, screens, pictures, the demo."""

from stream.sources.backoff import ReconnectOptions
from stream.sources.base import FrameSource, SourceInfo
from stream.sources.live import create_source
from stream.sources.options import SourceOptions
from stream.sources.status import SourceState, SourceStatus

__all__ = [
    "FrameSource",
    "ReconnectOptions",
    "SourceInfo",
    "SourceOptions",
    "SourceState",
    "SourceStatus",
    "create_source",
]
