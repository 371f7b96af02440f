"""The names by which label files call a photograph: paths of other machines, URLs, quoted, prefixed or in other forms.

Nothing here looks at the lake: a name gives the forms in which it may be that of a file below raw/uploads.
"""

from __future__ import annotations

import functools
import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Set
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from carsdepo_assets.data.folders.layout_names import SPLIT_NAMES

LEVELS = ("images", "labels")  # what an import leaves out of its paths
LONGEST_NAME = 4096  # characters; no file system has a longer path
# The first digits of a UUID, which Label Studio puts before the name of an uploaded file.
_PREFIX = re.compile(r"(?P<digits>[0-9a-f]{8})-(?=.)")
_UPLOADED = re.compile(r"(?:^|/)upload/[0-9]+$")
_SCHEME = re.compile(r"\A[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_DRIVE = re.compile(r"[A-Za-z]:[/\\]")


@dataclass(frozen=True)
class WantedName:
    """One form of a photograph's name."""

    folders: tuple[str, ...]
    """The folders above the file, without the levels that an import leaves out."""
    name: str
    """The file's name with its suffix, in Unicode's composed form (NFC)."""
    whole: bool = False
    """Whether the folders begin at raw/uploads; a path of another machine is known by its end only."""


def stem_key(name: str) -> str:
    """What names of one photograph have in common: neither the suffix nor capitals nor the form of accents."""
    return composed(PurePosixPath(name).stem).casefold()


class RowsOfStems:
    """Keeps those rows of a table whose `stem_key` of the key is one of some; a million rows cost a third of a second.

    Args:
        stems: what `stem_key` gives for the keys to be kept.
    """

    def __init__(self, stems: Set[str]) -> None:
        self._stems = stems
        # Compared decomposed on both sides: what Arrow (25.0.1) calls NFC it leaves decomposed.
        self._values = pc.utf8_normalize(pa.array([s for s in stems if _is_text(s)], pa.string()), form="NFD")

    def __call__(self, rows: pa.Table) -> pa.Table:
        """The rows that are kept."""
        names = pc.list_element(pc.split_pattern(rows["key"], "/", max_splits=1, reverse=True), 1)
        bare = pc.list_element(pc.split_pattern(names, ".", max_splits=1, reverse=True), 0)
        odd = pc.ends_with(names, ".")  # their stem is something else
        if not pc.all(pc.string_is_ascii(bare)).as_py():
            # Lowering is not the same as folding capitals for names such as those with a German sharp s.
            odd = pc.or_(odd, pc.match_substring_regex(bare, _unlike_when_lowered()))
            bare = pc.utf8_normalize(bare, form="NFD")
        part = rows.filter(pc.or_(pc.is_in(pc.utf8_lower(bare), value_set=self._values), odd))
        return part.filter(pa.array([stem_key(key) in self._stems for key in part["key"].to_pylist()], pa.bool_()))


def _is_text(name: str) -> bool:
    """False for half a surrogate pair, which JSON may hold and no key does."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


@functools.cache
def _unlike_when_lowered() -> str:
    """A regular expression of the letters that Arrow's lowering and Python's folding of capitals change differently."""
    letters = [
        chr(code) for code in range(0x20000) if not 0xD800 <= code < 0xE000
    ]  # marks such as the iota below one, too
    lowered = pc.utf8_lower(pa.array(letters)).to_pylist()
    return f"[{''.join(one for one, low in zip(letters, lowered, strict=True) if one.casefold() != low)}]"


def composed(name: str) -> str:
    """The name in Unicode's composed form; macOS writes an accent as a letter of its own."""
    return unicodedata.normalize("NFC", name)


def is_stem_of(name: str, key: str) -> bool:
    """Whether a name is a key, or the end of one, without the suffix or with another."""
    path = PurePosixPath(name.lstrip("/"))
    if not path.name:
        return False
    stem = str(PurePosixPath(key).with_suffix(""))
    return any(f"/{stem}".endswith(f"/{form}") for form in (path, path.with_suffix("")))


def split_of(folders: tuple[str, ...]) -> str | None:
    """The split whose folder a photograph lies in, train, val or test; None for none."""
    return next((s for folder in reversed(folders) if (s := SPLIT_NAMES.get(folder.casefold()))), None)


def without_levels(folders: tuple[str, ...]) -> tuple[str, ...]:
    """Folders without those that an import leaves out."""
    return tuple(folder for folder in folders if folder not in LEVELS)


def wanted_names(file_name: str, folder: PurePosixPath) -> list[WantedName]:
    """The forms of a photograph's name, the form as it is written first.

    Args:
        file_name: as a label file has it: a name, a path, or an address.
        folder: of the label file, below raw/labels.
    """
    if len(file_name) > LONGEST_NAME:
        return []
    forms = dict.fromkeys(_forms(file_name))
    return [wanted for form in forms if (wanted := _wanted(form, folder)) is not None]


def without_prefix(name: str, *, of_label_studio: bool = False) -> str:
    """A name without what Label Studio puts before that of an uploaded file.

    Args:
        name: of a file, without folders.
        of_label_studio: whether Label Studio is known to have given the name. Else a prefix of decimal digits alone is
            a date, as in 20240101-front.jpg, and a part of the name.
    """
    prefix = _PREFIX.match(name)
    is_one = prefix is not None and (of_label_studio or not prefix["digits"].isdecimal())
    return name[prefix.end() :] if prefix is not None and is_one else name


def names_behind_dates(names: Collection[str], *, of_label_studio: bool) -> dict[str, str]:
    """Of the names of an export those that `without_prefix` leaves as they are, without the prefix that they may have.

    About 2 % of Label Studio's prefixes have decimal digits alone. A name is given here where the export is Label
    Studio's, and no other name of it is the same without its prefix.

    Args:
        names: of the export's photographs, or of their label files, without folders.
        of_label_studio: whether the export says that it is Label Studio's. Else it is one where all names have a prefix
            and some prefix has a letter.
    """
    has_letter = any(without_prefix(name) != name for name in names)
    if not of_label_studio and not (has_letter and all(_PREFIX.match(name) for name in names)):
        return {}
    bare = {name: without_prefix(name, of_label_studio=True) for name in names}
    counts = Counter(PurePosixPath(composed(one)).stem.casefold() for one in bare.values())
    return {
        name: one
        for name, one in bare.items()
        if one != without_prefix(name) and counts[PurePosixPath(composed(one)).stem.casefold()] == 1
    }


def stem_forms(stem: str) -> list[str]:
    """The forms of a name without suffix, the form as it is written first."""
    if len(stem) > LONGEST_NAME:
        return []
    plain = (stem, unquote(stem))
    return list(dict.fromkeys(form for one in plain for form in (one, without_prefix(one))))


def _forms(file_name: str) -> Iterator[str]:
    """As it is, without address, unquoted, and each without Label Studio's prefix."""
    for plain in _plain(file_name):
        for form in (plain, unquote(plain)):
            yield form
        for form in (plain, unquote(plain)):
            head, name = posixpath.split(form.replace("\\", "/"))
            bare = without_prefix(name, of_label_studio=bool(_UPLOADED.search(head)))
            if bare != name:
                yield posixpath.join(head, bare)


def _plain(file_name: str) -> Iterator[str]:
    if file_name.startswith("data:"):
        return  # the photograph itself
    if "?" in file_name:
        try:
            parts = urlsplit(file_name)
            inner = parse_qs(parts.query).get("d")  # Label Studio's local files: /data/local-files/?d=cars/a.jpg
        except ValueError:
            inner = None
        if inner:
            yield "/" + inner[0].lstrip("/")
            return
        if _SCHEME.match(file_name):
            file_name = file_name.partition("?")[0]  # a signed address
    yield file_name


def _wanted(form: str, folder: PurePosixPath) -> WantedName | None:
    foreign = bool(_SCHEME.match(form) or _DRIVE.match(form)) or form.startswith(("/", "\\"))
    path = _DRIVE.sub("/", _SCHEME.sub("/", form, count=1), count=1).replace("\\", "/")
    if "\0" in path:
        return None
    path = posixpath.normpath(path.lstrip("/") if foreign else posixpath.join(str(folder), path))
    parts = tuple(composed(part) for part in path.split("/") if part not in ("", ".", ".."))
    return WantedName(without_levels(parts[:-1]), parts[-1], not foreign) if parts else None
