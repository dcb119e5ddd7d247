"""YAML with the line of every value, so that a mistake can be pointed at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from stream.errors import UsageError

Place = tuple[str | int, ...]  # keys and list positions from the top of the file


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a file holds.

    Attributes:
        data: the whole of it, as Python has it.
        lines: of each key and each list item, from 1.
        texts: each plain value as it was written.
    """

    data: Any
    lines: dict[Place, int]
    texts: dict[Place, str]

    def line(self, place: Place) -> int | None:
        """Of the value at ``place``, or of the nearest thing around it that is in the file."""
        for length in range(len(place), 0, -1):
            if place[:length] in self.lines:
                return self.lines[place[:length]]
        return None


def parse(path: Path, *, is_secret: bool = False) -> Parsed:
    """Read a YAML file.

    Args:
        path: of the file.
        is_secret: whether no message may show what is in it.

    Raises:
        UsageError: if it cannot be read, is no YAML, or has a key twice; with the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise UsageError(f"{path} cannot be read: {reason}.") from error
    parsed = Parsed(None, {}, {})
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return parsed
        _walk(node, (), parsed, path)
        return Parsed(loader.construct_document(node), parsed.lines, parsed.texts)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = "" if mark is None else f" line {mark.line + 1}"
        problem = "put the value in quotes" if is_secret else error.problem
        raise UsageError(f"{path}{line} is no YAML: {problem}.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # characters that YAML has not, an impossible date, an anchor inside of itself
        reason = getattr(error, "reason", None) or "a value in it is impossible"
        raise UsageError(f"{path} is no YAML: {reason}.") from None
    finally:
        loader.dispose()


def _walk(node: yaml.Node, place: Place, parsed: Parsed, path: Path) -> None:
    if isinstance(node, yaml.ScalarNode):
        parsed.texts[place] = node.value
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            parsed.lines[*place, number] = item.start_mark.line + 1
            _walk(item, (*place, number), parsed, path)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise UsageError(f"{path} line {line}: a key has to be a plain name.")
            if (*place, key.value) in parsed.lines:
                first = parsed.lines[*place, key.value]
                raise UsageError(
                    f"{path} line {line}: {key.value!r} stands in line {first} already: "
                    "leave out one of them."
                )
            parsed.lines[*place, key.value] = line
            _walk(value, (*place, key.value), parsed, path)
