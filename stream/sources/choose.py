"""Which source a URI means. All of the decision is here."""

from __future__ import annotations

import difflib
import glob
from collections.abc import Iterable
from pathlib import Path

from models.shapes.settings import is_shapes
from stream.errors import UsageError
from stream.sources import network, pictures
from stream.sources.base import FrameSource
from stream.sources.demo import Demo
from stream.sources.encoded import Encoded
from stream.sources.network import Network
from stream.sources.options import SourceOptions
from stream.sources.pattern import Pattern
from stream.sources.pictures import Pictures
from stream.sources.screen import Screen
from stream.sources.shapes import Shapes
from stream.sources.video_file import VideoFile
from stream.sources.webcam import Webcam

_ALLOWED = (
    "a source is a video file, a picture, a folder or glob of pictures, a URL such as "
    "rtsp://HOST/PATH, a camera such as 0, screen, demo, demo:live, shapes or lavfi:GRAPH"
)
_DEFAULTS = SourceOptions()


def create_source(uri: str, *, options: SourceOptions = _DEFAULTS) -> FrameSource:
    """The source that ``uri`` means, not yet open.

    Args:
        uri: a path, a URL, a camera, a screen, a filter graph or the demo. A file whose name
            means something else is reached as ``./demo``.
        options: settings, of which each kind of source uses those that concern it.

    Raises:
        UsageError: if there can be no such source, or it has no packets for ``options.tap``.
    """
    source, tap = _chosen(uri, options), options.tap
    if tap is None or tap.option is None or isinstance(source, VideoFile | Network):
        return source
    if tap.takes_encoded:
        return Encoded(source, tap)
    raise UsageError(
        f"{tap.option} copies video files and network streams, and {uri} is neither: use --record."
    )


def _chosen(uri: str, options: SourceOptions) -> FrameSource:
    kind, _, rest = uri.partition(":")
    if uri in ("demo", "demo:live"):
        return Demo(uri, is_live=uri == "demo:live")
    if is_shapes(uri):
        return Shapes(uri)
    if uri.isdecimal() or uri.startswith(("/dev/video", "/dev/v4l/")):
        return Webcam(uri, options=options)
    if kind == "screen":
        return Screen(rest, options=options)
    if kind == "lavfi":
        return Pattern(rest, options=options)
    if kind == "file":
        return _local(rest.removeprefix("//"), options)
    if "://" in uri or kind.lower() in network.SCHEMES:
        return _remote(uri, options)
    return _local(uri, options)


def _remote(uri: str, options: SourceOptions) -> FrameSource:
    scheme = uri.partition(":")[0].lower()
    if scheme in network.SCHEMES:
        return Network(uri, options=options)
    near = difflib.get_close_matches(scheme, network.SCHEMES, n=2)
    allowed = ", ".join(network.SCHEMES)
    advice = f"did you mean {' or '.join(near)}?" if near else f"allowed are {allowed}."
    raise UsageError(f"The source has the unknown scheme {scheme!r}: {advice}")


def _local(uri: str, options: SourceOptions) -> FrameSource:
    if not uri:
        raise UsageError(f"The source is empty: {_ALLOWED}.")
    try:
        path = Path(uri).expanduser()
        if path.is_dir():
            return _pictures(uri, path.iterdir(), options)
        if path.is_file():
            is_picture = path.suffix.lower() in pictures.SUFFIXES
            return (
                Pictures(uri, [path], options=options)
                if is_picture
                else VideoFile(path, options=options)
            )
        if glob.has_magic(uri):
            found = glob.glob(str(path), recursive=True)  # noqa: PTH207 - a pattern may be absolute
            return _pictures(uri, map(Path, found), options)
        if path.exists():
            raise UsageError(f"{uri} is neither a file nor a folder: {_ALLOWED}.")
        raise UsageError(f"There is no {uri!r}: {_near_name(path) or f'{_ALLOWED}.'}")
    except (OSError, RuntimeError) as error:  # a name too long, a folder closed to us, no such user
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{uri[:80]!r} cannot be used as a path: {reason.rstrip('.')}.") from None


def _pictures(name: str, paths: Iterable[Path], options: SourceOptions) -> FrameSource:
    chosen = [path for path in paths if path.suffix.lower() in pictures.SUFFIXES]
    if not chosen:
        raise UsageError(
            f"There are no pictures in {name}: allowed are {', '.join(pictures.SUFFIXES)}."
        )
    return Pictures(name, pictures.in_natural_order(chosen), options=options)


def _near_name(path: Path) -> str | None:
    """A suggestion, if a name in the same folder is nearly the same."""
    if not path.parent.is_dir():
        return None
    names = [sibling.name for sibling in path.parent.iterdir()]
    near = difflib.get_close_matches(path.name, names, n=1)
    return f"did you mean {str(path.with_name(near[0]))!r}?" if near else None
