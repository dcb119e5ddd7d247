"""Show the newest annotated picture in a window: q quits, space pauses, s saves a snapshot."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from stream.errors import UsageError
from stream.frame import Image
from stream.render import draw_note
from stream.sinks.base import Sink
from stream.sources.status import SourceStatus

if TYPE_CHECKING:
    from stream.stages import Job

log = logging.getLogger(__name__)

# resizable, and no toolbar: its buttons do what the mouse wheel does
WINDOW_FLAGS = cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL


def check_display() -> None:
    """OpenCV aborts the whole process when it finds no display, so ask first.

    Raises:
        UsageError: if there is no display.
    """
    has_display = sys.platform in {"darwin", "win32"} or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    if not has_display:
        raise UsageError(
            "--window needs a display and neither DISPLAY nor WAYLAND_DISPLAY is set: leave it "
            "out, or use --record FILE."
        )


class Window(Sink):
    """A window that shows the newest picture, and while there is no signal says so over it.

    ``write`` only keeps the picture; ``pump``, called again and again by the main thread, shows
    it, because window systems (macOS above all) want the main thread.

    Args:
        title: of the window.
        on_quit: called when q is pressed or the window is closed.

    Raises:
        UsageError: if there is no display.
    """

    name = "window"
    wants_picture = True

    def __init__(self, title: str, on_quit: Callable[[], None]) -> None:
        check_display()
        # OpenCV's Qt brings no fonts along and complains of it in five lines
        os.environ.setdefault("QT_LOGGING_RULES", "*.warning=false")
        self._title, self._on_quit = title, on_quit
        self._lock = threading.Lock()
        self._newest: Image | None = None
        self._shown: Image | None = None  # without a note
        self._note = self._shown_note = ""
        self._paused = False

    def write(self, job: Job) -> None:
        with self._lock:
            self._newest = job.picture

    def source_changed(self, status: SourceStatus) -> None:
        with self._lock:
            self._note = "" if status.is_live else status.sentence()

    def close(self) -> None:
        """See ``Sink.close``; the window itself goes with ``destroy``."""

    def pump(self) -> None:
        """Show the newest picture and handle a key. Call from the main thread, often."""
        with self._lock:
            picture, self._newest = self._newest, None
            note = self._note
        if picture is None and note != self._shown_note:
            picture = self._shown
        if picture is not None and not self._paused:
            self._show(picture, note)
        if self._shown is None:
            return
        self._handle_key(cv2.waitKey(1) & 0xFF)
        if cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
            self._on_quit()

    def _show(self, picture: Image, note: str) -> None:
        if self._shown is None:
            cv2.namedWindow(self._title, WINDOW_FLAGS)
            cv2.resizeWindow(self._title, picture.shape[1], picture.shape[0])
        self._shown, self._shown_note = picture, note
        if note:
            picture = picture.copy()
            draw_note(picture, note)
        cv2.imshow(self._title, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))

    def _handle_key(self, key: int) -> None:
        if key == ord("q"):
            self._on_quit()
        elif key == ord(" "):
            self._paused = not self._paused
        elif key == ord("s") and self._shown is not None:
            path = Path(time.strftime("snapshot-%Y%m%d-%H%M%S.png"))
            is_saved = cv2.imwrite(str(path), cv2.cvtColor(self._shown, cv2.COLOR_RGB2BGR))
            log.warning("saved %s" if is_saved else "%s cannot be written", path)

    def destroy(self) -> None:
        """Close the window. Call from the main thread."""
        if self._shown is not None:
            cv2.destroyWindow(self._title)
            self._shown = None
