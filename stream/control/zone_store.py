"""Zones and lines that were drawn while cameras ran, in a file of their own.

    # cameras.zones.yaml, beside cameras.yaml
    door:
      zones: {step: [[0.1, 0.6], [0.9, 0.6], [0.9, 1.0]]}
      instead_of: {}          # what cameras.yaml said when they were drawn

They stand in for those of the configuration, and only for these: who edits the zones of a camera
there has the last word.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from pydantic import Field, TypeAdapter, ValidationError

from stream.config import CameraSettings, Config
from stream.config_file import parse
from stream.config_places import PlacesForm, lines_in, zones_in
from stream.control.types import Places
from stream.errors import SinkError, UsageError

_HEADING = "# Drawn on the live page; see stream/control/zone_store.py\n"


class _Stored(PlacesForm):
    """Those of one camera, and what they stand in for."""

    instead_of: PlacesForm = Field(default_factory=PlacesForm)


_FILE = TypeAdapter(dict[str, _Stored])


class ZoneStore:
    """Reads and writes the file. Safe to use from any thread.

    Args:
        file: of the zones; made when the first ones are stored.

    Attributes:
        editing: held while zones are stored, and by who reads a configuration to put it into force:
            otherwise one could undo the other.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.editing = threading.RLock()
        self._own: dict[str, PlacesForm] = {}  # what the configuration says

    @classmethod
    def beside(cls, config: Path) -> ZoneStore:
        """The one that belongs to a configuration."""
        return cls(config.with_suffix(".zones.yaml"))

    def places(self, camera: str, own: Places) -> Places:
        """What holds for a camera: what was drawn in place of its own zones and lines, or these.

        Raises:
            UsageError: if the file is wrong.
        """
        with self.editing:
            self._own[camera] = form = PlacesForm.of(own.zones, own.lines)
            stored = self._read().get(camera)
            if stored is None or stored.instead_of != form:
                return own
            return places_in(stored, self._file)

    def applied(self, config: Config) -> Config:
        """The configuration with what was drawn.

        Raises:
            UsageError: if the file is wrong.
        """
        with self.editing:
            cameras = {name: self._applied(name, one) for name, one in config.cameras.items()}
            return config.model_copy(update={"cameras": cameras})

    def _applied(self, name: str, camera: CameraSettings) -> CameraSettings:
        scene = camera.scene()
        return with_places(camera, self.places(name, Places(scene.zones, scene.lines)))

    def save(self, camera: str, places: Places) -> None:
        """Store what was drawn for a camera that ``places`` or ``applied`` was asked for.

        Raises:
            SinkError: if it cannot be written.
        """
        with self.editing:
            try:
                stored = self._read()
            except UsageError as error:
                raise SinkError(str(error)) from error
            form, own = PlacesForm.of(places.zones, places.lines), self._own[camera]
            stored.pop(camera, None)
            if form != own:
                stored[camera] = _Stored(zones=form.zones, lines=form.lines, instead_of=own)
            self._write(stored)

    def _read(self) -> dict[str, _Stored]:
        if not self._file.exists():
            return {}
        try:
            return _FILE.validate_python(parse(self._file).data or {})
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"] if not str(part).startswith("["))
            message = first["msg"].removeprefix("Value error, ")
            raise UsageError(f"{self._file}: {place or 'the file'}: {message}.") from None

    def _write(self, stored: dict[str, _Stored]) -> None:
        data: dict[str, Any] = {
            name: one.model_dump(mode="json", exclude_none=True) for name, one in stored.items()
        }
        part = self._file.with_name(f".{self._file.name}.part")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            text = yaml.safe_dump(
                data, sort_keys=False, allow_unicode=True, default_flow_style=None
            )
            part.write_text(_HEADING + text, encoding="utf-8")
            part.replace(self._file)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise SinkError(f"{self._file} cannot be written: {error.strerror}.") from error


def places_in(form: PlacesForm, file: Path) -> Places:
    """What a form means.

    Raises:
        UsageError: naming the file, if a zone is no area or a line has no length.
    """
    try:
        return Places(zones_in(form.zones), lines_in(form.lines))
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from error


def with_places(camera: CameraSettings, places: Places) -> CameraSettings:
    """The settings of a camera that counts there."""
    form = PlacesForm.of(places.zones, places.lines)
    return camera.model_copy(update={"zones": form.zones, "lines": form.lines})
