"""The licences of photographs and labels: who claims which, and how many of a dataset's photographs have it.

A statement is about one photograph or about a folder of an import. All statements about a photograph count, and so do
those about the label file that its boxes come from: whoever uses both needs both. Lakes of before the table have none,
which is said as "none stated" and never taken for a permission.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.licence_names import is_non_commercial

TABLE = "licences"
NONE_STATED = "none stated"


@dataclass(frozen=True)
class LicenceStatement:
    """What somebody says of the licence of a photograph, or of all of an import."""

    scope: str
    """Key of a photograph; or of a folder below raw/uploads or raw/labels, ending in a slash."""
    licence: str
    """An SPDX expression, else as it was written."""
    is_spdx: bool
    """Whether it is an SPDX expression."""
    claimed_by: str
    """The file that says it, or a person."""
    written: str
    """As it was written."""


@dataclass(frozen=True)
class LicenceCount:
    """One licence of a dataset."""

    licence: str
    """NONE_STATED: nobody says one."""
    claimed_by: str
    """The files and persons that say it; empty for NONE_STATED."""
    of: str
    """photographs or labels."""
    photographs: int
    """How many photographs of the dataset it is about."""
    is_spdx: bool = False
    """Whether it is an SPDX expression."""
    non_commercial: bool = False
    """Whether it forbids commercial use, as policy.data.non_commercial_licences has it."""

    @property
    def sentence(self) -> str:
        """The licence, who claims it and how many photographs it is about, for people."""
        who = f", claimed by {self.claimed_by}" if self.claimed_by else ""
        return f"{self.licence}{who}: {self.about}"

    @property
    def about(self) -> str:
        """What it is about: so many photographs, or the labels of so many."""
        noun = "photograph" if self.photographs == 1 else "photographs"
        return f"{'the labels of ' if self.of == 'labels' else ''}{self.photographs:,} {noun}"


def state_licences(lake: Lake, name: str, statements: Sequence[LicenceStatement], now: datetime) -> int:
    """Appends statements that nobody has made before; returns how many these were.

    Args:
        lake: the lake.
        name: of the import that they came with.
        statements: about its photographs and labels.
        now: the present, with a time zone.
    """
    before = set(lake.read(TABLE, ["statement_id"])["statement_id"].to_pylist()) if statements else set()
    rows = [
        {**asdict(one), "statement_id": identity, "at": now, "import_name": name}
        for one in statements
        if (identity := _identity(one)) not in before
    ]
    if rows:
        unit = hashlib.sha256("\n".join(sorted(str(row["statement_id"]) for row in rows)).encode()).hexdigest()[:16]
        lake.append(TABLE, rows, unit)
    return len(rows)


class Licences:
    """All statements of a lake, by what they are about."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self._by_scope: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for row in rows:
            self._by_scope[row["scope"]].append(row)

    def __bool__(self) -> bool:
        return bool(self._by_scope)

    @classmethod
    def read(cls, lake: Lake) -> Licences:
        """The statements as they stand; none in a lake of an earlier release."""
        return cls(lake.read(TABLE).to_pylist())

    def of(self, key: str) -> list[Mapping[str, Any]]:
        """The statements about a key: its own, and those of each folder above it."""
        stated = list(self._by_scope.get(key, ()))
        end = key.find("/")
        while end >= 0:
            stated += self._by_scope.get(key[: end + 1], ())
            end = key.find("/", end + 1)
        return stated


def count_licences(
    licences: Licences, keys: Iterable[tuple[Sequence[str], Sequence[str]]], patterns: Sequence[str]
) -> list[LicenceCount]:
    """Counts the licences of a dataset's photographs and of their labels.

    Args:
        licences: the statements.
        keys: for each photograph the keys under which it was uploaded, and those of the files that its labels come
            from; none: unknown.
        patterns: of licences that forbid commercial use.

    Returns:
        The licences of photographs, then those of labels; the most frequent first.
    """
    counts: Counter[tuple[str, str, bool]] = Counter()
    claimants: dict[tuple[str, str], set[str]] = defaultdict(set)
    for uploads, labels in keys:
        for of, own in (("photographs", uploads), ("labels", labels)):
            if of == "labels" and not own:
                continue
            stated = [row for key in own for row in licences.of(key)]
            for licence, is_spdx in {(row["licence"], bool(row["is_spdx"])) for row in stated} or {
                (NONE_STATED, False)
            }:
                counts[of, licence, is_spdx] += 1
            for row in stated:
                claimants[of, row["licence"]].add(row["claimed_by"])
    order = sorted(counts, key=lambda c: (c[0] != "photographs", -counts[c], c[1]))
    return [
        LicenceCount(
            licence,
            ", ".join(sorted(claimants[of, licence])),
            of,
            counts[of, licence, is_spdx],
            is_spdx,
            licence != NONE_STATED and is_non_commercial(licence, patterns),
        )
        for of, licence, is_spdx in order
    ]


def licences_of_rows(lake: Lake, rows: Sequence[Mapping[str, Any]], patterns: Sequence[str]) -> list[LicenceCount]:
    """Counts the licences of rows of a dataset's manifest, as they are stated now.

    Args:
        lake: the lake.
        rows: with image_id, key and revision_id.
        patterns: policy.data.non_commercial_licences.
    """
    licences = Licences.read(lake)
    if not licences and rows:  # a million rows need not be looked at for this
        return [LicenceCount(NONE_STATED, "", of, len(rows)) for of in ("photographs", "labels")]
    again = lake.read("uploads", ["key", "sha256"], [("outcome", "=", "duplicate")])
    others: dict[str, list[str]] = defaultdict(list)
    for key, image_id in zip(again["key"].to_pylist(), again["sha256"].to_pylist(), strict=True):
        others[image_id].append(key)
    notes = lake.read("annotations", ["revision_id", "key"])
    files: dict[str, list[str]] = defaultdict(list)  # several say the same where a folder was imported again
    for revision, key in zip(notes["revision_id"].to_pylist(), notes["key"].to_pylist(), strict=True):
        files[revision].append(key)
    keys = []
    for row in rows:
        revisions = str(row["revision_id"]).split("+")  # a majority joins those of several annotators
        labels = [key for revision in revisions for key in files.get(revision, ())]
        keys.append(([row["key"], *others.get(row["image_id"], ())], labels))
    return count_licences(licences, keys, patterns)


def _identity(one: LicenceStatement) -> str:
    return hashlib.sha256(json.dumps([one.scope, one.licence, one.claimed_by]).encode()).hexdigest()[:16]
