"""What a licence is called: SPDX expressions in their canonical spelling, and usual other names of the same ones."""

from __future__ import annotations

import re
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
_LICENCE_BEHIND = re.compile(r"[ ,]*\b(?:the )?licen[sc]e\b\.?$", re.I)
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
    text = " ".join(written.strip().strip("\"'`*_.").split())
    for one in (url, text):
        if match := _CC_URL.search(one):
            return LicenceName(f"CC-{match[1].upper()}-{match[2]}", True)
        if _CC_ZERO.search(one):
            return LicenceName("CC0-1.0", True)
    if text.casefold() in _NONE:
        return None
    for candidate in dict.fromkeys((text, _LICENCE_BEHIND.sub("", text), re.sub(r"\s*\(.*\)$", "", text))):
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
        patterns: shell patterns, such as *-NC-*; upper and lower case are the same.
    """
    whole = re.sub(r"^\(([^()]*)\)$", r"\1", licence)
    alternatives = [whole] if "(" in whole else re.split(r"\s+OR\s+", whole)
    return all(any(fnmatchcase(one.casefold(), p.casefold()) for p in patterns) for one in alternatives)


def _short(long: str) -> str:
    words = re.sub(r"[ -]", "", long).casefold()
    return ("-NC" if "noncommercial" in words else "") + (
        "-SA" if "sharealike" in words else "-ND" if "noderiv" in words else ""
    )


def _spdx(text: str) -> str | None:
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    try:
        return str(canonicalize_license_expression(text))
    except InvalidLicenseExpression:
        return None
