"""A camera of this computer."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

from av.device import enumerate_input_devices

from stream.errors import RcnnLiveError, SourceError, UsageError
from stream.sources.av_source import AvInput, AvSource
from stream.sources.options import SourceOptions

_FORMATS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}
# FFmpeg's default on macOS, 29.97 frames per second, is refused by most of its cameras.
_OPTIONS = {"darwin": {"framerate": "30"}}


class Webcam(AvSource):
    """A camera by its number, or by its device file (Linux) or device name (Windows)."""

    def __init__(self, camera: str, *, options: SourceOptions) -> None:
        if sys.platform not in _FORMATS:
            raise UsageError(f"Cameras are not supported on {sys.platform}: use a network stream.")
        self._device = _device(camera, sys.platform)
        super().__init__(
            AvInput(
                name=f"camera {camera}" if camera.isdecimal() else camera,
                url=_url(self._device, sys.platform),
                format=_FORMATS[sys.platform],
                options=_OPTIONS.get(sys.platform, {}) | dict(options.input_options),
                is_live=True,
                ends=False,
                open_timeout_seconds=options.open_timeout_seconds,
                read_timeout_seconds=options.read_timeout_seconds,
            )
        )

    def _explain_open(self, error: Exception) -> RcnnLiveError:
        devices = _existing_devices(sys.platform)
        found = f"found are {', '.join(devices)}" if devices else "no camera was found"
        if isinstance(error, FileNotFoundError) or (
            sys.platform != "linux" and self._device not in devices
        ):
            return UsageError(f"There is no camera {self._device}: {found}.")
        if isinstance(error, OSError) and error.errno == errno.EBUSY:
            return SourceError(f"The camera {self._device} is in use by another program.")
        if isinstance(error, OSError) and error.errno in (errno.ENODEV, errno.ENXIO, errno.ENOTTY):
            return SourceError(f"{self._device} is not a camera: {found}.")
        return super()._explain_open(error)


def _device(camera: str, platform: str) -> str:
    """What this platform calls the camera that the user called ``camera``."""
    if not camera.isdecimal():
        return camera
    if platform == "linux":
        return f"/dev/video{camera}"
    devices = _existing_devices(platform)
    if int(camera) < len(devices):
        return devices[int(camera)]
    found = f"found are {', '.join(devices)}" if devices else "no camera was found"
    raise UsageError(f"There is no camera {camera}: {found}.")


def _url(device: str, platform: str) -> str:
    """The device as FFmpeg wants it."""
    return f"video={device}" if platform == "win32" else device


def _existing_devices(platform: str) -> list[str]:
    """The cameras that are there, by the names that ``_device`` uses."""
    if platform == "linux":
        return sorted(str(path) for path in Path("/dev").glob("video*"))
    return [
        device.name
        for device in enumerate_input_devices(_FORMATS[platform])
        if "video" in device.media_types
    ]
