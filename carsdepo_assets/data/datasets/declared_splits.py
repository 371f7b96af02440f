"""The split that an export comes with: found at its import, refused where it leaks, and kept for the dataset.

It is stored in `batches/declared_splits/<import>.json`. The dataset takes it for photographs that have no split yet.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from carsdepo_assets.data.datasets.grouping import cars
from carsdepo_assets.data.datasets.split_files import PhotographFinder, SplitClaim, Stated, split_claims
from carsdepo_assets.data.folders.augmented_copies import sources
from carsdepo_assets.data.folders.counts import counted
from carsdepo_assets.data.folders.manifest_csv import MANIFEST
from carsdepo_assets.data.photographs.declared_groups import declared_groups_key, read_declared_groups
from carsdepo_assets.data.photographs.metadata import MetadataReader
from carsdepo_assets.lake.lake import Lake

SPLITS = ("train", "val", "test")
_SHOWN = 3  # cars, or photographs, that a message names


class SplitLeaks(ValueError):
    """The export's own split puts one car or photograph into two parts; the message says which, and what to do."""


@dataclass(frozen=True)
class DeclaredSplits:
    """Which split an export gives each of its photographs."""

    splits: dict[str, str] = field(default_factory=dict)
    """train, val or test by the photograph's path below raw/uploads/NAME; empty where the export has no split."""
    said_by: str = ""
    """The files and folders that say it."""
    sentence: str = ""
    """What was found and what follows from it, for a person; empty where nothing was."""
    files: frozenset[str] = frozenset()
    """Those that say it, by their paths below the folder."""
    groups: dict[str, str] = field(default_factory=dict)
    """The group that label files give a photograph, by its path below raw/uploads/NAME."""
    notes: tuple[str, ...] = ()
    """What a person should know of groups that are not used."""


def find_declared_splits(
    folder: Path,
    photographs: Mapping[str, Path],
    sidecars: Mapping[str, Path],
    resplit: bool = False,
    stated: Sequence[Stated] = (),
) -> DeclaredSplits:
    """Finds the split that an export comes with, and whether it leaks as far as names and metadata say.

    An export of which every photograph is for training has no split: tools call a whole export so.

    Args:
        folder: of the export.
        photographs: the files by their paths below raw/uploads/NAME.
        sidecars: manifest.csv and sidecars, likewise.
        resplit: whether the user wants the photographs dealt anew, whatever the export says.
        stated: the split and the group that label files say of photographs.

    Raises:
        SplitLeaks: a car, an augmented photograph or one file is in two parts.
    """
    paths = {name: _below(path, folder, name) for name, path in photographs.items()}
    groups, notes = _groups(stated, paths)
    nothing = DeclaredSplits(groups=groups, notes=notes)
    if resplit:
        return replace(nothing, sentence="all photographs are dealt to splits anew (--resplit)")
    keys = [f"raw/uploads/x/{name}" for name in photographs]
    reader = MetadataReader(_Files({**photographs, **sidecars}), photographs=lambda stems: keys)
    rows = [Stated(MANIFEST, name, reader.row(f"raw/uploads/x/{name}").get("split"), None) for name in photographs]
    claims = split_claims(folder, paths, stated, rows if sidecars else ())
    if len(claims) > 1:  # a file that names all photographs says no split beside one that tells parts apart
        claims = [claim for claim in claims if sum(map(bool, claim.splits.values())) > 1] or claims[:1]
    splits = _agreed(folder, claims)
    said_by = " and ".join(_needed(claims))
    if not set(splits.values()) - {"train"}:
        if not splits:
            return nothing
        return replace(
            nothing,
            sentence=f"{said_by}: all of it is called train, which is no split: photographs are dealt by car",
        )
    _refuse_leaks(folder, splits, photographs, reader, groups)
    origins = {origin for claim in claims for of_split in claim.origins.values() for origin in of_split}
    files = frozenset(origin for origin in origins if not origin.endswith("/"))
    return DeclaredSplits(splits, said_by, _sentence(splits, len(photographs), said_by), files, groups, notes)


def _below(path: Path, folder: Path, otherwise: str) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else otherwise


def _agreed(folder: Path, claims: Iterable[SplitClaim]) -> dict[str, str]:
    claimed: dict[str, dict[str, str]] = {}  # photograph -> split -> what says so
    for claim in claims:
        for split, names in claim.splits.items():
            for name in names:
                claimed.setdefault(name, {}).setdefault(split, ", ".join(claim.origins[split]))
    torn = {name: by for name, by in claimed.items() if len(by) > 1}
    if torn:
        shown = "; ".join(
            f"{name} is {' and '.join(f'{split} by {origin}' for split, origin in torn[name].items())}"
            for name in sorted(torn)[:_SHOWN]
        )
        raise SplitLeaks(
            f"{folder}: {counted(len(torn), 'photograph')} in two splits: {shown}. Correct these "
            "files, or give --resplit to deal all photographs anew by car."
        )
    return {name: next(iter(by)) for name, by in claimed.items()}


def _needed(claims: Iterable[SplitClaim]) -> list[str]:
    """The names of what says a split of photographs that nothing before it says."""
    names: list[str] = []
    behind: set[str] = set()
    for claim in claims:
        photographs = {name for by_split in claim.splits.values() for name in by_split}
        if photographs - behind:
            names.append(claim.name)
        behind |= photographs
    return names


def _groups(stated: Iterable[Stated], paths: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The group of each photograph of which label files say one, and a note where they say several."""
    finder = PhotographFinder(paths)
    groups_by_name: dict[str, dict[str, str]] = {}  # photograph -> group -> file
    for one in stated:
        if one.group is not None and (name := finder.named(one.photograph)) is not None:
            groups_by_name.setdefault(name, {}).setdefault(one.group, one.file)
    torn = sorted(name for name, groups in groups_by_name.items() if len(groups) > 1)
    notes = [
        f"{counted(len(torn), 'photograph')} with several groups in label files, which are not used: {name} is "
        f"{' and '.join(f'{group} in {file}' for group, file in groups_by_name[name].items())}"
        for name in torn[:1]
    ]
    return {name: next(iter(groups)) for name, groups in groups_by_name.items() if len(groups) == 1}, tuple(notes)


def _refuse_leaks(
    folder: Path,
    splits: Mapping[str, str],
    photographs: Iterable[str],
    reader: MetadataReader,
    groups: Mapping[str, str],
) -> None:
    source = sources(f"raw/uploads/x/{name}" for name in photographs)
    rows: list[dict[str, Any]] = []
    for name in photographs:
        key = f"raw/uploads/x/{name}"
        values = reader.read(key, {}).values
        kept = {"group_hint": values["group_hint"] or groups.get(name), "listing": values["listing"]}
        rows.append({"image_id": name, "source": source.get(key), **kept})
    of = {row["image_id"]: row["group_hint"] or row["listing"] or row["source"] for row in rows}
    leaks = [car for car in cars(rows) if len({splits[name] for name in car if name in splits}) > 1]
    if leaks:
        shown = "; ".join(_leak(car, splits, of) for car in leaks[:_SHOWN])
        raise SplitLeaks(
            f"{folder}: its own splits leak: {counted(len(leaks), 'car or augmented photograph')} in more than one: "
            f"{shown}. A model would be tested on what it was trained on. Give --resplit to deal all photographs anew "
            "by car, or correct manifest.csv or the folders."
        )


def _leak(car: list[str], splits: Mapping[str, str], of: Mapping[str, Any]) -> str:
    first: dict[str, str] = {}
    for name in car:
        if name in splits:
            first.setdefault(splits[name], name)
    places = ", ".join(f"{s}: {first[s]}" for s in SPLITS if s in first)
    return f"{str(of[car[0]]).removeprefix('x/')} ({places})"


def _sentence(splits: Mapping[str, str], photographs: int, said_by: str) -> str:
    counts = Counter(splits.values())
    parts = ", ".join(f"{counts[s]} {s}" for s in SPLITS if counts[s])
    others = photographs - len(splits)
    rest = f"; {counted(others, 'photograph')} in none, to be dealt" if others else ""
    missing = " and ".join(s for s in SPLITS if not counts[s])
    lacks = f"; none for {missing}: import some, or give --resplit to deal all anew by car" if missing else ""
    return f"splits as declared by {said_by}: {parts}{rest}{lacks}"


class _Files:
    """Files of a folder under the keys that they will have in the lake."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = {f"raw/uploads/x/{name}": path for name, path in files.items()}

    def exists(self, key: str) -> bool:
        return key in self._files

    def get(self, key: str) -> bytes:
        return self._files[key].read_bytes()


def declared_splits_key(name: str) -> str:
    """Where the declared split of an import is stored."""
    return f"batches/declared_splits/{name}.json"


def write_declared_groups(lake: Lake, name: str, declared: DeclaredSplits, photographs: Collection[str]) -> None:
    """Stores the groups that the label files of an import say, before its photographs.

    Args:
        lake: where the photographs are imported to.
        name: of the import.
        declared: what was found.
        photographs: paths below raw/uploads/NAME of the photographs that are imported now; what was said of others of
            the same name stays.
    """
    before = read_declared_groups(lake, name)
    groups = {path: group for path, group in before.items() if path not in photographs} | declared.groups
    if groups != before:
        lake.put(declared_groups_key(name), json.dumps(groups, sort_keys=True).encode())


def write_declared_splits(lake: Lake, name: str, declared: DeclaredSplits, photographs: Collection[str]) -> None:
    """Stores the declared split of an import, before its photographs, so that no dataset is built without it.

    Args:
        lake: where the photographs are imported to.
        name: of the import.
        declared: what was found.
        photographs: paths below raw/uploads/NAME of the photographs that are imported now; what was declared of others
            of the same name stays.
    """
    key = declared_splits_key(name)
    before = _stored(lake, name)
    splits = {path: split for path, split in before.items() if path not in photographs} | declared.splits
    if splits != before:
        document = {"said_by": declared.said_by, **{s: sorted(p for p in splits if splits[p] == s) for s in SPLITS}}
        lake.put(key, json.dumps(document).encode())


def _stored(lake: Lake, name: str) -> dict[str, str]:
    key = declared_splits_key(name)
    if not name or not lake.exists(key):
        return {}
    document = json.loads(lake.get(key))
    return {path: split for split in SPLITS for path in document.get(split, [])}


def declared_of(lake: Lake, image_ids: Collection[str]) -> dict[str, str]:
    """The declared split of photographs, by image_id, by any key under which they were uploaded.

    The same bytes may be declared twice: as they are one photograph, they leak nothing; test counts before val, and val
    before train.

    Args:
        lake: whose uploads are looked at.
        image_ids: of the photographs that are asked for.
    """
    uploads = lake.read("uploads", ["key", "sha256"], [("sha256", "in", image_ids)])
    stored: dict[str, dict[str, str]] = {}
    declared: dict[str, str] = {}
    for row in uploads.to_pylist():
        name, _, path = row["key"].removeprefix("raw/uploads/").partition("/")
        if name not in stored:
            stored[name] = _stored(lake, name) if path else {}
        if split := stored[name].get(path):
            declared[row["sha256"]] = max(split, declared.get(row["sha256"], split), key=SPLITS.index)
    return declared
