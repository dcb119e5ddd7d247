"""What the parity gate found, and whether it is good enough."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from export.compare import CONFIDENT, Agreement

EMPTY, LABELLED = "empty picture", "labelled pictures"
FLOOR = 0.05  # no original object up to this score is asked for
SCORE_MARGIN = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """The greatest differences that are allowed; None where there is no limit.

    Attributes:
        box_px: of any coordinate of any box; if given, every object must be there.
        score: of any score.
        mask_iou: least mean overlap of masks.
        keypoint_px: of keypoints, on average: a heatmap's maximum may lie one pixel beside.
        ap50: by which AP@0.5 may be less than the original's, of boxes, masks and keypoints.
    """

    box_px: float | None = None
    score: float | None = None
    mask_iou: float | None = None
    keypoint_px: float | None = None
    ap50: float | None = None


TOLERANCES = {
    "fp32": Tolerance(box_px=0.05, score=SCORE_MARGIN, mask_iou=0.99, keypoint_px=1.0),
    "fp16": Tolerance(ap50=0.005),
    "bf16": Tolerance(ap50=0.005),
    "int8": Tolerance(ap50=0.01),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One way to run the export, compared with the original.

    Attributes:
        where: runtime and arithmetic, such as ``openvino bf16``.
        pictures: what was shown.
        batch: pictures at a time.
        precision: whose tolerance applies.
        agreement: object by object; None where only AP was measured.
        ap50: by kind, the original's AP@0.5 and the export's.
    """

    where: str
    pictures: str
    batch: int
    precision: str
    agreement: Agreement | None
    ap50: dict[str, tuple[float, float]]

    def is_empty(self) -> bool:
        """Whether it was shown a picture with nothing in it."""
        return self.pictures == EMPTY

    def ap50_delta(self) -> float | None:
        """The greatest loss of any kind."""
        return max((original - export for original, export in self.ap50.values()), default=None)

    def has_compared(self) -> bool:
        """Whether there was anything that its tolerance is about."""
        if TOLERANCES[self.precision].ap50 is not None:
            return bool(self.ap50)
        return self.agreement is not None and self.agreement.expected > 0

    def excess(self) -> str | None:
        """What is past its tolerance, or None."""
        limit = TOLERANCES[self.precision]
        found = next(iter(self._past(limit)), None)
        return None if found is None else f"{found} ({self.where}, batch {self.batch})"

    def _past(self, limit: Tolerance) -> Iterator[str]:
        if limit.ap50 is not None:
            for kind, (original, export) in self.ap50.items():
                if not original - export <= limit.ap50:  # also where it is NaN
                    yield (
                        f"its {kind} AP@0.5 is {export:.4f} where the original's is "
                        f"{original:.4f}, and {self.precision} may lose {limit.ap50:g}"
                    )
        have = self.agreement
        if have is None:
            return
        if (have.missing or have.surplus) and (limit.box_px is not None or self.is_empty()):
            yield (
                f"{have.missing} of the original's {have.expected} objects are missing and "
                f"{have.surplus} are new above a score of {have.floor:g}, and none may be"
            )
        for name, unit, value, most in (
            ("a box", " px", have.box_px_max, limit.box_px),
            ("a score", "", have.score_max, limit.score),
            ("keypoints are on average", " px", have.keypoint_px_mean, limit.keypoint_px),
        ):
            if value is not None and most is not None and not value <= most:
                is_off = "off" if name.endswith("average") else "is off"
                yield f"{name} {is_off} by {value:.3g}{unit}, and {most:g}{unit} is allowed"
        overlap = have.mask_iou_mean
        if overlap is not None and limit.mask_iou is not None and not overlap >= limit.mask_iou:
            yield f"masks overlap by {overlap:.4f} on average, and {limit.mask_iou:g} is needed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """All that was compared.

    Attributes:
        cases: one way after the other.
        compared: whether there was anything to compare.
        failure: in one sentence what is wrong; None for an export that is proven equal.
    """

    cases: tuple[Case, ...]
    compared: bool
    failure: str | None

    @classmethod
    def of(cls, cases: list[Case], pictures: str) -> Proof:
        """Judge the cases; one without anything to compare proves nothing."""
        excess = next(filter(None, (case.excess() for case in cases)), None)
        if excess is not None:
            failure = f"The export differs from the original: {excess}."
            return cls(cases=tuple(cases), compared=True, failure=failure)
        nothing = _nothing_compared(cases, pictures)
        return cls(cases=tuple(cases), compared=nothing is None, failure=nothing)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"tolerances": {name: asdict(t) for name, t in TOLERANCES.items()}}


def _nothing_compared(cases: list[Case], pictures: str) -> str | None:
    own = cases[0].precision  # the export's, before what a runtime makes of it
    for where in dict.fromkeys(case.where for case in cases if case.precision == own):
        compared = [case for case in cases if case.where == where and not case.is_empty()]
        if not any(case.has_compared() for case in compared):
            least = FLOOR if TOLERANCES[compared[0].precision].ap50 is None else CONFIDENT
            return (
                f"Nothing could be compared: the original finds no object above a score of "
                f"{least:g} in {pictures}; give --verify pictures that show what it detects."
            )
    return None
