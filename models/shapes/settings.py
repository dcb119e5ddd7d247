"""What the words after ``shapes:`` say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from models.errors import UsageError

NAME = "shapes"
SIDES = (64, 2048)  # px, least and greatest
MOST = 1_000_000  # of anything that is counted

SOURCE_WORDS = ("seed", "size", "frames", "live")
DATA_WORDS = ("seed", "size", "train", "validation")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapesSettings:
    """One shapes world.

    Attributes:
        seed: another number is another world.
        size: (width, height) px of its pictures.
        frames: of the video.
        is_live: whether the video keeps to the clock and has no end.
        train: pictures to learn from.
        validation: pictures to judge by.
    """

    seed: int = 0
    size: tuple[int, int] = (320, 240)
    frames: int = 250
    is_live: bool = False
    train: int = 800
    validation: int = 200


def is_shapes(text: str) -> bool:
    """Whether it means the shapes world, and no file."""
    return text == NAME or text.startswith(f"{NAME}:")


def parse_shapes(text: str, words: Sequence[str]) -> ShapesSettings:
    """Settings out of ``shapes`` or ``shapes:WORD=VALUE,…``.

    Args:
        text: for which ``is_shapes`` holds.
        words: those that mean something here, ``SOURCE_WORDS`` or ``DATA_WORDS``.

    Raises:
        UsageError: if a word is unknown or its value does not fit.
    """
    values: dict[str, object] = {}
    for part in filter(None, text.removeprefix(NAME).removeprefix(":").split(",")):
        word, _, value = part.partition("=")
        if word not in words:
            raise UsageError(
                f"{text} has the unknown word {word!r}: allowed are {_examples(words)}."
            )
        field = "is_live" if word == "live" else word
        if field in values:
            raise UsageError(f"{text} says {word} twice: leave out one.")
        values[field] = _read(text, word, value)
    return ShapesSettings(**values)  # type: ignore[arg-type]  # each was read by its word


def _read(text: str, word: str, value: str) -> object:
    if word == "live":
        if value:
            raise UsageError(f"{text} gives live a value: write live alone.")
        return True
    if word == "size":
        return _size(text, value)
    least = 0 if word in ("seed", "validation") else 1
    if not (value.isascii() and value.isdecimal() and least <= int(value) <= MOST):
        raise UsageError(
            f"{text} has {word}={value}: it must be a whole number from {least} to {MOST}."
        )
    return int(value)


def _size(text: str, value: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", value, re.ASCII)
    size = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(SIDES[0] <= side <= SIDES[1] for side in size):
        raise UsageError(
            f"{text} has size={value}: it must be WIDTHxHEIGHT of {SIDES[0]} to {SIDES[1]} px, "
            "such as size=320x240."
        )
    return size


def _examples(words: Sequence[str]) -> str:
    default = ShapesSettings()
    shown = {"size": "size={}x{}".format(*default.size), "live": "live"}
    return ", ".join(shown.get(word) or f"{word}={getattr(default, word)}" for word in words)
