"""Reads manifest.csv, the table that says about photographs which car, listing, camera and so on each shows.

Spreadsheets and export tools write it with other separators, encodings, names of columns and paths. What is understood
is taken; what is not is a problem with a name, since a group that is not seen lets photographs of one car into training
and test.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from carsdepo_assets.data.folders.layout_names import folded, kept_path
from carsdepo_assets.imaging.formats import PHOTOGRAPH_SUFFIXES
from carsdepo_assets.lake.schemas import METADATA_FIELDS
from carsdepo_assets.lake.text_files import decoded, plain_name, separated

MANIFEST = "manifest.csv"
TEXT_FIELDS = tuple(name for name in METADATA_FIELDS if name not in ("year", "captured_at"))
_FILE = (
    "file",
    "filename",
    "file_name",
    "file name",
    "filepath",
    "file_path",
    "path",
    "image",
    "image_name",
    "image_path",
)
_GROUP = ("group", "group_id", "groupid", "car", "car_id", "carid", "vehicle", "vehicle_id", "vin")
_LISTING = ("listing_id", "listingid", "ad_id", "advert_id")
# As written in the file -> as in IMAGES.
COLUMNS: Mapping[str, str] = {
    **dict.fromkeys(_GROUP, "group_hint"),
    **dict.fromkeys(_LISTING, "listing"),
    **{name: name for name in METADATA_FIELDS},
}
Row = dict[str, str]


@dataclass
class Sheet:
    """The rows of a manifest.csv."""

    problems: tuple[str, ...] = ()
    """What could not be understood, with the file's name."""
    _exact: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    _by_tail: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))

    def add(self, file: str, row: Row) -> None:
        """Adds the row of a photograph, named as in the table."""
        path = file.strip().replace("\\", "/").removeprefix("./").removeprefix("images/")
        if not path:
            return
        self._exact[path].append(row)
        is_whole = path.startswith("/") or path[1:3] == ":/"  # a path of the machine where the table was written
        name = PurePosixPath(folded(path))
        # A name without its suffix, which may hold a dot.
        stem = name if name.suffix not in PHOTOGRAPH_SUFFIXES else None
        # An import leaves out the folders that hold photographs apart: train/images/a.jpg lies at train/a.jpg.
        tails = list(_tails(name)) if is_whole else list(dict.fromkeys((str(name), kept_path(path).casefold())))
        for tail in tails:
            self._by_tail[tail].append(row)
            if stem is not None:
                self._by_tail[f"{tail}.*"].append(row)

    def rows(self) -> list[Row]:
        """All rows that name a file."""
        return list({id(row): row for rows in self._by_tail.values() for row in rows}.values())

    def row(self, path: PurePosixPath) -> tuple[Row | None, str | None]:
        """The row of a photograph, and a problem where several rows could be its.

        Args:
            path: of the photograph, relative to the manifest's folder.
        """
        lower = PurePosixPath(folded(str(path)))
        for written, tail in zip(_tails(path), _tails(lower), strict=True):
            if written in self._exact:
                return _only(self._exact[written], path)
            for name in (tail, f"{PurePosixPath(tail).with_suffix('')}.*"):
                rows = self._by_tail.get(name, [])
                if rows:
                    return _only(rows, path)
        return None, None


def read_sheet(data: bytes) -> Sheet:
    """The rows of a manifest.csv by its column of files: paths relative to it, with or without images/, or whole paths.

    Separators are comma, semicolon, tab and bar, named by a first line `sep=;` or seen in the header.
    """
    try:
        text = decoded(data)
        separator, text, _ = separated(text, _FILE)
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
        columns = [plain_name(name) for name in reader.fieldnames or ()]
        rows = list(reader)
    except (ValueError, csv.Error) as error:
        return Sheet(problems=(f"{MANIFEST}: not CSV: {error}",))
    files = [name for name in _FILE if name in columns]
    if not files:
        seen = ", ".join(name for name in columns if name)
        return Sheet(problems=(f"{MANIFEST}: no column 'file'; there are {seen or 'none'}",))
    problems = [] if set(columns) & COLUMNS.keys() else [f"{MANIFEST}: no column that says anything, such as 'group'"]
    sheet = Sheet(problems=tuple(problems))
    for row in rows:
        named = {
            plain_name(name): value for name, value in row.items() if isinstance(name, str) and isinstance(value, str)
        }
        sheet.add(named.get(files[0], ""), named)
    return sheet


def _only(rows: Sequence[Row], path: PurePosixPath) -> tuple[Row | None, str | None]:
    """The row that rows of one photograph are, and a problem where they say different things."""
    if all(_row_content(row) == _row_content(rows[0]) for row in rows):
        return rows[0], None
    return None, f"{MANIFEST}: {len(rows)} rows could be of {path}, and they differ: none is used"


def _row_content(row: Row) -> Row:
    """What a row says, however it writes the file's name."""
    return {name: value.strip() for name, value in row.items() if name in COLUMNS}


def _tails(path: PurePosixPath) -> Iterator[str]:
    """a/b/c, b/c, c."""
    parts = [part for part in path.parts if part != "/"]
    return ("/".join(parts[i:]) for i in range(len(parts)))
