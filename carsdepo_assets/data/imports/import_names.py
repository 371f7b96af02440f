"""The name of an import: it is a part of keys, so that it has letters, digits and few signs."""

from __future__ import annotations

import hashlib
import unicodedata
from pathlib import Path

from carsdepo_assets.data.imports.import_refusals import ImportRefused

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


def _is_kept(character: str) -> bool:
    if character in "._-":
        return True
    return unicodedata.category(character)[0] in "LMN"  # letters, marks on letters, digits; no surrogate
