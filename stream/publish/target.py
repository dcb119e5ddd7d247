"""Where a picture can be published: a server by its URL, or an HLS playlist by its path."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import av

from models.paths import check_writable
from stream.errors import UsageError
from stream.redact import keep_secret, redact
from stream.sources.url import check_url

PLAYLIST_SUFFIX = ".m3u8"
SEGMENT_SECONDS = 1
LISTED_SEGMENTS = 6  # in the playlist; FFmpeg keeps one more, for players that come late
_HLS, _RTSP, _RTMP, _MPEG_TS = "hls", "rtsp", "flv", "mpegts"

# FFmpeg's muxer of each scheme, and its protocol where that is not part of the muxer
_SCHEMES = {
    "rtsp": (_RTSP, None),
    "rtsps": (_RTSP, None),
    "rtmp": (_RTMP, "rtmp"),
    "rtmps": (_RTMP, "rtmps"),
    "srt": (_MPEG_TS, "srt"),
}
_OPTIONS = {
    _RTSP: {"rtsp_transport": "tcp"},
    _RTMP: {"flvflags": "no_duration_filesize", "flush_packets": "1"},
    _MPEG_TS: {"flush_packets": "1"},
}


@dataclass(frozen=True, slots=True)
class PublishTarget:
    """One place to publish to.

    Attributes:
        url: what FFmpeg opens; it may hold a password.
        name: for messages: without user, query and the key of an RTMP stream.
        muxer: FFmpeg's name of the format.
        options: of the muxer.
    """

    url: str = field(repr=False)
    name: str
    muxer: str
    options: dict[str, str] = field(repr=False)

    def make_way(self, *, is_first: bool) -> None:
        """Remove what nobody else would, before the place is opened.

        Args:
            is_first: in this run: what an earlier one left would be shown as if it were new.
        """
        if self.muxer != _HLS:
            return
        playlist = Path(self.url)
        # only names that FFmpeg numbers by the time, in seconds since 1970
        ours = re.compile(re.escape(playlist.stem) + r"-\d{10,}\.ts")
        with contextlib.suppress(OSError):  # what cannot be written either tells why
            if is_first:
                playlist.unlink(missing_ok=True)
            listed = playlist.read_text(encoding="utf-8") if playlist.exists() else ""
            for file in playlist.parent.iterdir():
                if ours.fullmatch(file.name) and file.name not in listed.splitlines():
                    file.unlink(missing_ok=True)


def parse_publish_target(text: str, option: str = "--publish") -> PublishTarget:
    """What ``--publish`` was given.

    Args:
        text: a URL, a path that ends in .m3u8, or a folder for ``live.m3u8``.
        option: it was given with, for messages.

    Raises:
        UsageError: if it makes no sense, this FFmpeg lacks the protocol, or the playlist cannot be
            written.
    """
    return _server(text, option) if "://" in text else _playlist(text, option)


def _server(url: str, option: str) -> PublishTarget:
    scheme = url.partition("://")[0].lower()
    if scheme not in _SCHEMES:
        raise UsageError(f"{option} {redact(url)}: it has to be {allowed()}.")
    check_url(url, option)
    parts = urlsplit(url)
    if not parts.hostname:
        raise UsageError(f"There is no host in the URL of {option}: it has to be {allowed()}.")
    if parts.password:
        keep_secret(unquote(parts.password))
    if not _has(scheme):
        raise UsageError(f"{option} {scheme}://…: this FFmpeg has no {scheme}, but {allowed()}.")
    if scheme.startswith("rtmp") and not parts.path.strip("/"):
        raise UsageError(
            f"{option} {redact(url)}: it names no app and key: {scheme}://HOST/APP/KEY."
        )
    muxer = _SCHEMES[scheme][0]
    return PublishTarget(url, _name(url), muxer, _OPTIONS[muxer])


def _name(url: str) -> str:
    parts = urlsplit(url)
    path = parts.path
    if parts.scheme.lower().startswith("rtmp"):  # whoever knows the key can publish
        path = "/" + path.strip("/").partition("/")[0] + "/…"
    return f"{parts.scheme.lower()}://{parts.netloc.rpartition('@')[2]}{path}"


def _playlist(text: str, option: str) -> PublishTarget:
    path = Path(text)
    is_named = path.suffix.lower() == PLAYLIST_SUFFIX
    if path.is_dir() and not is_named:
        path /= f"live{PLAYLIST_SUFFIX}"
    elif not is_named:
        raise UsageError(f"{option} {text}: it has to be {allowed()}.")
    path = check_writable(path, option).absolute()
    segments = str(path.with_suffix("")).replace("%", "%%") + "-%d.ts"
    options = {
        "hls_time": str(SEGMENT_SECONDS),
        "hls_list_size": str(LISTED_SEGMENTS),
        "hls_flags": "delete_segments+append_list+temp_file",
        "hls_segment_filename": segments,
        "hls_start_number_source": "epoch",
    }
    return PublishTarget(str(path), text, _HLS, options)


def allowed() -> str:
    """What may be given here, for messages."""
    shapes = {"rtmp": "HOST/APP/KEY", "rtmps": "HOST/APP/KEY", "srt": "HOST:PORT"}
    urls = [f"{name}://{shapes.get(name, 'HOST/PATH')}" for name in _SCHEMES if _has(name)]
    return f"{', '.join(urls)} or FILE{PLAYLIST_SUFFIX}"


@cache
def _has(scheme: str) -> bool:
    """Whether this FFmpeg was built with what the scheme needs."""
    muxer, protocol = _SCHEMES[scheme]
    if muxer not in av.formats_available:
        return False
    if protocol is None:
        return True
    try:
        av.open(f"{protocol}://127.0.0.1:0/none")  # there is no port 0: it never connects
    except av.error.ProtocolNotFoundError:
        return False
    except (av.FFmpegError, OSError, ValueError):
        return True
    return True
