"""A picture as a video decoder gives it: brightness apart from colour."""

from __future__ import annotations

from dataclasses import dataclass

from models.letterbox import Image

# Kr and Kb, the shares of red and blue in brightness, of ITU-R's standards
BT601 = (0.299, 0.114)
BT709 = (0.2126, 0.0722)
BT2020 = (0.2627, 0.0593)


@dataclass(frozen=True, slots=True, eq=False)
class YuvPlanes:
    """A picture in YUV 4:2:0, 8 bits, half the bytes of RGB.

    Attributes:
        luma: (H,W) uint8, brightness.
        chroma: Cb and Cr, each (ceil(H/2),ceil(W/2)) uint8; or both as one (h,w,2), as GPUs decode.
        weights: Kr and Kb of the standard it is in, such as ``BT709``.
        is_full_range: whether black is 0 and white 255, instead of 16 and 235.
    """

    luma: Image
    chroma: tuple[Image, ...]
    weights: tuple[float, float]
    is_full_range: bool

    def __post_init__(self) -> None:
        height, width = self.luma.shape
        half = (height + 1) // 2, (width + 1) // 2
        shapes = [plane.shape for plane in self.chroma]
        if shapes not in ([half, half], [(*half, 2)]):
            raise ValueError(f"planes of {self.luma.shape} have chroma {half}, not {shapes}")

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) px."""
        return self.luma.shape[1], self.luma.shape[0]
