"""JSON that strangers wrote, and the line of what is wrong in it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from banana_delivery.evaluation.holdout.folder import MOST_JSON, Folder, fault

WHITE = " \t\n\r"


def read_object(folder: Folder, path: Path) -> tuple[dict[str, Any], str]:
    """The object that a file holds, and its text.

    Programs write NaN where they know no number, often where nobody reads one; see ``number``.

    Raises:
        LabelledImagesError: if it holds none.
    """
    text = folder.text(path, MOST_JSON)
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise fault(path, f"is not JSON ({error.msg}); export the labels again", error.lineno) from error
    except (ValueError, RecursionError) as error:
        raise fault(path, f"is not JSON that can be read ({str(error)[:80]}); export the labels again") from error
    if not isinstance(found, dict):
        raise fault(path, "holds no JSON object with images and their labels; export the labels as COCO JSON", 1)
    return found, text


def line_of(text: str, key: str, index: int) -> int | None:
    """The line on which the entry ``index`` of the list ``key`` begins; None if it cannot be told."""
    decoder = json.JSONDecoder()
    try:
        at = text.index("{") + 1
        while True:
            name, at = decoder.raw_decode(text, _skip(text, at, ","))
            at = _skip(text, at, ":")
            if name == key:
                break
            _, at = decoder.raw_decode(text, at)
        at += 1  # The bracket.
        for _ in range(index):
            _, at = decoder.raw_decode(text, _skip(text, at, ","))
        return text.count("\n", 0, _skip(text, at, ",")) + 1
    except (ValueError, IndexError, RecursionError):
        return None


def number(value: object) -> float:
    """A number that can be computed with.

    Raises:
        ValueError: if it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{str(value)[:40]!r} is no number")
    return float(value)


def whole(value: object) -> int:
    """A whole number, also if it was written with a point.

    Raises:
        ValueError: if it is none.
    """
    found = number(value)
    if not found.is_integer():
        raise ValueError(f"{str(value)[:40]!r} is no whole number")
    return int(found)


def _skip(text: str, at: int, and_also: str) -> int:
    while text[at] in WHITE or text[at] == and_also:
        at += 1
    return at
