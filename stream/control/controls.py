"""All running cameras, and what they left behind."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from stream.control.camera import CameraControl, CameraParts
from stream.control.history import EventHistory
from stream.control.library import Place, RecordingLibrary
from stream.control.zone_store import ZoneStore

HISTORY_FILE = ".events.sqlite3"  # in the folder of the recordings


class Controls:
    """Cameras come and go. Safe to use from any thread.

    Args:
        recordings: the folder that recordings are made in, and listed from.
        zones: where zones are stored that are drawn while a camera runs.

    Attributes:
        recordings: what was recorded.
        events: what happened.
        zones: what was drawn.
    """

    def __init__(self, recordings: Path, zones: ZoneStore) -> None:
        self.recordings = RecordingLibrary(recordings)
        self.events = EventHistory(recordings / HISTORY_FILE, self.recordings.finder)
        self.zones = zones
        self._lock = threading.Lock()
        self._cameras: dict[str, CameraControl] = {}  # only ever replaced as a whole

    def cameras(self) -> dict[str, CameraControl]:
        """Those there are now, by name."""
        return self._cameras

    def add(self, parts: CameraParts, places: Sequence[Place] = ()) -> CameraControl:
        """A camera has come, in place of one of its name.

        Args:
            parts: of the camera.
            places: where it records, beside the folder of all recordings.
        """
        control = CameraControl(parts, self.events)
        self.recordings.add_camera(parts.name, parts.recording, places)
        with self._lock:
            self._cameras = {**self._cameras, parts.name: control}
        return control

    def remove(self, name: str) -> None:
        """A camera is gone."""
        self.recordings.remove_camera(name)
        with self._lock:
            self._cameras = {key: one for key, one in self._cameras.items() if key != name}

    def close(self) -> None:
        """Write what still waits. Legal any number of times; after the last pipeline has ended."""
        self.events.close()
