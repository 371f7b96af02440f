"""Recognises what each file of a folder is: a photograph, its labels, a list of names, metadata, or neither, and why.

Nothing is copied here and no lake is known. Labels are recognised by their content (`label_formats`), and those of one
photograph get its path, so that ingestion finds it whatever the folders of the export are called.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path, PurePosixPath

from carsdepo_assets.data.folders.counts import counted
from carsdepo_assets.data.folders.folder_files import FolderListing
from carsdepo_assets.data.imports.import_refusals import ClassUse
from carsdepo_assets.data.labels.formats.documents import LabelDocument
from carsdepo_assets.data.labels.formats.parsed import Problem

_OF_LABEL_STUDIO = "notes.json"


class FileKind(StrEnum):
    """What a file of an imported folder is."""

    PHOTOGRAPH = "photograph"
    LABELS = "label file"
    SIDECAR = "metadata"
    NAMES = "list of names"
    OTHER = "other file"


def is_of_label_studio(path: str) -> bool:
    """Whether a file is one that only exports of Label Studio have."""
    return PurePosixPath(path).name.casefold() == _OF_LABEL_STUDIO


@dataclass
class FileUse:
    """What a file is taken for, and what becomes of it."""

    path: str
    """Relative to the folder."""
    real: Path
    kind: FileKind
    target: str | None = None
    """Path below raw/uploads/NAME or raw/labels/NAME; None: it is not copied."""
    reason: str = ""
    """Why it is not copied, for a person; the same words for all files of one kind."""
    detail: str = ""
    """What is special about this file."""
    refused: bool = False
    """Whether it should have been copied, so that the import is not whole without it."""
    twin_of: str | None = None
    """The path of a label file with the same bytes for the same photograph."""
    format: str | None = None
    """Of a label file."""
    photographs: list[str] = field(default_factory=list)
    """Of a label file of one photograph: the photographs that it could be of; mostly one."""
    names: list[str] = field(default_factory=list)
    """Of a label file of many photographs: how it calls them."""
    doubts: list[tuple[str, str]] = field(default_factory=list)
    """Of a label file: why photographs are not reviewed, in the same words for all of one kind, and how it calls them.
    """
    stated: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    """Of a label file: photographs, as it calls them, with the split and the group that it says of them."""
    classes: list[tuple[str, frozenset[str]]] = field(default_factory=list)
    """Of a label file: the photographs that it shows something on, as it calls them, with the classes, as it writes
    them."""
    annotators: Counter[str | None] = field(default_factory=Counter)
    """Of a label file: how many photographs' finished labels it has of each annotator; None: it names nobody."""
    problem: Problem | None = None
    """Of a label file: the first of what makes it unusable, in whole or in part, as far as it says so by itself."""
    sound: int = 0
    """Of a label file: of how many photographs it says nothing of the kind."""

    def note_labels(self, document: LabelDocument) -> None:
        """Notes what the file says of its photographs, once `names` is known."""
        photographs = document.photographs
        problems = [*document.problems, *(one for photograph in photographs for one in photograph.problems)]
        self.problem = problems[0] if problems else None
        self.sound = sum(not photograph.problems for photograph in photographs)
        self.doubts = [(p.doubt, p.file_name) for p in photographs if not p.reviewed and p.doubt]
        self.stated = [(p.file_name, p.split, p.group) for p in photographs if p.split or p.group]
        finished = [photograph for photograph in photographs if photograph.reviewed and not photograph.problems]
        self.annotators = Counter(photograph.annotator for photograph in finished)
        sets: dict[frozenset[str], frozenset[str]] = {}  # few, shared by many photographs
        for photograph in finished:
            if classes := frozenset(shape.source_class for shape in photograph.shapes):
                name = last_part(photograph.file_name) if self.names else PurePosixPath(self.path).name
                self.classes.append((name, sets.setdefault(classes, classes)))

    def set_aside(self, reason: str, detail: str = "", *, refused: bool = False) -> None:
        """Decides that the file is not copied."""
        self.target, self.reason, self.detail, self.refused = None, reason, detail, refused


def last_part(name: str) -> str:
    """The file name at the end of a path of either kind of slash."""
    return PurePosixPath(name.replace("\\", "/")).name


@dataclass
class Layout:
    """What was recognised in a folder."""

    folder: Path
    listing: FolderListing
    uses: list[FileUse]
    """One for each file, in order of path."""
    formats: list[str]
    """Of the label files that are taken; mostly one, none where there are no labels."""
    classes: dict[str, ClassUse]
    """How often each class is used in the label files that are taken, as the files write it."""
    class_names: dict[str, str]
    """The name by class, as the label files themselves say; YOLO's say none."""
    nameless: dict[str, ClassUse] = field(default_factory=dict)
    """Classes of label files without names, for which no other file of the same export has any."""
    notes: tuple[str, ...] = ()
    """By which files others are read, for a person."""
    clashing_names: dict[str, str] = field(default_factory=dict)
    """What label files disagree about, by class, for a person."""

    def of(self, kind: FileKind, *, copied: bool = True) -> list[FileUse]:
        """The files of a kind that are copied, or that are not."""
        return [use for use in self.uses if use.kind is kind and (use.target is not None) == copied]

    @property
    def from_label_studio(self) -> bool:
        """Whether Label Studio exported the folder: then an empty YOLO file may be that of an unfinished task."""
        return any(is_of_label_studio(use.path) for use in self.uses)

    def describe(self) -> str:
        """Where photographs and labels lie, for a person."""
        parts = []
        for kind, noun in ((FileKind.PHOTOGRAPH, "photographs"), (FileKind.LABELS, "labels")):
            counts: dict[str, int] = defaultdict(int)
            for use in self.of(kind):
                counts[str(PurePosixPath(use.path).parent)] += 1
            most = sorted(counts, key=lambda place: (-counts[place], place))
            named = [f"{'the folder itself' if p == '.' else p + '/'} ({counts[p]})" for p in most[:4]]
            more = f" and {counted(len(most) - 4, 'more folder')}" if len(most) > 4 else ""
            if named:
                parts.append(f"{noun} in {', '.join(named)}{more}")
        return "; ".join(parts)
