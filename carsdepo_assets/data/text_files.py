"""Decodes small text files that people and their tools write in several encodings."""

from __future__ import annotations

from collections.abc import Sequence


def decoded(data: bytes) -> str:
    """The text of a file in UTF-8, UTF-16 or, failing these, Windows' cp1252, without a byte order mark.

    Raises:
        ValueError: It is none of them.
    """
    for encoding in _encodings(data):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise ValueError("neither UTF-8 nor UTF-16 nor cp1252: save it as UTF-8")


def _encodings(data: bytes) -> Sequence[str]:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return ("utf-16",)
    if b"\0" in data:  # UTF-16 without its mark: Latin letters have a zero byte beside them
        return ("utf-16-le",) if data[1:2] == b"\0" else ("utf-16-be",)
    return ("utf-8-sig", "cp1252")
