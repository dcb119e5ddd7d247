"""A recording that is in nobody's way: a thread of its own, and trouble with the disk is its own.

    write ─▶ bounded queue ─ record thread ─▶ VideoFile

A live source's pictures are dropped and counted when the disk or the encoder is too slow; a file
waits. A recording that fails, or whose disk gets full, is finished, told of, and begun anew in
another file once there is room; the run goes on meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from stream.bounded_queue import BoundedQueue, Policy, QueueClosed
from stream.errors import SinkError, ThreadLeftBehind
from stream.frame import Frame
from stream.sinks.base import Sink
from stream.sinks.disk_room import readable_size
from stream.sinks.segments import RecordingOptions, SegmentFiles
from stream.sinks.video_file import VideoFile
from stream.sources.base import SourceInfo
from stream.worker import Worker

if TYPE_CHECKING:
    from stream.stages import Job

logger = logging.getLogger(__name__)

QUEUE_CAPACITY = 16  # pictures, 6 MB each at 1080p
CHECK_SECONDS = 1.0  # between two looks at the disk
RETRY_SECONDS = 10.0  # after a failure
ROOM_BYTES = 32_000_000  # to begin anew, at least
CLOSE_SECONDS = 30.0  # for what still waits; a pipeline that is stopped waits 5 s


@dataclass(frozen=True, slots=True)
class RecordingStatistics:
    """How a recording fared. Every frame of the run is one of the first three.

    Attributes:
        written: frames in its files.
        dropped: frames of a live source that came faster than they could be written.
        unrecorded: frames that came while it could not go on.
        files: how many it is in.
        trouble: why it could not go on, the last time; empty if it always could.
        is_going: whether it could at the end.
    """

    written: int
    dropped: int
    unrecorded: int
    files: int
    trouble: str
    is_going: bool


class Recording(Sink):
    """See the module.

    Args:
        path: ends in .mp4, .m4v, .mov or .mkv; with segments, what their names begin with.
        options: how to write and what to keep.
        is_threaded: False writes on the caller's thread.

    Raises:
        UsageError: if the suffix is unknown or the file cannot be written.
    """

    name = "record"
    wants_picture = True

    def __init__(
        self,
        path: Path,
        options: RecordingOptions = RecordingOptions(),  # noqa: B008 - it is frozen
        *,
        is_threaded: bool = True,
    ) -> None:
        self._video, self._options = VideoFile(path, options), options
        self.tap = self._video.tap
        self._folder, self._files = path.parent, SegmentFiles(path)
        self._is_threaded = is_threaded
        self._queue: BoundedQueue[Job] | None = None
        self._worker = Worker(f"record {path.name}", self._record_all)
        self._written = self._dropped = self._unrecorded = 0
        self._dropped_told = 0
        self._check_at = self._retry_at = 0.0  # monotonic
        self._trouble = ""
        self._is_going = True
        self._failure: SinkError | None = None  # of the disk, not yet overcome
        self._surprise: Exception | None = None

    def open(self, info: SourceInfo) -> None:
        self._video.open(info)
        if self._is_threaded:
            policy = Policy.DROP_OLDEST if info.is_live else Policy.BLOCK
            self._queue = BoundedQueue(QUEUE_CAPACITY, policy, self._drop)
            self._worker.start()

    def write(self, job: Job) -> None:
        assert job.picture is not None
        # what the model was shown is not needed any more, and as large as the picture
        frame = replace(job.frame, image=job.picture, planes=None)
        kept = replace(job, frame=frame, canvas=None)
        if self._queue is None:
            self._record(kept)
            return
        try:
            self._queue.put(kept)
        except QueueClosed:
            if self._surprise is not None:
                raise self._surprise from None
            self._unrecorded += 1

    def close(self) -> None:
        queue, self._queue = self._queue, None
        if queue is not None:
            queue.close()
            if not self._worker.join(CLOSE_SECONDS):
                raise ThreadLeftBehind(f"{self._worker.name} did not end in time.")
        if self._surprise is not None:
            surprise, self._surprise = self._surprise, None
            with contextlib.suppress(SinkError):  # what there is plays
                self._video.close()
            raise surprise
        self._video.close()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    @property
    def path(self) -> Path:
        """Of the file that is being written; from any thread."""
        return self._video.path

    def statistics(self) -> RecordingStatistics:
        """A snapshot; from any thread."""
        return RecordingStatistics(
            self._written,
            self._dropped,
            self._unrecorded,
            self._video.file_count,
            self._trouble,
            self._is_going,
        )

    def _drop(self, _job: Job, _reason: str) -> None:
        self._dropped += 1
        if self._dropped >= 2 * max(self._dropped_told, 0.5):  # the first, and every doubling
            self._dropped_told = self._dropped
            logger.warning(
                "%d frames are not in the recording %s: disk or encoder is too slow.",
                self._dropped,
                self._video.path,
            )

    # ── the record thread ──

    def _record_all(self) -> None:
        queue = self._queue
        assert queue is not None
        try:
            for job in queue:
                self._record(job)
        except Exception as error:  # noqa: BLE001 - raised again in the pipeline's thread
            self._surprise = error
            queue.close(discard=True)

    def _record(self, job: Job) -> None:
        if time.monotonic() >= self._check_at:
            self._look_after_disk(job.frame)
            self._check_at = time.monotonic() + CHECK_SECONDS
        if not self._is_going:
            self._unrecorded += 1
            self._video.skip(job.frame)
            return
        try:
            self._video.write(job)
            self._written += 1
        except SinkError as error:
            self._unrecorded += 1
            self._failure = error
            self._retry_at = time.monotonic() + RETRY_SECONDS
            self._pause(str(error), job.frame)

    def _look_after_disk(self, frame: Frame) -> None:
        """Remove what need not be kept; stop before the disk is full, go on when it is not."""
        try:
            if self._options.keep is not None and self._options.segment is not None:
                self._files.remove_old(self._options.keep, self._video.path)
        except OSError as error:  # the disk gets full all the same
            self._tell(error)
        try:
            free = shutil.disk_usage(self._folder).free
        except OSError as error:
            self._tell(error)
            return
        least = self._options.min_free_bytes
        if self._is_going and free < least:
            self._pause(
                f"The recording {self._video.path} stops: {readable_size(free)} are free, and "
                f"{readable_size(least)} shall be.",
                frame,
            )
        elif (
            not self._is_going
            and time.monotonic() >= self._retry_at
            and free >= max(least + least // 20, ROOM_BYTES)
        ):
            self._video.roll()
            self._failure, self._is_going = None, True
            logger.warning("The recording in %s goes on.", self._folder)

    def _tell(self, error: OSError) -> None:
        logger.warning("The recordings in %s: %s.", self._folder, error.strerror)

    def _pause(self, trouble: str, frame: Frame) -> None:
        """Let the recording end before this frame."""
        self._trouble, self._is_going = trouble, False
        logger.warning("%s The run goes on without it.", trouble)
        with contextlib.suppress(SinkError):  # what there is plays
            self._video.stop_before(frame)
