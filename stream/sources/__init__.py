"""Where frames come from: files, network streams, cameras, screens, pictures, the demo."""

from stream.sources.base import FrameSource, SourceInfo
from stream.sources.choose import create_source
from stream.sources.options import SourceOptions

__all__ = ["FrameSource", "SourceInfo", "SourceOptions", "create_source"]
