"""A video file."""

from __future__ import annotations

from pathlib import Path

from stream.errors import RcnnLiveError
from stream.sources.av_explain import explain_file
from stream.sources.av_source import AvInput, AvSource
from stream.sources.options import SourceOptions


class VideoFile(AvSource):
    """A local video file, read as fast as it is asked for, without losing a frame."""

    def __init__(self, path: Path, *, options: SourceOptions) -> None:
        # The prefix keeps FFmpeg from taking a colon in the name for a protocol.
        super().__init__(
            AvInput(
                name=str(path),
                url=f"file:{path}",
                options=options.input_options,
                decode=options.decode,
                tap=options.tap,
            )
        )
        self._path = path

    def _explain_open(self, error: Exception) -> RcnnLiveError:
        return explain_file(error, self._path)
