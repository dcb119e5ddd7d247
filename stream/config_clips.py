"""``record_on`` of ``rcnn-live cameras``' file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from stream.clip_options import clips
from stream.config_values import Section, as_value_error, check_places, one_or_more
from stream.sinks.clip_trigger import ClipOptions
from stream.sinks.segments import RecordingOptions

Names = Annotated[tuple[str, ...], BeforeValidator(one_or_more)]


class RecordOn(Section):
    """When clips are written, and where: as ``rcnn-live run --record-on``.

    Attributes:
        classes: one of which is in sight.
        zones: somebody is in one of them.
        pre: seconds before the first sighting.
        post: seconds after the last one.
        longest: a longer clip goes on in another, such as ``5m``.
        memory: for the seconds before, such as ``64MB``.
        folder: of the clips; ``{name}`` is the camera's, ``{started}`` the time in UTC.
    """

    classes: Names = ()
    zones: Names = ()
    pre: float = Field(default=5.0, ge=0, le=600)
    post: float = Field(default=10.0, ge=0, le=3600)
    longest: str | None = None
    memory: str | None = None
    folder: str = Field(min_length=1)

    @field_validator("folder")
    @classmethod
    def _has_places(cls, value: str) -> str:
        check_places(value)
        return value

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if not (self.classes or self.zones):
            raise ValueError("it needs classes or zones")
        as_value_error(lambda: self.options(RecordingOptions(), Path()))
        return self

    def options(self, recording: RecordingOptions, folder: Path) -> ClipOptions:
        """For ``EventClips``.

        Args:
            recording: whose limits hold for clips, too.
            folder: that ``self.folder`` means.
        """
        return clips(
            self.classes,
            self.zones,
            recording=recording,
            pre=self.pre,
            post=self.post,
            longest=self.longest,
            memory=self.memory,
            folder=folder,
            names=("longest", "memory"),
        )
