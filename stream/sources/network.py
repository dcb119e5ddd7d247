"""A stream or a file on the network."""

from __future__ import annotations

import errno
import re
from urllib.parse import urlsplit

from av.container import InputContainer

from stream.errors import RcnnLiveError, SourceError
from stream.redact import redact
from stream.sources.av_source import AvInput, AvSource
from stream.sources.options import SourceOptions
from stream.sources.url import check_url

SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "srt", "udp", "tcp", "rtp")

_PLAYLISTS = (".m3u8", ".mpd")
# A camera's RTSP description already says what is to come: without this, FFmpeg takes a second
# to find out for itself.
_LITTLE_PROBING = {"analyzeduration": "100000", "probesize": "32768"}


class Network(AvSource):
    """A live network stream; over http also a file, which shows by its known length."""

    def __init__(self, uri: str, *, options: SourceOptions) -> None:
        check_url(uri, "the source")
        scheme = urlsplit(uri).scheme.lower()
        super().__init__(
            AvInput(
                name=redact(uri),
                url=uri,
                options=_protocol_options(scheme, options) | dict(options.input_options),
                is_live=None if scheme in ("http", "https") else True,
                ends=False,
                decode=options.decode,
                tap=options.tap,
                open_timeout_seconds=options.open_timeout_seconds,
                read_timeout_seconds=read_timeout_seconds(uri, options),
            )
        )

    def _decide_live(self, container: InputContainer) -> bool:
        if self._input.is_live is not None:
            return self._input.is_live
        if container.duration:
            return False
        # A playlist has a size too, and it is not that of the video.
        has_size = container.format.name not in ("hls", "dash") and container.size > 0
        return not has_size

    def _explain_open(self, error: Exception) -> RcnnLiveError:
        if isinstance(error, OSError) and error.errno == errno.EIO:  # all that is left of a lookup
            return SourceError(
                f"{self._input.name} cannot be opened: is the name of its host right, "
                "the network up?"
            )
        return super()._explain_open(error)


def _protocol_options(scheme: str, options: SourceOptions) -> dict[str, str]:
    """FFmpeg's own deadlines, behind PyAV's, and what suits the protocol."""
    longest_seconds = max(options.open_timeout_seconds, options.read_timeout_seconds)
    microseconds = str(round(longest_seconds * 1e6))
    if scheme in ("rtsp", "rtsps"):
        transport = {"rtsp_transport": options.rtsp_transport, "timeout": microseconds}
        return transport | _LITTLE_PROBING
    return {"rw_timeout": microseconds}


def read_timeout_seconds(uri: str, options: SourceOptions) -> float:
    """How long a source may be silent; of any URI, one that makes no sense included.

    A playlist is read in one piece every few seconds, with silence in between.
    """
    if re.split("[?#]", uri)[0].lower().endswith(_PLAYLISTS):
        return max(options.open_timeout_seconds, options.read_timeout_seconds)
    return options.read_timeout_seconds
