"""What decodes and encodes: devices where they open, the processor elsewhere, and it is said."""

from __future__ import annotations

import errno
import json
import logging
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import media
import numpy as np
import pytest
from av.codec.hwaccel import hwdevices_available
from av.video.codeccontext import VideoCodecContext
from pieces import Run

from stream.cli import run as run_command
from stream.errors import SinkError, UsageError
from stream.frame import Frame
from stream.publish.encoder import LIVE
from stream.sinks import encoders
from stream.sinks.encoders import candidates, pick_encoder
from stream.sources import SourceOptions, create_source, decoders
from stream.sources.options import DECODERS

SIZE = (640, 360)


@pytest.fixture
def no_nvdec() -> None:
    if decoders.opens("nvdec"):
        pytest.skip("NVDEC opens here")


def frames(path: Path, decode: str) -> list[Frame]:
    found = []
    with create_source(str(path), options=SourceOptions(decode=decode)) as source:
        source.open()
        while (frame := source.read()) is not None:
            found.append(frame)
    return found


# Decoding


def test_the_command_line_offers_what_sources_take() -> None:
    (option,) = (each for each in run_command.params if each.name == "decode")
    assert tuple(option.type.choices) == DECODERS  # type: ignore[attr-defined]
    assert set(decoders.DEVICES) == set(DECODERS) - {"auto", "software"}


def test_another_decoder_is_refused() -> None:
    with pytest.raises(UsageError, match="decode is 'cuda', allowed are auto, software, nvdec"):
        SourceOptions(decode="cuda")


@pytest.mark.usefixtures("no_nvdec")
def test_a_device_that_is_not_here_is_one_sentence() -> None:
    assert "cuda" in hwdevices_available()  # so that what follows is its own refusal
    assert decoders.pick("nvdec") is decoders.pick("auto") is decoders.pick("software") is None
    assert decoders.refusal("nvdec") == (
        "Video is decoded in software: NVDEC cannot be opened here, which takes an NVIDIA GPU and "
        "its driver."
    )
    assert decoders.refusal("auto") is decoders.refusal("software") is None


@pytest.mark.skipif("videotoolbox" in hwdevices_available(), reason="this FFmpeg has it")
def test_a_device_that_ffmpeg_does_not_know_is_one_sentence() -> None:
    assert decoders.refusal("videotoolbox") == (
        "Video is decoded in software: this FFmpeg was built without VideoToolbox."
    )


@pytest.mark.parametrize("decode", DECODERS)
def test_the_pictures_are_the_same_whatever_decodes(decode: str, tmp_path: Path) -> None:
    clip = media.constant_rate(tmp_path)
    found, expected = frames(clip.path, decode), frames(clip.path, "software")
    assert [frame.pts for frame in found] == list(clip.pts or ())
    assert [media.number_in(frame.image) for frame in found] == list(clip.numbers)
    for one, other in zip(found, expected, strict=True):
        assert np.abs(one.image.astype(int) - other.image).mean() < 2  # nv12's colours, of NVDEC


@pytest.mark.skipif("vaapi" in hwdevices_available(), reason="needs a device without decoders")
@pytest.mark.parametrize(("decode", "level"), [("vaapi", logging.WARNING), ("auto", logging.INFO)])
def test_video_that_a_device_does_not_take(
    decode: str,
    level: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """FFmpeg is really asked for a device that has no decoder for it; only its opening is not."""
    clip = media.constant_rate(tmp_path)
    monkeypatch.setattr(decoders, "opens", lambda _name: True)
    monkeypatch.setattr(decoders, "_BEST", "vaapi")
    with caplog.at_level(logging.INFO, "stream"):
        found = frames(clip.path, decode)
    assert [media.number_in(frame.image) for frame in found] == list(clip.numbers)
    (record,) = caplog.records
    assert record.levelno == level
    assert record.getMessage() == (
        f"{clip.path} is decoded in software: VAAPI does not take this video."
    )


@pytest.mark.usefixtures("no_nvdec")
@pytest.mark.timeout(300)
def test_asking_for_nvdec_runs_without_it_and_says_so(rcnn_live: Run, tmp_path: Path) -> None:
    clip = media.constant_rate(tmp_path)
    code, out, err = rcnn_live(
        "run", clip.path, "--decode", "nvdec", "--runtime", "torch-eager", "--canvas-side", 64,
        "--max-frames", 2, "--events", "-",
    )  # fmt: skip
    assert code == 0, err
    assert [json.loads(line)["index"] for line in out.splitlines()] == [0, 1]
    assert err.count("NVDEC cannot be opened here") == 1


@pytest.mark.gpu
def test_nvdec_on_a_gpu(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    if not decoders.opens("nvdec"):
        pytest.skip("this GPU, or its driver here, decodes no video")
    path = tmp_path / "large.mp4"
    media.encode(path, [media.marked_picture(k, *SIZE) for k in range(12)], pts=range(12))
    with caplog.at_level(logging.INFO, "stream"):
        found = frames(path, "nvdec")
    assert [media.number_in(frame.image) for frame in found] == list(range(12))
    assert "is decoded by NVDEC." in caplog.text
    assert found[0].planes is not None
    assert len(found[0].planes.chroma) == 1


# Encoding


def test_an_encoder_is_chosen_by_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """NVENC is listed by every FFmpeg and refuses without a GPU."""
    assert av.Codec("h264_nvenc", "w").name == "h264_nvenc"
    name, options = pick_encoder(*SIZE)
    assert encoders._works(name, options, SIZE)
    works = [encoders._works(*each, SIZE) for each in candidates()]
    assert (name, options) == candidates()[works.index(True)]
    if works[0]:
        pytest.skip("NVENC encodes here")
    pick_encoder.cache_clear()
    monkeypatch.setattr(encoders, "_AUTOMATIC", ("nvenc",))
    with pytest.raises(SinkError, match=r"can encode H.264 with neither h264_nvenc: reinstall"):
        pick_encoder(*SIZE)


@pytest.mark.parametrize(
    "candidate",
    [*candidates("nvenc"), *candidates("x264"), *LIVE.items()],
    ids=lambda each: each[0],
)
def test_options_of_encoders_exist(candidate: tuple[str, dict[str, str]]) -> None:
    """FFmpeg ignores an option it does not know; of those it knows, nonsense is refused first."""
    name, options = candidate
    assert refused_with(name, {"no_such_option": "nonsense!"}) != errno.EINVAL
    assert {option: refused_with(name, {option: "nonsense!"}) for option in options} == (
        dict.fromkeys(options, errno.EINVAL)
    )
    assert refused_with(name, options) != errno.EINVAL


def refused_with(name: str, options: dict[str, str]) -> int | None:
    """The error number of opening an encoder, None if it opens."""
    encoder = cast("VideoCodecContext", av.CodecContext.create(name, "w"))
    (encoder.width, encoder.height), encoder.pix_fmt = SIZE, "yuv420p"
    encoder.time_base, encoder.options = Fraction(1, 25), options
    try:
        encoder.open()
    except av.FFmpegError as error:
        return error.errno
    return None
