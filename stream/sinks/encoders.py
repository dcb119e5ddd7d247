"""Which H.264 encoder really works here."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import cast

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext

from stream.errors import SinkError

# name, options: fast enough beside a model, no reordering so that no frame waits for a later one
CANDIDATES = (
    ("h264_nvenc", {"preset": "p4", "rc": "vbr", "cq": "23", "bf": "0"}),
    ("libx264", {"preset": "veryfast", "crf": "23", "bf": "0"}),
)


@cache
def pick_encoder() -> tuple[str, dict[str, str]]:
    """The first encoder that encodes a frame; being listed proves nothing without a GPU.

    Returns:
        its FFmpeg name and options.

    Raises:
        SinkError: if none works.
    """
    for name, options in CANDIDATES:
        if _works(name, options):
            return name, options
    names = " nor ".join(name for name, _ in CANDIDATES)
    raise SinkError(f"This FFmpeg can encode H.264 with neither {names}: reinstall the package av.")


def _works(name: str, options: dict[str, str]) -> bool:
    try:
        encoder = cast("VideoCodecContext", av.CodecContext.create(name, "w"))
        encoder.width, encoder.height, encoder.pix_fmt = 256, 256, "yuv420p"
        encoder.time_base, encoder.options = Fraction(1, 25), options
        grey = av.VideoFrame.from_ndarray(np.full((256, 256, 3), 128, np.uint8), format="rgb24")
        grey.pts = 0
        return bool(encoder.encode(grey.reformat(format="yuv420p")) + encoder.encode(None))
    except (av.FFmpegError, ValueError):
        return False
