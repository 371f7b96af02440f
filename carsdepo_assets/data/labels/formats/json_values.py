"""Reads JSON of label files, whose values may be of any type, and the values that the formats have in common."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from carsdepo_assets.data.labels.formats.parsed import NotReadable
from carsdepo_assets.lake.text_files import decoded


class Twice(ValueError):
    """An object of a JSON file has a key twice: which of its values holds is not certain."""


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of the pairs, as `object_pairs_hook` wants it.

    Raises:
        Twice: A key comes twice.
    """
    result = dict(pairs)
    if len(result) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise Twice(f"{twice[:40]!r} comes twice in one object: which of them holds?")
    return result


def loads(data: bytes, what: str, unique: bool = True) -> Any:
    """The value of a JSON file in any encoding that people's tools write.

    Args:
        data: the file's bytes.
        what: the format, for the message.
        unique: refuses an object that has a key twice; False takes the last one, which is enough to tell a format.

    Raises:
        NotReadable: It is no JSON; a file that was cut off is called that.
    """
    try:
        text = decoded(data)
    except ValueError as error:
        raise NotReadable(f"{what}: {error}", "not_text") from error
    try:
        return json.loads(text, object_pairs_hook=once if unique else None)
    except json.JSONDecodeError as error:
        if text.rstrip()[-1:] not in ("}", "]") or error.pos >= len(text.rstrip()):
            raise NotReadable(
                f"{what}: the file ends in the middle ({len(data)} bytes, not JSON: {error}). Copy it again, whole.",
                "truncated",
            ) from error
        raise NotReadable(f"{what}: not JSON: {error}") from error
    except RecursionError as error:
        raise NotReadable(f"{what}: nested too deeply to be read") from error
    except Twice as error:
        raise NotReadable(f"{what}: {error}") from error
    except ValueError as error:  # a number with thousands of digits
        raise NotReadable(f"{what}: not JSON: {error}") from error


def number(value: Any) -> float | None:
    """None unless a number; one too large for a float is infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if isinstance(value, float) or abs(value) < 2**1000 else math.inf


def numbers(value: Any) -> list[float] | None:
    """None unless a list of numbers."""
    if not isinstance(value, list):
        return None
    parts = [number(one) for one in value]
    return None if None in parts else [one for one in parts if one is not None]


def identifier(value: Any) -> str | None:
    """An id as text: 1, 1.0, "1" and " 1.0 " are the same; None for what is no id."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return str(value) if abs(value) < 10**100 else None
    if isinstance(value, float):
        return str(int(value)) if math.isfinite(value) and value.is_integer() else None
    if isinstance(value, str) and value.strip():
        whole = re.fullmatch(r"(-?\d{1,40})(?:\.0+)?", value.strip(), re.ASCII)
        return str(int(whole[1])) if whole else value.strip()
    return None


def column(value: Any) -> str | None:
    """A name in a column, such as a group, as text without spaces around it; a number is its digits."""
    return value.strip() or None if isinstance(value, str) else identifier(value)


def text(value: Any) -> str | None:
    """None unless text with something in it."""
    return value if isinstance(value, str) and value.strip() else None


def shown(value: Any, length: int = 80) -> str:
    """A value of a file as a message shows it."""
    return str(value)[:length]
