"""Decodes text files that people and their tools write in several encodings; finds how tables are separated."""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence

_SEPARATORS = ",;\t|"


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


def storable(text: str) -> str:
    """The text as a table takes it: JSON may hold half a surrogate pair, which no table does."""
    return text.encode("utf-8", "replace").decode()


def plain_name(name: object) -> str:
    """The name of a column or class without what people write differently: capitals, and spaces around and within."""
    return " ".join(str(name).split()).casefold()


def separated(text: str, columns: Collection[str]) -> tuple[str, str, int]:
    """How the cells of a table in text are separated: as a first line such as `sep=;` says, or as its header shows.

    Args:
        text: the whole table.
        columns: names, as `plain_name` gives them, of which the header has at least one.

    Returns:
        The separator; the text without a line that only names it; how many lines that took away. Where nothing says
        what separates, it is the comma.
    """
    first, _, rest = text.partition("\n")
    named = first.strip(' \r"').casefold()  # not a tab, which may be the separator
    if named.startswith("sep=") and len(named) == len("sep=") + 1:
        return named[-1], rest, 1
    header = next((line for line in text.splitlines() if line.strip()), "")
    for separator in _SEPARATORS:
        names = [plain_name(name) for name in next(csv.reader([header], delimiter=separator), [])]
        if len(names) > 1 and any(name in columns for name in names):
            return separator, text, 0
    return ",", text, 0


def _encodings(data: bytes) -> Sequence[str]:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return ("utf-16",)
    if 10 * data.count(0) > len(data):  # UTF-16 without its mark: Latin letters have a zero byte beside them
        return ("utf-16-le",) if data[1::2].count(0) > data[::2].count(0) else ("utf-16-be",)
    return ("utf-8-sig", "cp1252")
