"""Timing of contenders against each other, as the programs beside this file do it.

Each round runs every contender once, in a new order; ratios are taken within a round, so that a
busy machine slows both sides of one.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable


def measure(
    contenders: dict[str, Callable[[], object]], rounds: int, *, turn: int = 1
) -> dict[str, list[float]]:
    """Milliseconds of a call of every contender in every round, after one round to warm up.

    Args:
        contenders: what to call.
        rounds: how many.
        turn: so many calls of each in a round, one after the other; with more than one, another
            comes first that does not count: caches are cold, and the last contender's threads may
            still be waiting for more.
    """
    shuffle = random.Random(0).shuffle
    milliseconds: dict[str, list[float]] = {name: [] for name in contenders}
    for round_number in range(-1, rounds):
        order = list(contenders)
        shuffle(order)
        for name in order:
            if turn > 1:
                contenders[name]()
            began = time.perf_counter()
            for _ in range(turn):
                contenders[name]()
            if round_number >= 0:
                milliseconds[name].append((time.perf_counter() - began) * 1e3 / turn)
    return milliseconds


def summarise(
    milliseconds: dict[str, list[float]], base: str, *, inverse: bool = False
) -> dict[str, dict[str, float]]:
    """Median time of each, and its ratio to ``base`` within each round: least, median, greatest.

    Args:
        milliseconds: of ``measure``.
        base: a contender.
        inverse: how many times as fast as the base, rather than as slow.
    """
    rows = {}
    for name, times in milliseconds.items():
        ratios = [own / t for t, own in zip(milliseconds[base], times, strict=True)]
        if inverse:
            ratios = [1 / ratio for ratio in ratios]
        rows[name] = {
            "ms_median": statistics.median(times),
            "ratio_min": min(ratios),
            "ratio_median": statistics.median(ratios),
            "ratio_max": max(ratios),
        }
    return rows


def spread(row: dict[str, float]) -> str:
    """A ratio as text: median (least to greatest)."""
    return "{ratio_median:.1f} ({ratio_min:.1f} to {ratio_max:.1f})".format(**row)
