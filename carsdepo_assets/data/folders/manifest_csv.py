"""Reads manifest.csv, the table that says about photographs which car, listing, camera and so on each shows.

Spreadsheets and export tools write it with other separators, encodings, names of columns and paths. What is understood
is taken; what is not is a problem with a name, since a group that is not seen lets photographs of one car into training
and test.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from carsdepo_assets.data.folders.layout_names import folded, kept_path
from carsdepo_assets.data.folders.photograph_names import stem_key
from carsdepo_assets.imaging.formats import PHOTOGRAPH_SUFFIXES
from carsdepo_assets.lake.data_schemas import METADATA_FIELDS
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
_SHOWN = 3  # photographs that a message names


@dataclass(frozen=True, eq=False)
class _Named:
    """A row with the name that it gives its photograph."""

    row: Row
    written: str
    """With slashes, without ./ and images/ before it."""
    tails: tuple[str, ...]
    """How a path below the table's folder may end that is meant, the longest first, folded."""
    is_whole: bool
    """Whether it is a path of the machine where the table was written, of which any end may be meant."""
    has_suffix: bool


@dataclass
class Sheet:
    """The rows of a manifest.csv."""

    problems: tuple[str, ...] = ()
    """What could not be understood, with the file's name."""
    _exact: dict[str, list[_Named]] = field(default_factory=lambda: defaultdict(list))
    _by_tail: dict[str, list[_Named]] = field(default_factory=lambda: defaultdict(list))
    _places: dict[str, list[PurePosixPath]] = field(default_factory=lambda: defaultdict(list))
    _settled: set[PurePosixPath] = field(default_factory=set)
    _meant: dict[_Named, list[PurePosixPath]] = field(default_factory=dict)
    contested: bool = False
    """Whether a row that was asked for could, by its name, be that of several photographs."""

    def add(self, file: str, row: Row) -> None:
        """Adds the row of a photograph, named as in the table."""
        path = file.strip().replace("\\", "/").removeprefix("./").removeprefix("images/")
        if not path:
            return
        is_whole = path.startswith("/") or path[1:3] == ":/"  # a path of the machine where the table was written
        name = PurePosixPath(folded(path))
        # An import leaves out the folders that hold photographs apart: train/images/a.jpg lies at train/a.jpg.
        tails = tuple(_tails(name)) if is_whole else tuple(dict.fromkeys((str(name), kept_path(path).casefold())))
        # A name without its suffix may hold a dot.
        named = _Named(row, path, tails, is_whole, name.suffix in PHOTOGRAPH_SUFFIXES)
        self._exact[path].append(named)
        for tail in tails:
            self._by_tail[tail].append(named)
            if not named.has_suffix:
                self._by_tail[f"{tail}.*"].append(named)

    def rows(self) -> list[Row]:
        """All rows that name a file."""
        return list({id(named.row): named.row for rows in self._by_tail.values() for named in rows}.values())

    def stems(self) -> set[str]:
        """What the names of the photographs that rows may mean have in common; see photograph_names.stem_key."""
        names = (named for rows in self._exact.values() for named in rows)
        return {stem_key(one.written) if one.has_suffix else PurePosixPath(one.tails[-1]).name for one in names}

    def settle(self, photographs: Iterable[PurePosixPath]) -> None:
        """Says which photographs there are, so that a row is used for the one that it means.

        Args:
            photographs: their paths below the table's folder; of those that no row may mean none is needed.
        """
        for path in photographs:
            if path in self._settled:
                continue
            self._settled.add(path)
            self._meant.clear()
            for tail in _tails(PurePosixPath(folded(str(path)))):
                self._places[tail].append(path)
                self._places[f"{PurePosixPath(tail).with_suffix('')}.*"].append(path)

    def row(self, path: PurePosixPath) -> tuple[Row | None, str | None]:
        """The row of a photograph, and a problem where several rows could be its, or a row several photographs'.

        Args:
            path: of the photograph, relative to the manifest's folder.
        """
        self.settle([path])
        lower = PurePosixPath(folded(str(path)))
        for written, tail in zip(_tails(path), _tails(lower), strict=True):
            for rows in (
                self._exact.get(written, []),
                self._by_tail.get(tail, []),
                self._by_tail.get(f"{PurePosixPath(tail).with_suffix('')}.*", []),
            ):
                meant = [(named, self._photographs_of(named)) for named in rows]
                own = [(named, photographs) for named, photographs in meant if path in photographs]
                if torn := [one for one in own if len(one[1]) > 1]:
                    return None, _torn(*torn[0])
                if own:
                    return _only([named.row for named, _ in own], path)
        return None, None

    def _photographs_of(self, named: _Named) -> list[PurePosixPath]:
        """The photographs that a row may mean; several where nothing decides.

        The most folders that agree decide, then that it is the whole path, then its very letters.
        """
        if named not in self._meant:
            self._meant[named] = self._find(named)
        return self._meant[named]

    def _find(self, named: _Named) -> list[PurePosixPath]:
        for tail in named.tails:
            near = self._places.get(tail, [])
            if not near and not named.has_suffix:
                near = self._places.get(f"{tail}.*", [])
            if not near:
                continue
            self.contested = self.contested or len(near) > 1
            wholes = [path for path in near if tail in _forms(PurePosixPath(folded(str(path))))]
            spelled = [path for path in wholes if named.written in _forms(path)]
            return spelled or wholes or near
        return []


def _forms(path: PurePosixPath) -> tuple[str, str]:
    """The path, and without its suffix."""
    return str(path), str(path.with_suffix(""))


def _torn(named: _Named, photographs: Sequence[PurePosixPath]) -> str:
    shown = ", ".join(sorted(map(str, photographs))[:_SHOWN]) + (", ..." if len(photographs) > _SHOWN else "")
    return (
        f"{MANIFEST}: the row of {named.written[:100]!r} fits {len(photographs)} photographs ({shown}): it is used for "
        "none, write their paths"
    )


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
