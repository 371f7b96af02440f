"""Why an import stops before it copies anything. Each says what to do; some can be settled by a question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from carsdepo_assets.data.folders.counts import counted

_SHOWN = 3


class ImportRefused(ValueError):
    """The folder cannot be imported as it is; nothing was copied. The message says what to do."""

    reminder: str = ""
    """What an earlier import of the name said that would settle it; a part of the message, too."""

    def remind(self, reminder: str) -> None:
        """Adds a sentence about the earlier import to the message."""
        if reminder:
            self.reminder = reminder
            self.args = (f"{self} {reminder}",)


@dataclass
class ClassUse:
    """How often a class is used in label files, and where first."""

    boxes: int = 0
    files: int = 0
    places: list[str] = field(default_factory=list)
    """The first files with it, and the line in each where there are lines."""

    def add(self, path: str, boxes: int, where: str) -> None:
        """Counts the boxes of one file."""
        self.boxes += boxes
        self.files += 1
        if len(self.places) < _SHOWN:
            self.places.append(f"{path} {where}".rstrip())

    def __str__(self) -> str:
        more = ", ..." if self.files > len(self.places) else ""
        return f"{counted(self.boxes, 'box')} in {counted(self.files, 'file')}: {', '.join(self.places)}{more}"


class FormatsConflict(ImportRefused):
    """Label files of several formats label the same photographs, and nothing says which counts."""

    def __init__(self, folder: Path, files: Mapping[str, int], photograph: str) -> None:
        self.formats = sorted(files)
        listed = ", ".join(f"{form} ({counted(files[form], 'file')})" for form in self.formats)
        super().__init__(
            f"{folder}: the same photographs, such as {photograph}, are labelled in several formats: {listed}. Say "
            f"which counts, as in --format {self.formats[0]}."
        )


class ClassesUnknown(ImportRefused):
    """Nothing says what the class ids of the folder's labels mean."""

    def __init__(self, folder: Path, uses: Mapping[str, ClassUse], by_number: bool = True, lists: str = "") -> None:
        self.uses = dict(uses)
        ids = "; ".join(f"{i} ({uses[i]})" for i in sorted(uses, key=_in_order))
        there = f"{lists} names others." if lists else "No data.yaml, classes.txt, obj.names or the like is there."
        what_to_do = (
            f"{there} Say it by --classes with the name of 0, of 1 "
            "and so on, as in --classes scratch,dent, or by --map 0=scratch for each."
            if by_number
            else f"Say it by --map {min(uses, key=_in_order)}=scratch and so on, for each."
        )
        super().__init__(f"{folder}: no file says what these class ids mean: {ids}. {what_to_do}")


class ClassesUnmapped(ImportRefused):
    """Classes of the folder are none of ours, and nothing says what they become."""

    def __init__(self, folder: Path, names: Mapping[str, str], uses: Mapping[str, ClassUse], ours: str) -> None:
        self.names = dict(names)
        self.uses = dict(uses)
        listed = "; ".join(f"{names[i]} ({uses[i]})" for i in sorted(uses, key=_in_order))
        super().__init__(
            f"{folder}: unknown classes: {listed}. {ours} Give --map OLD=NEW for each: NEW is one of these, or - to "
            "leave its labels out."
        )


def _in_order(source: str) -> tuple[int, str]:
    return (int(source), "") if source.isdecimal() and len(source) < 10 else (10**9, source)
