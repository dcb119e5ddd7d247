"""Record the annotated picture with the source's own timestamps."""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np

from models.letterbox import Letterbox
from models.paths import check_writable
from stream.errors import SinkError, UsageError
from stream.frame import Frame, Image
from stream.render import draw_note
from stream.sinks.base import Sink
from stream.sinks.encoders import pick_encoder
from stream.sinks.output_file import CONTAINER_OPTIONS, SOUND_PATIENCE_SECONDS
from stream.sinks.recorded_file import PictureForm, RecordedFile
from stream.sinks.segments import RecordingOptions, SegmentFiles, sidecar_of
from stream.sinks.sidecar import Sidecar
from stream.sinks.sound import SoundTap
from stream.sinks.sound_form import SoundForm
from stream.sources.base import SourceInfo

if TYPE_CHECKING:
    from stream.stages import Job

DEFAULT_RATE = Fraction(25)
GAP_NOTE_SECONDS = 2  # so long the pictures after a gap tell of it
LATE_SOUND_SECONDS = 1  # so long a file that got its last picture waits for the last of its sound


class VideoFile(Sink):
    """Writes .mp4, .mov or .mkv.

    Timestamps of a file are kept to the tick (Matroska rounds to 1 ms); a live source starts at
    zero. Pictures with an odd side gain one row or column, because yuv420p has no odd sizes. A
    picture of another size than the first is fitted into the first one's size; a live source,
    whose camera was set anew, goes on in NAME-2.mp4, NAME-3.mp4 and so on, passing over names that
    are taken. A gap in a live source is as long in the recording, and the pictures after it tell.

    The source's sound goes along, copied, at its own times, where ``tap`` is given to the source.
    When a live source comes back with another sound, it goes on in another file, too.

    With segments every file begins at zero, with a keyframe, and has its time in its name: see
    ``SegmentFiles``.

    Args:
        path: of the recording; overwritten when the first frame comes.
        options: how to write it.

    Attributes:
        path: of the recording that is being written.
        tap: what the source has to be given for its sound; None if none is wanted.
        file_count: of those begun.

    Raises:
        UsageError: if the suffix is unknown or the file cannot be written.
    """

    name = "record"
    wants_picture = True

    def __init__(
        self,
        path: Path,
        options: RecordingOptions = RecordingOptions(),  # noqa: B008 - it is frozen
    ) -> None:
        if path.suffix.lower() not in CONTAINER_OPTIONS:
            raise UsageError(
                f"--record {path}: give a name that ends in {', '.join(CONTAINER_OPTIONS)}."
            )
        if options.encoder == "svtav1" and path.suffix.lower() == ".mov":
            raise UsageError(f"--record {path}: svtav1 goes into .mp4 and .mkv only.")
        self.path = check_writable(path, "--record")
        self._file: RecordedFile | None = None
        self._ending: RecordedFile | None = None  # has all its pictures, but not yet all its sound
        self._sound = SoundTap(path.suffix.lower())
        self.tap = self._sound if options.sound else None
        self._size = (0, 0)
        self._first_path, self._file_number = self.path, 1
        self._options, self._segment_files = options, SegmentFiles(path)
        self._sidecar = Sidecar() if options.sidecar else None
        self._began_at = 0.0  # seconds of pts
        self.file_count = 0
        self._gap_note, self._noted_until = "", 0.0  # seconds of pts

    def open(self, info: SourceInfo) -> None:
        self._info = info
        self._encoder(info.width, info.height)  # better now than when the first picture comes
        if self._sidecar is not None:
            self._sidecar.open(info)

    def write(self, job: Job) -> None:
        assert job.picture is not None
        picture = self._with_gap_note(job.picture, job.frame)
        sound = self._sound.note(job.frame)
        try:
            if self._file is not None and self._is_over(job.frame, sound):
                self._end_file()
            if self._file is None:
                self._file = self._begun(job, sound)
            image = self._fit(picture)
            pts = self._file.write_picture(image, job.frame.pts, job.frame.time_base)
            self._write_sound(job.frame.pts * job.frame.time_base)
            if self._sidecar is not None:
                self._sidecar.write(job, pts)
        except (av.FFmpegError, OSError) as error:
            raise self._failure(error) from error

    def skip(self, frame: Frame) -> None:
        """Leave this frame out, and the sound until then."""
        self._sound.note(frame)
        deque(self._sound.take_before(frame.pts * frame.time_base), maxlen=0)

    def _begun(self, job: Job, sound: SoundForm | None) -> RecordedFile:
        rate = self._info.frame_rate or DEFAULT_RATE
        frame, (width, height) = job.frame, job.frame.size
        self._size = (width, height)
        encoder, options = self._encoder(width, height)
        is_segment = self._options.segment is not None
        is_whole = not (self._info.is_live or is_segment or self.file_count)
        self._began_at = frame.pts_seconds
        if is_segment:
            self.path = self._segment_files.begun_at(frame.arrival_wall_time)
        begun = RecordedFile(
            self.path,
            PictureForm(
                encoder=encoder,
                options=options,
                size=(width + width % 2, height + height % 2),
                rate=rate,
                time_base=frame.time_base,
            ),
            origin=frame.pts if self._info.is_live or is_segment else 0,
            begins_at=None if is_whole else frame.pts * frame.time_base,
            sound=sound,
            sound_patience_seconds=SOUND_PATIENCE_SECONDS + float(self._sound.lateness(frame)),
        )
        self.file_count += 1
        if self._sidecar is not None:
            self._sidecar.begin(sidecar_of(self.path))
        return begun

    def _write_sound(self, until: Fraction | None) -> None:
        """Give each file what is heard in it.

        Args:
            until: seconds in the time of the frames; None for all there is.
        """
        begins_at = None if self._file is None else self._file.begins_at
        for placed in self._sound.take_before(until):
            is_late = begins_at is not None and placed.seconds < begins_at
            file = self._ending if is_late else self._file
            if not is_late:
                self._close_ending()
            if file is not None:
                file.write_sound(placed)
        if until is None or (begins_at is not None and until > begins_at + LATE_SOUND_SECONDS):
            self._close_ending()

    def _end_file(self) -> None:
        """No more pictures for this file; the next one begins another."""
        self._close_ending()
        if self._sidecar is not None:
            self._sidecar.close()
        self._ending, self._file = self._file, None
        assert self._ending is not None
        self._ending.end_pictures()
        self._name_next()

    def _close_ending(self) -> None:
        ending, self._ending = self._ending, None
        if ending is not None:
            ending.close()

    def _encoder(self, width: int, height: int) -> tuple[str, dict[str, str]]:
        options = self._options
        even = width + width % 2, height + height % 2
        return pick_encoder(*even, options.encoder, options.quality)

    def _is_over(self, frame: Frame, sound: SoundForm | None) -> bool:
        """Whether the file ends before this frame."""
        assert self._file is not None
        if self._info.is_live and (frame.size != self._size or not self._file.holds(sound)):
            return True
        segment = self._options.segment
        if segment is None:
            return False
        seconds, size = segment.seconds, segment.bytes
        is_long = seconds is not None and frame.pts_seconds - self._began_at >= seconds
        return is_long or (size is not None and self._file.byte_count >= size)

    def roll(self) -> None:
        """Finish this file; the next picture begins another one.

        Raises:
            SinkError: if it could not be finished.
        """
        self.close()
        self._name_next()

    def _name_next(self) -> None:
        if self._options.segment is not None or not self.file_count:
            return  # named when it begins
        while self.path == self._first_path or self.path.exists():
            self._file_number += 1
            name = f"{self._first_path.stem}-{self._file_number}{self._first_path.suffix}"
            self.path = self._first_path.with_name(name)

    def _with_gap_note(self, picture: Image, frame: Frame) -> Image:
        """The picture, or a copy that tells of the gap before it."""
        if frame.gap_seconds:
            self._gap_note = f"no signal for {frame.gap_seconds:.1f} s until here"
            self._noted_until = frame.pts_seconds + GAP_NOTE_SECONDS
        if frame.pts_seconds >= self._noted_until or not self._gap_note:
            return picture
        picture = picture.copy()
        draw_note(picture, self._gap_note)
        return picture

    def _fit(self, picture: Image) -> Image:
        """The picture at the recording's even size."""
        width, height = self._size
        picture = Letterbox.inside(picture.shape[1::-1], self._size).resize(picture)
        bottom = height + height % 2 - picture.shape[0]
        right = width + width % 2 - picture.shape[1]
        if bottom == 0 and right == 0:
            return picture
        padded = cv2.copyMakeBorder(picture, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        return np.asarray(padded, np.uint8)

    def close(self) -> None:
        self._finish(None)

    def stop_before(self, frame: Frame) -> None:
        """Finish this file; the sound of this frame and later ones is none of it.

        Raises:
            SinkError: if it could not be finished.
        """
        self._finish(frame.pts * frame.time_base)

    def _finish(self, until: Fraction | None) -> None:
        """Finish the file with the sound until then, as of ``_write_sound``."""
        if self._sidecar is not None:
            self._sidecar.close()
        try:
            with ExitStack() as finishing:
                finishing.callback(self._close_file)
                finishing.callback(self._close_ending)
                if self._file is not None:
                    self._file.end_pictures()
                    self._write_sound(until)
        except (av.FFmpegError, OSError) as error:
            raise self._failure(error) from error

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _failure(self, error: Exception) -> SinkError:
        reason = getattr(error, "strerror", None) or str(error)
        return SinkError(
            f"The recording {self.path} could not be written: {reason}; what was written until "
            "then stays playable."
        )
