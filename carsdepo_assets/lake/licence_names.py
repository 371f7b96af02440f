"""What a licence is called: SPDX expressions in their canonical spelling, and usual other names of the same ones."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

_CC_URL = re.compile(r"creativecommons\.org/licen[sc]es/(by(?:-nc)?(?:-nd|-sa)?)/(\d\.\d)", re.I)
_CC_ZERO = re.compile(r"creativecommons\.org/publicdomain/zero/1\.0|^cc[ -]?0(?:[ -]?v?1\.0)?$", re.I)
_CC_SHORT = re.compile(
    r"^cc[ -]?(by(?:[ -]nc)?(?:[ -](?:nd|sa))?)[ -]?v?(\d(?:\.\d)?)(?: (?:international|int\.?))?$", re.I
)
_CC_LONG = re.compile(
    r"^(?:creative commons )?attribution"
    r"((?:[ -]non[ -]?commercial)?(?:[ -](?:no[ -]?deriv(?:ative)?s?(?:[ -]works)?|share[ -]?alike))?)"
    r"(?: v?(\d\.\d))?(?: (?:international|generic|unported))?(?: licen[sc]e)?$",
    re.I,
)
_LICENCE_BEHIND = re.compile(r"\b(?:the )?licen[sc]e\b\.?$", re.I)
# Behind a name, in parentheses: words that take away what the name allows, so that they belong to the licence.
_RESTRICTS = re.compile(r"\b(?:non|not?|only|never|except|unless|without)(?:\b|[ -]?comm)", re.I)
_DASHES = re.compile(r"[\u2010-\u2015\u2212\ufe58\ufe63\uff0d]")
_APART = re.compile(r"[^\w*?\[\]!]+|_+")  # what stands between words; signs of shell patterns are none
_NONE = {"", "none", "unknown", "n/a", "-", "null", "not stated", "unlicensed"}


@dataclass(frozen=True)
class LicenceName:
    """A licence as it is stored."""

    name: str
    """An SPDX expression, or as it was written."""
    is_spdx: bool
    """Whether it is an SPDX expression."""


def licence_name(written: str, url: str = "") -> LicenceName | None:
    """The name of a licence.

    Args:
        written: as it was written.
        url: of its text, where one is given beside it; it says more than a name without a version.

    Returns:
        None where nothing is said, as by `unknown`. Words that are no usual name of a licence are kept.
    """
    text = " ".join(_visible(written).strip().strip("\"'`*_.").split())
    for one in (url, text):
        if named := dict.fromkeys(f"CC-{match[1].upper()}-{match[2]}" for match in _CC_URL.finditer(one)):
            return LicenceName(" AND ".join(named), True)  # a text that names several asks for all of them
        if _CC_ZERO.search(one):
            return LicenceName("CC0-1.0", True)
    if text.casefold() in _NONE:
        return None
    name, _, remark = text.partition("(")
    alone = name.rstrip() if remark.endswith(")") and not _RESTRICTS.search(remark) else text
    behind = _LICENCE_BEHIND.search(text)
    bare = text if behind is None else text[: behind.start()].rstrip(" ,")
    for candidate in dict.fromkeys((text, bare, alone, text.replace("_", " "))):
        if match := _CC_SHORT.match(candidate):
            version = match[2] if "." in match[2] else f"{match[2]}.0"
            return LicenceName(f"CC-{match[1].upper().replace(' ', '-')}-{version}", True)
        if (match := _CC_LONG.match(candidate)) and match[2]:
            return LicenceName(f"CC-BY{_short(match[1])}-{match[2]}", True)
        if (spdx := _spdx(candidate)) is not None:
            return LicenceName(spdx, True)
    return LicenceName(text, False)


def is_non_commercial(licence: str, patterns: Sequence[str]) -> bool:
    """Whether a licence forbids commercial use. Of alternatives (`A OR B`) one that allows it is enough.

    Alternatives inside of a larger expression, as in `(A OR B) AND C`, are not told apart: it forbids where any of its
    parts does, so that a person looks at it.

    Args:
        licence: an SPDX expression, or any words.
        patterns: shell patterns, such as *-NC-*. Upper and lower case, accents, and what stands between words
            (hyphens of any kind, spaces, underscores, dots) are the same; a hyphen at a pattern's end, too, stands for
            the licence's end.
    """
    whole = re.sub(r"^\(([^()]*)\)$", r"\1", licence)
    alternatives = [whole] if "(" in whole else re.split(r"\s+OR\s+", whole)
    folded = [_folded(p) for p in patterns]
    return all(_matches(_folded(one).strip("-"), folded) for one in alternatives)


def _matches(words: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(words, p) or fnmatchcase(f"-{words}-", p) for p in patterns)


def _folded(text: str) -> str:
    """Words in small letters without accents, with one hyphen between them."""
    letters = unicodedata.normalize("NFKD", _visible(text).casefold())
    return _APART.sub("-", "".join(c for c in letters if not unicodedata.combining(c)))


def _visible(text: str) -> str:
    """The text with the usual hyphen in place of every other one, and without signs that nobody sees."""
    plain = _DASHES.sub("-", unicodedata.normalize("NFKC", text))
    return "".join(c for c in plain if unicodedata.category(c) != "Cf")


def _short(long: str) -> str:
    words = re.sub(r"[ -]", "", long).casefold()
    return ("-NC" if "noncommercial" in words else "") + (
        "-SA" if "sharealike" in words else "-ND" if "noderiv" in words else ""
    )


def _spdx(text: str) -> str | None:
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    try:
        return str(canonicalize_license_expression(text))
    except (InvalidLicenseExpression, MemoryError, RecursionError):  # it is parsed by Python: parentheses in thousands
        return None
