"""Recognises augmented copies of one photograph by their names.

Roboflow names each copy after its source: `NAME_jpg.rf.HASH.jpg`. Copies of one source must not lie in two splits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

_SUFFIX = r"[_.-](?:jpe?g|jpe|jfif|png|bmp|webp|tiff?|gif|heic|heif|avif|mpo)"
# With the source's suffix in the name any hash does. Without it only a long one: `car.rf.2` may be anyone's name.
_ROBOFLOW = re.compile(rf"(.+?)(?:{_SUFFIX}\.rf\.[^.]+|\.rf\.[^.]{{16,}})", re.IGNORECASE)


def source_of(key: str) -> str | None:
    """The source of an augmented copy: the import and the source's name in lower case; None for another photograph.

    Args:
        key: of the photograph, below raw/uploads.
    """
    name, is_copy = PurePosixPath(key).stem, False
    while match := _ROBOFLOW.fullmatch(name):  # what was exported may have been uploaded and exported once more
        name, is_copy = match[1], True
    return f"{_import_of(key)}/{name.casefold()}" if is_copy else None


def sources(keys: Iterable[str]) -> dict[str, str]:
    """The source of each augmented copy, and of each source that lies in the same import as a copy of it.

    Args:
        keys: of photographs, below raw/uploads.
    """
    keys = list(keys)
    by_key = {key: source for key in keys if (source := source_of(key)) is not None}
    named = set(by_key.values())
    for key in keys:
        plain = f"{_import_of(key)}/{PurePosixPath(key).stem.casefold()}"
        if key not in by_key and plain in named:
            by_key[key] = plain
    return by_key


def _import_of(key: str) -> str:
    """The topmost folder below raw/uploads, empty for a photograph that lies in none."""
    top, below, _ = key.removeprefix("raw/uploads/").partition("/")
    return top if below else ""
