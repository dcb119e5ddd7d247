"""The rows of a COCO annotation file, each with the fields it must have."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from models.errors import DataError

Row = dict[str, Any]

_NEEDED: dict[str, dict[str, type]] = {
    "images": {"id": int, "file_name": str, "width": int, "height": int},
    "categories": {"id": int, "name": str},
    "annotations": {"id": int, "image_id": int, "category_id": int, "bbox": list},
}
_KINDS = {int: "a whole number", str: "a text", list: "a list"}


def read_json(path: Path) -> Row:
    """What the file says.

    Raises:
        DataError: if it is unreadable, or no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path} is no JSON: {error.msg.lower()} in line {error.lineno}, column {error.colno}."
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no JSON: it is no text in UTF-8.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} is no COCO file: it must be an object with lists in it.")
    return content


def read_rows(path: Path, content: Row, name: str) -> list[Row]:
    """One of the file's lists, each row of which has what it must.

    Args:
        path: the file.
        content: what it says.
        name: ``images``, ``annotations`` or ``categories``.

    Raises:
        DataError: if it is missing, or if a row is incomplete.
    """
    rows = content.get(name)
    if not isinstance(rows, list):
        raise DataError(
            f'{path} is no COCO file: it must have the lists "images", "annotations" and '
            f'"categories", and "{name}" is missing.'
        )
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            raise DataError(f'{path}: entry {index} of "{name}" must be an object with fields.')
        for key, kind in _NEEDED[name].items():
            if not isinstance(row.get(key), kind):
                known = f" (id {row['id']})" if "id" in row else ""
                raise DataError(
                    f'{path}: entry {index} of "{name}"{known} must have "{key}", {_KINDS[kind]}.'
                )
    return rows


def by_id(rows: Iterable[Row], path: Path, what: str) -> dict[int, Row]:
    """The rows by their id.

    Raises:
        DataError: if two ids are the same.
    """
    found: dict[int, Row] = {}
    for row in rows:
        if row["id"] in found:
            raise DataError(f"{path}: the {what} id {row['id']} occurs twice; ids must differ.")
        found[row["id"]] = row
    return found
