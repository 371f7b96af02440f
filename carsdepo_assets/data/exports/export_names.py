"""The names of exported files: those that the photographs were uploaded with, made unique and fit for every tool.

Formats name a photograph by its stem (YOLO, VOC, LabelMe), file systems differ in capitals and in Unicode's forms, and
some tools read a backslash or a colon as part of a path. What a file was called before is in the export's manifest.csv.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from pathlib import PurePosixPath

_SUFFIXES = {
    "jpeg": (".jpg", ".jpeg"),
    "png": (".png",),
    "webp": (".webp",),
    "bmp": (".bmp",),
    "tiff": (".tif", ".tiff"),
    "gif": (".gif",),
    "avif": (".avif",),
    "heic": (".heic", ".heif"),
    "mpo": (".jpg", ".jpeg", ".mpo"),
}
"""The suffixes by which tools know a format, the usual one first."""
_REFUSED = re.compile(r'[\\/:*?"<>|\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]')  # by Windows, or by XML 1.0
_MOST_BYTES = 200  # of a stem; a name has 255 at most, and suffixes and marks of a tool come on top
_ID_DIGITS = 8


def exported_stems(keys: Mapping[str, str]) -> dict[str, str]:
    """The stem of each photograph's exported file: unique, whatever a file system thinks of capitals and accents.

    Photographs whose stems are the same all get the first digits of their id; the result depends on no order.

    Args:
        keys: of the upload, by image id.

    Returns:
        Stems by image id.
    """
    stems = {image_id: _fit(PurePosixPath(key).stem) for image_id, key in keys.items()}
    digits = _ID_DIGITS
    while clashing := _clashing(stems):
        for image_id in clashing:
            stems[image_id] = f"{_fit(PurePosixPath(keys[image_id]).stem)}-{image_id[:digits]}"
        digits *= 2
    return stems


def exported_name(stem: str, key: str, format: str) -> str:
    """The name of an exported file: with the suffix that it was uploaded with, where that is one of its format.

    Args:
        stem: of the exported file.
        key: of the upload.
        format: of the exported bytes, as IMAGES has it.
    """
    suffix = PurePosixPath(key).suffix
    usual = _SUFFIXES.get(format, (f".{format}",))
    return stem + (suffix if suffix.lower() in usual else usual[0])


def _fit(stem: str) -> str:
    """A stem that every tool takes. Spaces at its ends are lost by tools that read lists of names."""
    fit = _REFUSED.sub("_", stem)
    fit = re.sub(r"^[\s.]+|[\s.]+$", "_", fit)
    while len(fit.encode()) > _MOST_BYTES:
        fit = fit[:-1]
    return fit or "_"


def _clashing(stems: Mapping[str, str]) -> list[str]:
    by_name: dict[str, list[str]] = defaultdict(list)
    for image_id, stem in stems.items():
        by_name[unicodedata.normalize("NFKC", stem).casefold()].append(image_id)
    return [image_id for ids in by_name.values() if len(ids) > 1 for image_id in ids]
