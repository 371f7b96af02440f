"""Has a corrected manifest.csv count for the photographs that are in the lake already.

Metadata are read when a photograph is ingested. When a manifest.csv comes or changes later, the photographs below its
folder are read anew, and those of which it says something else get a row in `metadata`, which counts over `images`.

Which manifest.csv was read, and as of when, stands in `batches/metadata.json`. It is only a memory of what need not be
read again: without it every manifest.csv is compared once more, and nothing is written twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from carsdepo_assets.data.folders.counts import counted
from carsdepo_assets.data.folders.manifest_csv import MANIFEST, read_sheet
from carsdepo_assets.data.photographs.declared_groups import (
    DECLARED_GROUPS,
    declared_groups_of,
    folder_of_groups,
)
from carsdepo_assets.data.photographs.metadata import MetadataReader, uploaded_photographs
from carsdepo_assets.lake.data_schemas import METADATA_FIELDS
from carsdepo_assets.lake.image_metadata import read_images
from carsdepo_assets.lake.lake import Lake, ObjectInfo
from carsdepo_assets.lake.locks import one_writer
from carsdepo_assets.lake.object_index import ObjectIndex, open_index
from carsdepo_assets.lake.present_objects import look_at
from carsdepo_assets.lake.source_choice import source_for
from carsdepo_assets.lake.sources import Facts, listing

_STATE = "batches/metadata.json"
_ROOT = "raw/uploads"
_KEYS = "metadata:keys"  # the place of the index with the keys of all manifest.csv files
_FROM_EXIF = ("camera", "captured_at")  # kept where no file says them any more: EXIF may have

Row = dict[str, Any]


@dataclass(frozen=True)
class Corrections:
    """What a look at the files of metadata led to."""

    files: int
    """Files that were read, as they were new or changed."""
    photographs: int
    """Photographs of which they say something else than before."""
    groups: int
    """Of these, photographs whose group or listing is another one now."""
    problems: tuple[str, ...] = ()
    """Why a manifest.csv was not used; what it said before stays."""

    @property
    def summary(self) -> str:
        """One line for a person."""
        return "; ".join(
            [
                f"other metadata of {counted(self.photographs, 'photograph')} now, {self.groups} of them with another "
                f"group or listing, by {counted(self.files, 'new or changed file')}",
                *self.problems,
            ]
        )


def manifests_due(lake: Lake, folder: str = "raw/uploads/", is_told: bool = False) -> list[ObjectInfo]:
    """The files manifest.csv below a folder that came or changed since they were read last, and files with the groups
    that label files of its imports say.

    Args:
        lake: where they are.
        folder: raw/uploads/ or one below it.
        is_told: whether uploads come by events, of a lake too large to list each time: of all of raw/uploads/, only
            those files manifest.csv that `note_manifests` was told of are looked at.
    """
    before = _read_before(lake)
    entries = [*_manifests(lake, folder, is_told), *_declared(lake, folder)]
    return [entry for entry in entries if before.get(entry.key) != _as_listed(entry)]


def note_manifests(index: ObjectIndex, delivered: Iterable[ObjectInfo]) -> None:
    """Notes the files manifest.csv among what the source of raw/uploads delivered, for `manifests_due`."""
    noted = set(json.loads(index.place(_KEYS) or "[]"))
    came = {entry.key for entry in delivered if PurePosixPath(entry.key).name == MANIFEST}
    if came - noted:
        index.keep_place(_KEYS, json.dumps(sorted(came | noted)))


def fingerprint_of(files: Iterable[ObjectInfo]) -> str:
    """What names the work of reading these files, as they are: 16 hexadecimal digits."""
    listed = [[entry.key, *_as_listed(entry)] for entry in files]
    return hashlib.sha256(json.dumps(sorted(listed, key=str)).encode()).hexdigest()[:16]


def correct_metadata(
    lake: Lake, now: datetime, files: Iterable[ObjectInfo] | None = None, folder: str = "raw/uploads/"
) -> Corrections:
    """Reads the metadata of photographs anew, where the files that say them came or changed.

    A photograph that was uploaded more than once has, field by field, what the newest of its uploads says.

    Args:
        lake: whose photographs are looked at.
        now: stored with new rows.
        files: manifest.csv files, or sidecars, that came or changed; None: the manifest.csv files that are due.
        folder: without `files`, only those below it are looked at.
    """
    with one_writer(lake, "metadata"):
        due = manifests_due(lake, folder) if files is None else list(files)
        rows: dict[str, Row] = {}
        problems: list[str] = []
        for entry in due:
            broken = _problems(lake, entry.key)
            problems += broken
            rows |= {} if broken else _corrected(lake, entry.key, now)
        written = _write(lake, list(rows.values()))
        _remember(lake, {entry.key: _as_listed(entry) for entry in due if _is_remembered(entry.key)})
    return Corrections(len(due), len(written), sum(row["regrouped"] for row in rows.values()), tuple(problems))


def look_again(
    lake: Lake, read: Mapping[str, str], duplicates: Collection[str], contested: Collection[str] = ()
) -> None:
    """Makes manifest.csv files due that may say more than `images` took from them; called after a batch of it.

    Args:
        lake: where the files are.
        read: sha256 by the key of each manifest.csv that the batch was read with. One that was replaced meanwhile is
            due: whoever read the new one did not see these photographs.
        contested: keys of those that have a row which could be of a photograph of the batch or of another one: it
            counted for the other while that was alone.
        duplicates: keys of uploads whose bytes were known: what is said at these keys was not read.
    """
    before = _read_before(lake)
    near = {str(folder / MANIFEST) for key in duplicates for folder in PurePosixPath(key).parents}
    near |= {declared for key in duplicates if (declared := declared_groups_of(key)) is not None}
    stale = {key for key, sha256 in read.items() if key in before and _sha256(lake, key) != sha256}
    if forgotten := (near | stale | set(contested)) & before.keys():
        with one_writer(lake, "metadata"):
            _store(lake, {key: value for key, value in _read_before(lake).items() if key not in forgotten})


def _problems(lake: Lake, file: str) -> list[str]:
    """Why a manifest.csv says nothing: a broken one must not take the groups away that it gave before."""
    if PurePosixPath(file).name != MANIFEST or not lake.exists(file):
        return []
    return [f"{file} is not used, and what it said before stays: {p}" for p in read_sheet(lake.get(file)).problems]


def _corrected(lake: Lake, file: str, now: datetime) -> dict[str, Row]:
    """New rows of `metadata` by image_id, for the photographs of which a file says something else than before."""
    uploads = _uploads_of(lake, file)
    if not uploads:
        return {}
    meant = read_images(lake, ["image_id", *METADATA_FIELDS], uploads.keys())
    sha256 = _sha256(lake, file)
    reader = MetadataReader(lake, photographs=uploaded_photographs(lake))
    rows: dict[str, Row] = {}
    for stood in meant.to_pylist():
        stated = _stated(reader, uploads[stood["image_id"]])
        stated |= {name: stood[name] for name in _FROM_EXIF if stated[name] is None}
        if any(stated[name] != stood[name] for name in METADATA_FIELDS):
            rows[stood["image_id"]] = {
                "image_id": stood["image_id"], **stated, "key": file, "sha256": sha256, "corrected_at": now,
                "regrouped": (stated["group_hint"], stated["listing"]) != (stood["group_hint"], stood["listing"]),
            }  # fmt: skip
    return rows


def _stated(reader: MetadataReader, keys: Iterable[str]) -> Row:
    """What is said at some keys of one photograph: of each field what the first key says that says anything."""
    stated: Row = dict.fromkeys(METADATA_FIELDS)
    by_name: str | None = None  # counts after what any source says
    for key in keys:
        metadata = reader.read(key, {})
        by_name = by_name or metadata.group_by_name
        values = metadata.values if metadata.group_by_name is None else {**metadata.values, "group_hint": None}
        stated = {name: values[name] if value is None else value for name, value in stated.items()}
    return {**stated, "group_hint": stated["group_hint"] or by_name}


def _uploads_of(lake: Lake, file: str) -> dict[str, list[str]]:
    """By image_id: all keys of the photographs that a file may say something of, the newest upload first."""
    uploads = lake.read("uploads", columns=["batch_id", "key", "sha256"])
    path = PurePosixPath(file)
    below = f"{path.parent}/" if path.name == MANIFEST else folder_of_groups(file)
    if below is not None:
        meant = pc.starts_with(uploads["key"], below)
    else:
        meant = pc.starts_with(uploads["key"], f"{path.with_suffix('')}.")
    ids = uploads["sha256"].filter(meant).drop_null().unique()
    rows = uploads.filter(
        pc.is_in(uploads["sha256"], ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids)
    )
    keys: dict[str, dict[str, None]] = {}
    for row in sorted(rows.to_pylist(), key=lambda r: (r["batch_id"], r["key"]), reverse=True):
        keys.setdefault(row["sha256"], {}).setdefault(row["key"])
    return {image_id: list(names) for image_id, names in keys.items()}


def _write(lake: Lake, rows: list[Row]) -> list[Row]:
    if not rows:
        return []
    before = pc.max(lake.read("metadata", columns=["sequence"])["sequence"]).as_py() or 0
    numbered = [
        {**{k: v for k, v in row.items() if k != "regrouped"}, "sequence": before + 1 + n} for n, row in enumerate(rows)
    ]
    content = json.dumps(numbered, sort_keys=True, default=str)
    lake.append("metadata", numbered, hashlib.sha256(content.encode()).hexdigest()[:16])
    return numbered


def _manifests(lake: Lake, folder: str, is_told: bool) -> list[ObjectInfo]:
    """Those that stand below a folder; of all of raw/uploads, only folders that changed are looked into for more."""
    if folder.strip("/") != _ROOT:
        return [entry for entry in listing(lake, folder) if PurePosixPath(entry.key).name == MANIFEST]
    with open_index(lake) as index:
        if is_told:
            return look_at(lake, json.loads(index.place(_KEYS) or "[]")).there
        source = source_for(lake, _ROOT, _ManifestsAlone(index), accept=lambda name: name == MANIFEST)
        came, cursor = source.poll(None)
        keys = {*json.loads(index.place(_KEYS) or "[]"), *(entry.key for entry in came)}
        entries = [entry for key in sorted(keys) if (entry := lake.info(key)) is not None]
        index.keep_place(_KEYS, json.dumps([entry.key for entry in entries]))
        source.ack(cursor)
    return entries


def _declared(lake: Lake, folder: str) -> list[ObjectInfo]:
    """The files with groups of label files, of the imports whose photographs lie in a folder."""
    return [
        entry
        for entry in lake.list(DECLARED_GROUPS)
        if (below := folder_of_groups(entry.key)) is not None and below.startswith(f"{folder.strip('/')}/")
    ]


def _is_remembered(key: str) -> bool:
    """Sidecars are read when they are asked for, and never due by themselves."""
    return key.endswith(f"/{MANIFEST}") or folder_of_groups(key) is not None


class _ManifestsAlone:
    """What a source of manifest.csv files asks: all of them are delivered, and it has a place of its own."""

    def __init__(self, index: ObjectIndex) -> None:
        self._index = index

    def unknown(self, objects: Sequence[Facts]) -> list[Facts]:
        return [facts for facts in objects if facts[0].endswith(f"/{MANIFEST}")]

    def compare(
        self, prefix: str, objects: Sequence[Facts], before: int | None = None
    ) -> tuple[list[Facts], list[str]]:
        return self.unknown(objects), []

    def standing(self, keys: Sequence[str]) -> list[str]:
        return []

    def place(self, name: str) -> str | None:
        return self._index.place(f"metadata:{name}")

    def keep_place(self, name: str, value: str) -> None:
        self._index.keep_place(f"metadata:{name}", value)


def _as_listed(entry: ObjectInfo) -> list[Any]:
    return [entry.size, entry.modified_at.isoformat(), entry.etag]


def _read_before(lake: Lake) -> dict[str, list[Any]]:
    if not lake.exists(_STATE):
        return {}
    try:
        before = json.loads(lake.get(_STATE))
    except ValueError:  # it is only a memory: all are read once more
        return {}
    return before if isinstance(before, dict) else {}


def _remember(lake: Lake, read: Mapping[str, list[Any]]) -> None:
    if read:
        _store(lake, _read_before(lake) | dict(read))


def _store(lake: Lake, manifests: Mapping[str, list[Any]]) -> None:
    lake.put(_STATE, json.dumps(manifests, indent=0, sort_keys=True).encode())


def _sha256(lake: Lake, key: str) -> str | None:
    return hashlib.sha256(lake.get(key)).hexdigest() if lake.exists(key) else None
