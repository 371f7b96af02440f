"""The folders of raw/labels that hold what one annotator says of an import's photographs: NAME@by-ANNOTATOR-DIGEST.

An annotator's labels lie apart, so that a second person's labels of the photographs below raw/uploads/NAME never take
the place of the first one's. A label file there labels the photograph at its path below NAME.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

from carsdepo_assets.lake.text_files import plain_name

_MARK = "@by-"  # no name of an import has the sign
_FOLDER = re.compile(rf"(?P<name>[^/]+){_MARK}[^/]*-[0-9a-f]{{8}}")
_LONGEST = 40  # bytes of an annotator's name in a key, beside its digest


def annotator_folder(name: str, annotator: str) -> str:
    """The folder below raw/labels of an annotator's labels; capitals and spaces make no other annotator.

    Args:
        name: of the import.
        annotator: the annotator's name.
    """
    plain = plain_name(unicodedata.normalize("NFC", annotator))
    digest = hashlib.sha256(plain.encode()).hexdigest()[:8]
    kept = "".join(c if unicodedata.category(c)[0] in "LMN" else "-" for c in plain).strip("-")
    return f"{name}{_MARK}{kept.encode()[:_LONGEST].decode('utf-8', 'ignore')}-{digest}"


def import_of(folder: str) -> str:
    """The name of the import whose photographs a topmost folder of raw/labels labels: mostly the folder's own."""
    of_annotator = _FOLDER.fullmatch(folder)
    return of_annotator["name"] if of_annotator is not None else folder


def photographs_path(path: str) -> str:
    """The path below raw/uploads, but for its suffix, that a label file's path below raw/labels stands for."""
    top, slash, below = path.partition("/")
    return f"{import_of(top)}/{below}" if slash else path
