"""The name of an import, which is a part of keys and has letters, digits and few signs; and that of an annotator."""

from __future__ import annotations

import hashlib
import unicodedata
from pathlib import Path

from carsdepo_assets.data.imports.import_refusals import ImportRefused

_JOINERS = "\u200c\u200d"
_LONGEST_ANNOTATOR = 100  # characters
_LONGEST = 100  # bytes: it is also a part of names of files, with something before and behind it


def import_name(given: str | None, folder: Path) -> str:
    """The name of an import: as given, else the folder's own. Signs and spaces become hyphens; letters of all scripts
    stay.

    Raises:
        ImportRefused: nothing is left of it.
    """
    text = given if given is not None else folder.resolve().name
    kept = "".join(c if _is_kept(c) else "\0" for c in unicodedata.normalize("NFC", text))
    name = "-".join(part for part in kept.split("\0") if part).strip("-._")
    if not name:
        what = f"--name {given}" if given is not None else f"the folder's name {folder.resolve().name!r}"
        raise ImportRefused(f"{what} gives no name for the import: give one of letters and digits, as in --name cars.")
    if len(name.encode()) > _LONGEST:
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        name = f"{name.encode()[: _LONGEST - 9].decode('utf-8', 'ignore')}-{digest}"
    return name


def annotator_name(given: str) -> str:
    """The name of an annotator as `--annotator` gives it; spaces around it and repeated ones do not count.

    Raises:
        ImportRefused: it is empty, too long, or has signs that cannot be seen.
    """
    if any(_is_control(c) for c in given):
        raise ImportRefused(f"--annotator {given!r} has control characters: give a name, as in --annotator Ann.")
    name = " ".join(unicodedata.normalize("NFC", given).split())
    if not name:
        raise ImportRefused("--annotator is empty: give the name of who drew the labels, or leave it out.")
    if len(name) > _LONGEST_ANNOTATOR:
        raise ImportRefused(
            f"--annotator has {len(name)} characters, and {_LONGEST_ANNOTATOR} are the most: give a shorter name."
        )
    return name


def _is_control(character: str) -> bool:
    """Whether a sign is none that is seen: control, direction of writing, half a surrogate pair, end of line.

    The two joiners are parts of names in some scripts.
    """
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in _JOINERS


def _is_kept(character: str) -> bool:
    if character in "._-":
        return True
    return unicodedata.category(character)[0] in "LMN"  # letters, marks on letters, digits; no surrogate
