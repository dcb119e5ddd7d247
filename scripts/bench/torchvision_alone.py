"""torchvision's own detector as its users run it: in a process without anything of ours.

Our programs change how a process keeps memory and threads (models/runtimes/cpu.py), which speeds
torchvision up as well. Compared with here is what one has without them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import cycle

import torch
from alone import Alone

from models.letterbox import Image
from models.zoo import LoadedModel


class TorchvisionAlone(Alone):
    """A process that detects on the next of some frames at every call; how many objects there are.

    From the RGB picture to ROI masks: torchvision would go on to paste every mask over the whole
    frame, which is not counted.

    Args:
        load: gives the model; a function that another process can import.
        frames: (h,w,3) uint8 RGB.
        min_score: objects below are dropped before their masks are computed.
    """

    def __init__(
        self, load: Callable[[], LoadedModel], frames: list[Image], *, min_score: float = 0.5
    ) -> None:
        super().__init__(partial(_detector, load, frames, min_score))


def _detector(
    load: Callable[[], LoadedModel], frames: list[Image], min_score: float
) -> Callable[[], int]:
    model = load().module.eval()
    model.roi_heads.score_thresh = min_score
    model.transform.postprocess = lambda result, *_: result
    upcoming = cycle(frames)

    def detect() -> int:
        with torch.inference_mode():
            picture = torch.from_numpy(next(upcoming)).permute(2, 0, 1).float() / 255
            return len(model([picture])[0]["boxes"])

    return detect
