"""The account of an import: every file of the folder in exactly one line, and what to do next."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

_SHOWN = 3


class ImportState(StrEnum):
    """What became of a file."""

    NEW = "new"
    """To be copied, or copied and not ingested."""
    ACCEPTED = "accepted"
    PARTLY = "accepted in part"
    DUPLICATE = "duplicate"
    UNCHANGED = "unchanged"
    REPLACED = "replaced"
    REREAD = "read again"
    """The same bytes, and their classes have another meaning now."""
    WAITING = "not ingested yet"
    QUARANTINED = "quarantined"
    REFUSED = "refused"
    NOT_USED = "not used"


READ = (
    ImportState.NEW,
    ImportState.ACCEPTED,
    ImportState.PARTLY,
    ImportState.DUPLICATE,
    ImportState.UNCHANGED,
    ImportState.REPLACED,
    ImportState.REREAD,
)
"""States of files that are in the lake with what they say."""


@dataclass(frozen=True)
class FileOutcome:
    """What became of one file of the folder."""

    path: str
    kind: str
    """As layouts.FileKind has it."""
    state: ImportState
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True)
class AccountLine:
    """Files of one kind with one outcome."""

    kind: str
    state: str
    reason: str
    files: int
    first: tuple[str, ...]
    """The first of them, each with what is special about it."""


@dataclass(frozen=True)
class ImportAccount:
    """The account of an import."""

    import_id: str
    at: datetime
    name: str
    """Of the import: its folders are raw/uploads/NAME and raw/labels/NAME."""
    folder: str
    format: str
    """Of the labels; empty where there are none."""
    layout: str
    classes: tuple[str, ...]
    """What became of each class, one line each."""
    class_names_from: str
    splits: str
    """Which split the folder gives its photographs, and what is missing there; empty where it says none."""
    files: int
    """In the folder."""
    lines: tuple[AccountLine, ...]
    figures: Mapping[str, int] = field(default_factory=dict)
    """Of the photographs of this import: with_damage, clean, unreviewed, unlabelled; boxes; with_a_group, and groups:
    the cars that these show; gone: files that an earlier import of this name had; not_named_any_more:
    photographs whose labels an earlier version of a label file gave, and its version of now says nothing of."""
    notes: tuple[str, ...] = ()
    """What a person should know: links that were followed, files that are gone, classes without a name."""
    failures: tuple[str, ...] = ()
    """Why the import is not whole; the command then ends with exit code 1."""
    next: tuple[str, ...] = ()
    """What to do."""
    dry_run: bool = False
    annotators: tuple[str, ...] = ()
    """Who made how many of the labels that were read, and what says so; none where nobody is named."""

    @property
    def adds_up(self) -> bool:
        """Whether every file of the folder is in exactly one line."""
        return sum(line.files for line in self.lines) == self.files

    def count(self, kind: str, *states: str) -> int:
        """The number of files of a kind in some states; in all where none is given."""
        return sum(line.files for line in self.lines if line.kind == kind and (not states or line.state in states))

    def as_json(self) -> dict[str, Any]:
        """The account as values of JSON."""
        return {**asdict(self), "at": self.at.isoformat(), "adds_up": self.adds_up}

    def row(self) -> dict[str, Any]:
        """The row of IMPORTS."""
        counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for line in self.lines:
            counts[line.kind][line.state] += line.files
        return {
            "import_id": self.import_id,
            "at": self.at,
            "name": self.name,
            "folder": self.folder,
            "format": self.format,
            "layout": self.layout,
            "class_names": json.dumps(list(self.classes)),
            "counts": json.dumps(counts, sort_keys=True),
            "account": json.dumps(self.as_json(), sort_keys=True),
        }


def account_lines(outcomes: Iterable[FileOutcome]) -> tuple[AccountLine, ...]:
    """Counts files by kind, state and reason, in this order of kinds and states."""
    grouped: dict[tuple[str, str, str], list[FileOutcome]] = defaultdict(list)
    for outcome in outcomes:
        grouped[outcome.kind, outcome.state.value, outcome.reason].append(outcome)
    states = [state.value for state in ImportState]
    kinds = ["photograph", "label file", "metadata", "list of names", "other file"]

    def order(key: tuple[str, str, str]) -> tuple[int, int, str]:
        return (kinds.index(key[0]) if key[0] in kinds else len(kinds), states.index(key[1]), key[2])

    return tuple(
        AccountLine(*key, files=len(files), first=tuple(_shown(file) for file in files[:_SHOWN]))
        for key, files in sorted(grouped.items(), key=lambda item: order(item[0]))
    )


def printable(text: str) -> str:
    """Text that every terminal and table takes: names of files may hold bytes that are no text, and control signs."""
    shown = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in shown)


def _shown(file: FileOutcome) -> str:
    return printable(f"{file.path} ({file.detail})" if file.detail else file.path)
