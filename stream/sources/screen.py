"""What is on the screen."""

from __future__ import annotations

import os
import sys

from stream.errors import RcnnLiveError, UsageError
from stream.sources.av_source import AvInput, AvSource
from stream.sources.options import SourceOptions

_FRAME_RATE = "30"  # FFmpeg's own default of 29.97 fits no monitor


class Screen(AvSource):
    """The whole screen, live. On Linux this is an X11 display, as named by ``DISPLAY``."""

    def __init__(self, display: str, *, options: SourceOptions) -> None:
        """``display`` is for example ":99"; empty for the usual one."""
        grabber, self._display = _grabber(display, sys.platform)
        super().__init__(
            AvInput(
                name=f"screen {display}".rstrip(),
                url=self._display,
                format=grabber,
                options={"framerate": _FRAME_RATE} | dict(options.input_options),
                is_live=True,
                ends=False,
                open_timeout_seconds=options.open_timeout_seconds,
                read_timeout_seconds=options.read_timeout_seconds,
            )
        )

    def _explain_open(self, error: Exception) -> RcnnLiveError:
        if isinstance(error, OSError):
            return UsageError(
                f"The screen {self._display} cannot be opened: is it there, and may this user "
                "see it?"
            )
        return super()._explain_open(error)


def _grabber(display: str, platform: str) -> tuple[str, str]:
    """FFmpeg's (input format, url) for the screen of a platform."""
    if platform == "darwin":
        return "avfoundation", display or "Capture screen 0"
    if platform == "win32":
        return "gdigrab", display or "desktop"
    display = display or os.environ.get("DISPLAY", "")
    if not display:
        raise UsageError(
            "There is no screen to capture because DISPLAY is not set: name one as screen::0, "
            "or start a session under X11."
        )
    return "x11grab", display
