"""A source that is broken on purpose, to see what becomes of it.

``faults:SPEC:URI`` is the source URI with the faults of SPEC, names and values joined by commas:

    drop=P          a frame is lost with probability P
    repeat=P        a frame shows the picture before it again, as a frozen encoder does
    corrupt=P       an H.264 packet is damaged on its way, see ``damaged_link.py``
    resize=P        the picture changes between its own size and half of it
    jump=P/S        the source's clock jumps by S seconds; below 0, back
    stall=P/S       nothing comes for S seconds
    burst=P/N       N frames come at once, when the last of them is there
    slow=S          every frame comes S seconds later than it was asked for
    disconnect=P    the connection breaks
    hang=P/S        the reader hangs for S seconds and hears no interruption
    seed=N          another choice of frames; without it always the same, 0

P is rolled before every frame, 0 to 1. For example

    rcnn-live run faults:drop=0.1,stall=0.01/3:rtsp://camera/live
    rcnn-live run faults:disconnect=0.02,seed=7:demo:live --record out.mp4

A source with faults comes back as a network stream does, if it is live.
"""

from __future__ import annotations

import dataclasses
import difflib
import random
import threading
import time
from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

from stream.errors import SourceError, UsageError
from stream.frame import Frame, Image
from stream.sources.base import FrameSource, SourceInfo
from stream.sources.damaged_link import DamagedLink
from stream.sources.timing import PtsRepair

_WITH_EXTENT = ("jump", "stall", "burst", "hang")


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultPlan:
    """Which faults, how often and how large; the module says what each of them does.

    A pair is (probability, extent): seconds, or frames for ``burst``.
    """

    drop: float = 0.0
    repeat: float = 0.0
    corrupt: float = 0.0
    resize: float = 0.0
    disconnect: float = 0.0
    slow: float = 0.0
    jump: tuple[float, float] = (0.0, 0.0)
    stall: tuple[float, float] = (0.0, 0.0)
    burst: tuple[float, float] = (0.0, 0.0)
    hang: tuple[float, float] = (0.0, 0.0)
    seed: int = 0

    @classmethod
    def parse(cls, spec: str) -> FaultPlan:
        """The plan of a SPEC as the module explains it.

        Raises:
            UsageError: with the nearest right name, or what a value has to be.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        plan: dict[str, object] = {}
        for part in filter(None, spec.split(",")):
            name, _, value = part.partition("=")
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1) or names
                raise UsageError(
                    f"There is no fault {name!r}: did you mean {' or '.join(near)}? "
                    "An example is faults:drop=0.1,stall=0.01/3:rtsp://HOST/PATH."
                )
            plan[name] = _value(name, value)
        if not plan:
            raise UsageError(
                "faults takes what is to go wrong and a source, for example "
                "faults:drop=0.1,stall=0.01/3:rtsp://HOST/PATH."
            )
        return cls(**plan)  # type: ignore[arg-type]


def _value(name: str, text: str) -> float | int | tuple[float, float]:
    first, slash, second = text.partition("/")
    try:
        if name == "seed":
            return int(text)
        if name == "slow":
            return _within(float(text), 0, 3600)
        if name in _WITH_EXTENT:
            lowest = -1e9 if name == "jump" else 0
            return _within(float(first), 0, 1), _within(float(second), lowest, 1e9)
        if slash:
            raise ValueError
        return _within(float(text), 0, 1)
    except ValueError:
        wanted = {"seed": "a whole number", "slow": "seconds from 0 to 3600"}.get(name)
        if name in _WITH_EXTENT:
            unit = "frames" if name == "burst" else "seconds"
            wanted = f"a probability from 0 to 1 and {unit}, such as 0.01/3"
        raise UsageError(
            f"The fault {name} takes {wanted or 'a probability from 0 to 1'}, not {text!r}."
        ) from None


def _within(value: float, lowest: float, highest: float) -> float:
    if not lowest <= value <= highest:
        raise ValueError
    return value


class Faulty(FrameSource):
    """Reads ``source`` and does to it what ``plan`` says; keeps a source's contract all the same.

    Every fault has its own sequence of chances: adding one does not move the others.

    Args:
        source: to break.
        plan: how.
        connection: number of this connection, each of which has its own faults.
    """

    def __init__(self, source: FrameSource, plan: FaultPlan, connection: int = 0) -> None:
        self._source, self._plan, self._connection = source, plan, connection
        self._interrupted = threading.Event()
        self._link: DamagedLink | None = None
        self._ready: deque[Frame] = deque()
        self._is_open = False

    @property
    def corrupt_packets(self) -> int:
        return self._source.corrupt_packets + (self._link.lost if self._link else 0)

    def open(self) -> SourceInfo:
        info = self._source.open()
        seed = f"{self._plan.seed} {self._connection}"
        self._chances = {
            field.name: random.Random(f"{seed} {field.name}")
            for field in dataclasses.fields(self._plan)
        }
        self._repair = PtsRepair(info.time_base, info.frame_rate)
        self._link = DamagedLink(self._plan.corrupt, self._chances["corrupt"])
        self._ready.clear()
        self._index = self._jumped = self._to_hold = 0
        self._is_halved = False
        self._previous: Image | None = None
        self._is_open = True
        return info

    def read(self) -> Frame | None:
        if not self._is_open:
            return self._source.read()  # which says so
        while not self._interrupted.is_set():
            if self._ready and not self._to_hold:
                return self._ready.popleft()
            self._wait()
            frame = self._source.read()
            if frame is None:
                self._to_hold = 0
                return self._ready.popleft() if self._ready else None
            if (frame := self._broken(frame)) is not None:
                self._ready.append(frame)
                self._to_hold = max(0, self._to_hold - 1)
                if self._strikes("burst"):
                    self._to_hold = max(self._to_hold, round(self._plan.burst[1]) - 1)
        return None

    def close(self) -> None:
        self._is_open = False
        self._source.close()
        self._ready.clear()
        self._previous = None

    def interrupt(self) -> None:
        self._interrupted.set()
        self._source.interrupt()

    def _strikes(self, fault: str) -> bool:
        planned = getattr(self._plan, fault)
        probability = planned[0] if fault in _WITH_EXTENT else planned
        return bool(self._chances[fault].random() < probability)

    def _wait(self) -> None:
        """What goes wrong before a frame comes."""
        self._interrupted.wait(self._plan.slow)
        if self._strikes("stall"):
            self._interrupted.wait(self._plan.stall[1])
        if self._strikes("hang"):
            time.sleep(self._plan.hang[1])
        if self._strikes("disconnect"):
            raise SourceError("The source was disconnected, as its faults ask for.")

    def _broken(self, frame: Frame) -> Frame | None:
        """What is left of a frame, None if nothing is."""
        if self._strikes("drop"):
            return None
        image: Image | None = frame.image
        if self._plan.corrupt:
            assert self._link is not None
            image = self._link.send(frame.image)
        if image is None:
            return None
        self._is_halved ^= self._strikes("resize")
        if self._is_halved:
            half = max(1, image.shape[1] // 2), max(1, image.shape[0] // 2)
            image = np.asarray(cv2.resize(image, half, interpolation=cv2.INTER_AREA), np.uint8)
        if self._strikes("repeat") and self._previous is not None:
            image = self._previous.copy()
        self._previous = image
        if self._strikes("jump"):
            self._jumped += round(self._plan.jump[1] / float(frame.time_base))
        broken = dataclasses.replace(
            frame,
            image=image,
            planes=None,  # they would show it whole
            index=self._index,
            pts=self._repair.next(frame.pts + self._jumped, None),
        )
        self._index += 1
        return broken
