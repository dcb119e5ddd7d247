"""Which encoder really works here, and what each calls a good picture."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext

from stream.errors import SinkError
from stream.sinks.qualities import AUTO, ENCODERS, MEDIUM, QUALITIES

os.environ.setdefault("SVT_LOG", "0")  # SVT-AV1 would write past every log; errors come back, too

# no reordering, so that no frame waits for a later one, nor for itself
_NVENC = {"preset": "p4", "rc": "vbr", "b": "0", "bf": "0", "delay": "0"}
# FFmpeg's name, options: fast enough beside a model, and a quality instead of a bit rate (which
# NVENC would otherwise limit to 2 Mbit/s)
_OPTIONS: dict[str, tuple[str, dict[str, str]]] = {
    "nvenc": ("h264_nvenc", _NVENC),
    "videotoolbox": ("h264_videotoolbox", {"realtime": "1", "bf": "0", "flags": "+qscale"}),
    # zerolatency: or it holds back 11 frames, seconds of a slow camera, which a kill would cost
    "x264": ("libx264", {"preset": "veryfast", "bf": "0", "tune": "zerolatency"}),
    "x265": (
        "libx265",
        {"preset": "ultrafast", "tune": "zerolatency", "x265-params": "log-level=none:bframes=0"},
    ),
    # it holds back some 46 frames; with fewer (pred-struct=1, or hierarchical-levels=2) SVT-AV1 4.1
    # waits for itself for ever on a busy core, once in about 25, or 250, files
    "svtav1": ("libsvtav1", {"preset": "10"}),
}
# the option of each that sets the quality, and its values from low to archive
_SCALES = {
    "nvenc": ("cq", ("29", "23", "19", "14")),
    "videotoolbox": ("global_quality", ("4720", "7080", "8260", "10620")),
    "x264": ("crf", ("28", "23", "19", "14")),
    "x265": ("crf", ("31", "26", "22", "17")),
    "svtav1": ("crf", ("45", "35", "28", "20")),
}
_AUTOMATIC = ("nvenc", "videotoolbox", "x264")  # what plays everywhere, the fastest first


def candidates(encoder: str = AUTO, quality: str = MEDIUM) -> list[tuple[str, dict[str, str]]]:
    """FFmpeg's names and options of what may be tried, in order.

    Args:
        encoder: one of ``ENCODERS``.
        quality: one of ``QUALITIES``.
    """
    found = []
    for kind in _AUTOMATIC if encoder == AUTO else (encoder,):
        name, options = _OPTIONS[kind]
        option, values = _SCALES[kind]
        found.append((name, {**options, option: values[QUALITIES.index(quality)]}))
    return found


@cache
def pick_encoder(
    width: int, height: int, encoder: str = AUTO, quality: str = MEDIUM
) -> tuple[str, dict[str, str]]:
    """The first encoder that encodes a frame; being listed proves nothing without a GPU.

    Args:
        width: px of the recording, even; a GPU refuses small ones and large ones.
        height: px, even.
        encoder: one of ``ENCODERS``; only that one is tried.
        quality: one of ``QUALITIES``.

    Returns:
        its FFmpeg name and options.

    Raises:
        SinkError: if none works.
    """
    for name, options in candidates(encoder, quality):
        if _works(name, options, (width, height)):
            return name, options
    if encoder == AUTO:
        names = " nor ".join(name for name, _ in candidates())
        raise SinkError(
            f"This FFmpeg can encode H.264 with neither {names}: reinstall the package av."
        )
    others = [
        other
        for other in ENCODERS[1:]
        if other != encoder and _works(*candidates(other)[0], (width, height))
    ]
    raise SinkError(
        f"The encoder {encoder} does not work here with {width}x{height} px: these do: "
        f"{', '.join(others) or 'none'}."
    )


def _works(name: str, options: dict[str, str], size: tuple[int, int]) -> bool:
    try:
        encoder = cast("VideoCodecContext", av.CodecContext.create(name, "w"))
        (encoder.width, encoder.height), encoder.pix_fmt = size, "yuv420p"
        encoder.time_base, encoder.options = Fraction(1, 25), options
        open_encoder(encoder)
        grey = np.full((*size[::-1], 3), 128, np.uint8)
        frame = av.VideoFrame.from_ndarray(grey, format="rgb24").reformat(format="yuv420p")
        frame.pts = 0
        return bool(encoder.encode(frame) + encoder.encode(None))
    except (av.FFmpegError, ValueError):
        return False


def open_encoder(encoder: VideoCodecContext) -> None:
    """Open it, and let every thread go on in ordinary turns.

    SVT-AV1, where it may (as root), makes its own threads and the one that opens it real-time ones:
    everything else on their cores, programs started later included, would wait for them.

    Raises:
        FFmpegError: if it does not open.
    """
    if not sys.platform.startswith("linux"):
        encoder.open()
        return
    usual, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    before = _threads()
    try:
        encoder.open()
    finally:
        here = threading.get_native_id()
        for thread in {here, *(_threads() - before)}:
            with contextlib.suppress(ProcessLookupError):  # it has ended since
                if os.sched_getscheduler(thread) != usual:
                    os.sched_setscheduler(thread, usual, parameters)


def _threads() -> set[int]:
    return {int(task.name) for task in Path("/proc/self/task").iterdir()}
