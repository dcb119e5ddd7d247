"""From a decoded picture to the canvas, on the device that computes.

What ``static.fitted`` does on the host: colours, a bilinear resize without anti-aliasing, padding.
Of RGB the result is the host's within a level. Of YUV planes each plane is resized before the
colours are converted, which is less work and the same but for rounding, for colours outside of RGB
that are cut later, and for chroma, which swscale repeats and this interpolates: in photographs less
than 1.5 of 255 levels on average.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.deploy.manifest import Manifest
from models.letterbox import Image, Letterbox
from models.planes import YuvPlanes
from models.runtimes.base import Canvas
from models.runtimes.gpu_steps import GpuSteps
from models.runtimes.lanes import Lane


@dataclass(frozen=True, slots=True, eq=False)
class OnDevice:
    """A canvas where the model is.

    Attributes:
        pixels: (H,W,3) uint8 RGB.
        steps: that the device was given for it.
    """

    pixels: Tensor
    steps: GpuSteps | None


def on_device(image: Image, planes: YuvPlanes | None, manifest: Manifest, lane: Lane) -> Canvas:
    """A frame on the canvas of an export, laid out on the device.

    Args:
        image: (H,W,3) uint8 RGB.
        planes: the same as it was decoded, which is what is copied then.
        manifest: of the export.
        lane: how the device is reached.

    Returns:
        ``OnDevice`` pixels.
    """
    height, width = manifest.canvas
    letterbox = Letterbox.inside((image.shape[1], image.shape[0]), (width, height))
    picture = image if planes is None else planes
    pixels = laid_out(picture, letterbox, manifest.canvas, manifest.padding_rgb, lane)
    return Canvas(pixels, letterbox)


def laid_out(
    picture: Image | YuvPlanes,
    letterbox: Letterbox,
    canvas: tuple[int, int],
    padding_rgb: tuple[int, ...],
    lane: Lane,
) -> OnDevice:
    """A picture copied to the device as it is, and brought to its place on the canvas there.

    Arguments as for ``to_canvas``, but for the lane: how the device is reached.
    """
    steps = lane.new_steps()
    with torch.inference_mode(), lane.copying_in(steps):
        parts = lane.upload(parts_of(picture))
        return OnDevice(to_canvas(picture, parts, letterbox, canvas, padding_rgb), steps)


def parts_of(picture: Image | YuvPlanes) -> list[Image]:
    """The arrays of a picture that are to be copied to the device."""
    if isinstance(picture, YuvPlanes):
        return [picture.luma, *picture.chroma]
    return [picture]


def to_canvas(
    picture: Image | YuvPlanes,
    parts: Sequence[Tensor],
    letterbox: Letterbox,
    canvas: tuple[int, int],
    padding_rgb: tuple[int, ...],
) -> Tensor:
    """A picture at its place on the canvas.

    Args:
        picture: RGB (H,W,3) uint8, or planes.
        parts: its ``parts_of`` on the device.
        letterbox: where it lies.
        canvas: (height, width) px.
        padding_rgb: the colour around it, 0..255.

    Returns:
        (height,width,3) uint8 RGB on the device.
    """
    size = letterbox.resized_size
    if isinstance(picture, YuvPlanes):
        rgb = _from_yuv(picture, parts, size)
    else:
        rgb = _resized(parts[0].permute(2, 0, 1), size, letterbox.frame_size)
    pixels = rgb.round_().clamp_(0, 255).to(torch.uint8).permute(1, 2, 0)
    width, height = size
    if (height, width) == canvas:
        return pixels.contiguous()
    found = torch.empty((*canvas, 3), dtype=torch.uint8, device=pixels.device)
    for channel, level in enumerate(padding_rgb):  # numbers go with the call: nothing is copied
        found[..., channel] = level
    found[:height, :width] = pixels
    return found


def _from_yuv(picture: YuvPlanes, parts: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """(3,h,w) float RGB of planes, at (width, height) px."""
    luma, *chroma = parts
    width, height = picture.size
    both = chroma[0].permute(2, 0, 1) if len(chroma) == 1 else torch.stack(chroma)
    y = _resized(luma[None], size, (width, height))[0]
    cb, cr = _resized(both, size, (width / 2, height / 2)) - 128
    if not picture.is_full_range:
        y = (y - 16) * (255 / 219)
        cb, cr = cb * (255 / 224), cr * (255 / 224)
    red_weight, blue_weight = picture.weights
    red = y + 2 * (1 - red_weight) * cr
    blue = y + 2 * (1 - blue_weight) * cb
    green = (y - red_weight * red - blue_weight * blue) / (1 - red_weight - blue_weight)
    return torch.stack((red, green, blue))


def _resized(planes: Tensor, size: tuple[int, int], extent: tuple[float, float]) -> Tensor:
    """Planes (C,H,W) as floats, bilinear, at (width, height) px.

    ``extent`` is how much of them is picture: of an odd side, chroma covers half a row too much.
    """
    floats = planes[None].float()
    if size == (planes.shape[2], planes.shape[1]) == extent:
        return floats[0]
    (width, height), (extent_x, extent_y) = size, extent
    found: Tensor = torch.ops.aten.upsample_bilinear2d(
        floats, [height, width], False, height / extent_y, width / extent_x
    )
    return found[0]
