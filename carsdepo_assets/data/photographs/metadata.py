"""Reads the metadata of a photograph: from a sidecar NAME.json, the nearest manifest.csv, what the label files of its
import say, and EXIF, in this order.

An augmented copy without a group gets one by the name of its source.

For each field the first source that has a value counts. A source that cannot be read costs its values, never the
photograph; `problems` names what was wrong.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any, Protocol

from carsdepo_assets.data.folders.augmented_copies import source_of
from carsdepo_assets.data.folders.manifest_csv import COLUMNS, MANIFEST, TEXT_FIELDS, Sheet, read_sheet
from carsdepo_assets.data.folders.photograph_names import RowsOfStems
from carsdepo_assets.data.objects.manifests import is_photograph
from carsdepo_assets.data.photographs.declared_groups import read_declared_groups
from carsdepo_assets.lake.data_schemas import METADATA_FIELDS
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.text_files import storable

_ABSENT = {"", "nan", "none", "null", "n/a"}


@dataclass(frozen=True)
class Metadata:
    """The metadata of one photograph."""

    values: dict[str, Any]
    """By column of IMAGES; None where no source has a value."""
    problems: tuple[str, ...] = ()
    """What could not be understood, with the name of its source."""
    group_by_name: str | None = None
    """The group where the file's name alone says it; None where a source does."""


class Files(Protocol):
    """Where the files are read: a lake, or a folder that is imported into one."""

    def exists(self, key: str) -> bool:
        """Whether there is a file of this key."""
        ...

    def get(self, key: str) -> bytes:
        """The bytes of a file."""
        ...


def uploaded_photographs(lake: Lake) -> Callable[[Set[str]], list[str]]:
    """What gives MetadataReader the photographs of the lake."""

    def of_stems(stems: Set[str]) -> list[str]:
        keys = lake.tables.read("uploads", ["key"], keep=RowsOfStems(stems))["key"].to_pylist()
        return [key for key in dict.fromkeys(keys) if is_photograph(key)]

    return of_stems


class MetadataReader:
    """Reads each manifest.csv once; create a new reader for every batch, since people add rows.

    Args:
        lake: where the files are.
        root: no manifest.csv is looked for above this folder.
        photographs: gives the keys of all photographs that have one of some names, as `stem_key` writes them, so that
            a row that names no folder is not used for two; None: nothing is known of other photographs.
    """

    def __init__(
        self,
        lake: Files,
        root: str = "raw/uploads",
        photographs: Callable[[Set[str]], Iterable[str]] | None = None,
    ) -> None:
        self._lake, self._photographs = lake, photographs
        self._root = PurePosixPath(root)
        self._sheets: dict[PurePosixPath, Sheet | None] = {}
        self._has_manifest: dict[PurePosixPath, bool] = {}
        self._declared_groups: dict[str, dict[str, str]] = {}
        self.read_manifests: dict[str, str] = {}
        """The sha256 of each manifest.csv as it was read, by its key."""

    def read(self, key: str, exif: Mapping[str, Any]) -> Metadata:
        """The metadata of a photograph.

        Args:
            key: of the photograph, under raw/uploads.
            exif: may hold captured_at (datetime or text) and camera.
        """
        values: dict[str, Any] = dict.fromkeys(METADATA_FIELDS)
        problems: list[str] = []
        sources = (*self._sidecar(key, problems), *self._row(key, problems), *self._declared(key), ("EXIF", exif))
        for source, fields in sources:
            for name, value in fields.items():
                column = COLUMNS.get(str(name).strip().casefold())
                if column is None or values[column] is not None:
                    continue
                try:
                    values[column] = _typed(column, value)
                except ValueError as error:
                    problems.append(f"{source}: {error}")
        by_name = source_of(key) if values["group_hint"] is None else None
        return Metadata({**values, "group_hint": values["group_hint"] or by_name}, tuple(problems), by_name)

    def row(self, key: str) -> Mapping[str, str]:
        """All columns of the photograph's row of manifest.csv, by their names there; empty where it has none."""
        return next((row for _, row in self._row(key, [])), {})

    def _declared(self, key: str) -> list[tuple[str, Mapping[str, Any]]]:
        name, below, path = key.removeprefix(f"{self._root}/").partition("/")
        if not below:
            return []
        if name not in self._declared_groups:
            self._declared_groups[name] = read_declared_groups(self._lake, name)
        group = self._declared_groups[name].get(path)
        return [] if group is None else [("label files", {"group": group})]

    def _sidecar(self, key: str, problems: list[str]) -> list[tuple[str, Mapping[str, Any]]]:
        sidecar = str(PurePosixPath(key).with_suffix(".json"))
        if sidecar == key or not self._lake.exists(sidecar):
            return []
        name = PurePosixPath(sidecar).name
        try:
            document = json.loads(self._lake.get(sidecar))
        except (ValueError, RecursionError) as error:  # JSON and UTF-8 errors are ValueErrors
            problems.append(f"{name}: not JSON: {error}")
            return []
        if not isinstance(document, dict):
            problems.append(f"{name}: not an object of fields")
            return []
        return [(name, document)]

    def _row(self, key: str, problems: list[str]) -> list[tuple[str, Mapping[str, str]]]:
        path = PurePosixPath(key)
        for folder in path.parents:
            sheet = self._sheet(folder)
            if sheet is not None:
                problems.extend(sheet.problems)
                row, problem = sheet.row(path.relative_to(folder))
                if problem is not None:
                    problems.append(problem)
                return [] if row is None else [(MANIFEST, row)]
            if folder == self._root:
                break
        return []

    @property
    def contested(self) -> set[str]:
        """The keys of the manifest.csv files of which a row that was read could be that of several photographs."""
        sheets = self._sheets.items()
        return {str(folder / MANIFEST) for folder, sheet in sheets if sheet is not None and sheet.contested}

    def _nearest(self, key: PurePosixPath) -> PurePosixPath | None:
        """The folder of the manifest.csv that counts for a photograph."""
        for folder in key.parents:
            if folder not in self._has_manifest:
                self._has_manifest[folder] = self._lake.exists(str(folder / MANIFEST))
            if self._has_manifest[folder]:
                return folder
            if folder == self._root:
                break
        return None

    def _sheet(self, folder: PurePosixPath) -> Sheet | None:
        if folder not in self._sheets:
            key = str(folder / MANIFEST)
            sheet = None
            if self._lake.exists(key):
                data = self._lake.get(key)
                self.read_manifests[key] = hashlib.sha256(data).hexdigest()
                sheet = read_sheet(data)
            self._sheets[folder] = sheet
            if sheet is not None and self._photographs is not None:
                keys = (PurePosixPath(key) for key in self._photographs(sheet.stems()))
                sheet.settle(key.relative_to(folder) for key in keys if self._nearest(key) == folder)
        return self._sheets[folder]


def _typed(column: str, value: Any) -> Any:
    """The value as IMAGES holds it, None where it says nothing. Raises ValueError naming what does not fit."""
    if value is None or str(value).strip().lower() in _ABSENT:
        return None
    if column in TEXT_FIELDS:
        if isinstance(value, (dict, list)):
            raise ValueError(f"{column} is not text")
        return storable(str(value).strip())
    if column == "year":
        return _year(value)
    return _moment(value)


def _year(value: Any) -> int:
    try:
        year = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"year {repr(value)[:40]} is not a year") from None
    if not (1886 <= year <= 2200 and year == int(year)):  # 1886: the first car
        raise ValueError(f"year {value!r} is not a year")
    return int(year)


def _moment(value: Any) -> datetime:
    """UTC. A time without zone is taken as UTC: cameras rarely say theirs."""
    if isinstance(value, datetime):
        moment = value
    else:
        text = str(value).strip()
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            try:
                moment = datetime.strptime(text, "%Y:%m:%d %H:%M:%S")  # EXIF's way
            except ValueError:
                raise ValueError(f"captured_at {text[:40]!r} is not a time") from None
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:  # a zone that leads before the year 1 or behind 9999
        raise ValueError(f"captured_at {str(value)[:40]!r} is not a time") from None
