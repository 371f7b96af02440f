"""Which sign is the decimal one in the numbers of a business file, as its own texts show it and as the policy says.

`12,50` is twelve and a half in one country and no number in another; `9.900` is nine thousand nine hundred or not ten.
What the file does not show is asked by `policy.business.decimal_comma`: until it is answered, the file is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from carsdepo_assets.business.cells import NUMBER, BadCell
from carsdepo_assets.business.contracts import Column

_COMMA = re.compile(r"[+-]?(\d+,\d*|,\d+)")
_ONE_GROUP = re.compile(r"[+-]?[1-9]\d{0,2}[.,]\d{3}")  # 1.234 or 1,234: a decimal sign, or between thousands
_GROUPS = re.compile(r"[+-]?\d{1,3}(?P<sign>[.,' \u00a0\u202f\u2019])\d{3}((?P=sign)\d{3})*(?P<rest>[.,]\d+)?")
_SETTLE = (
    "Say in carsdepo.toml what a comma in numbers is, decimal_comma = true (the decimal sign) or false (there is a "
    "decimal point) under [business], and have the file read again by `carsdepo quarantine readmit`"
)


class Undecided(ValueError):
    """Nothing says which sign is the decimal one; the message says how to settle it."""


@dataclass(frozen=True)
class DecimalSigns:
    """How the texts of one file's numbers are read."""

    comma: bool
    """Whether a comma is the decimal sign."""
    point: bool
    """Whether a point before exactly three digits is the decimal sign and not between thousands."""

    def number(self, column: Column, text: str) -> str:
        """The text of a number with a point as decimal sign.

        Raises:
            BadCell: It has a sign between thousands, or another decimal sign than the file.
        """
        text = text.strip()
        thousands = BadCell(
            "thousands_separator",
            f"{column.name} is {text!r}: it has, or may have, a sign between thousands: write it without one",
        )
        if _has_thousands(text) is not None:
            raise thousands
        if _ONE_GROUP.fullmatch(text) and not (self.comma if "," in text else self.point):
            raise thousands
        if _COMMA.fullmatch(text):
            if not self.comma:
                raise BadCell("not_a_number", f"{column.name} is {text!r}, and the decimal sign is a point")
            return text.replace(",", ".")
        return text


def decimal_signs(texts: Iterable[str], separator: str | None, decimal_comma: bool | None) -> DecimalSigns:
    """Finds the decimal sign of a file.

    Args:
        texts: The cells of its columns of numbers.
        separator: What separates its cells; None where it is no CSV.
        decimal_comma: `policy.business.decimal_comma`.

    Raises:
        Undecided: A number can be read in two ways, and neither the file nor the policy says which is meant.
    """
    commas: str | None = None  # the first of each sort
    groups_by_point: str | None = None
    points = False
    thousands_by_point = False
    for text in map(str.strip, texts):
        sign = _has_thousands(text)
        if sign is not None:
            points |= sign == ","
            thousands_by_point |= sign == "."
        elif _COMMA.fullmatch(text):
            commas = commas or text
        elif _ONE_GROUP.fullmatch(text):
            groups_by_point = groups_by_point or text
        elif "." in text and NUMBER.fullmatch(text):
            points = True
    if points or decimal_comma is False:
        return DecimalSigns(comma=False, point=not (commas or thousands_by_point) or decimal_comma is False)
    if commas and decimal_comma is None:
        raise Undecided(f"{commas!r} may be a number with a decimal comma, and nothing says so. {_SETTLE}")
    # A comma between cells is that of a country with decimal points.
    doubtful = separator not in (",", None) or thousands_by_point
    if groups_by_point and doubtful and decimal_comma is None:
        raise Undecided(f"{groups_by_point!r} may be thousands, and nothing says so. {_SETTLE}")
    return DecimalSigns(comma=bool(decimal_comma), point=not decimal_comma)


def _has_thousands(text: str) -> str | None:
    """The sign between thousands of a number that certainly has one."""
    parts = _GROUPS.fullmatch(text)
    if parts is None:
        return None
    sign, rest = parts["sign"], parts["rest"]
    if rest is not None and rest[0] == sign:
        return None
    return sign if sign not in ".," or rest is not None or text.count(sign) > 1 else None
