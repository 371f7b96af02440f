"""Label files of a folder whose meaning other files of the same export decide: names of classes, and of photographs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from carsdepo_assets.data.folders.layout_names import place_of
from carsdepo_assets.data.folders.photograph_names import names_behind_dates
from carsdepo_assets.data.imports.import_refusals import ClassUse
from carsdepo_assets.data.imports.layouts import FileUse
from carsdepo_assets.data.imports.photograph_index import PhotographIndex


@dataclass
class FilesWithIds:
    """Label files that write ids of classes (COCO), of which some may have no names for them."""

    _named: list[tuple[str, str, frozenset[str]]] = field(default_factory=list)
    _nameless: list[tuple[str, str, dict[str, ClassUse]]] = field(default_factory=list)

    def add(self, path: str, origin: str, names: Iterable[str], used: dict[str, ClassUse]) -> None:
        """Adds a file.

        Args:
            path: of the file.
            origin: what it says of its export.
            names: the ids for which it has a name.
            used: the ids that its labels have.
        """
        if ids := frozenset(names):
            self._named.append((path, origin, ids))
        elif used:
            self._nameless.append((path, origin, used))

    def settle(self) -> tuple[dict[str, ClassUse], list[str]]:
        """The ids of files for which no file of the same export has a name, and notes on whose names others take.

        Files are of the same export that lie in one folder, or in the folders of its splits, do not say otherwise, and
        use no id that is missing there.
        """
        unknown: dict[str, ClassUse] = {}
        notes = []
        for path, origin, used in self._nameless:
            lender = next(
                (
                    other
                    for other, its_origin, ids in self._named
                    if _folders(path) == _folders(other)
                    and (not origin or not its_origin or origin == its_origin)
                    and used.keys() <= ids
                ),
                None,
            )
            if lender is not None:
                notes.append(f"{path} has no names of classes: read by those of {lender}, of the same export")
                continue
            for source, use in used.items():
                unknown.setdefault(source, ClassUse()).add(path, use.boxes, "")
        return unknown, notes


def _folders(path: str) -> tuple[str, ...]:
    """The folders around a file, but for those that tell splits apart."""
    place = place_of(path)
    return tuple(folder for folder in place.folders if folder not in place.splits)


def match_behind_dates(uses: Iterable[FileUse], index: PhotographIndex, of_label_studio: bool) -> None:
    """Finds the photographs of label files whose prefix looks like a date, where the export is Label Studio's.

    A file gets the photograph that its name fits without the prefix, if it is one and no other label file has it.

    Args:
        uses: the label files of one photograph each.
        index: of the folder's photographs.
        of_label_studio: whether the folder says so itself.
    """
    by_folder: dict[PurePosixPath, dict[str, FileUse]] = defaultdict(dict)
    for use in uses:
        path = PurePosixPath(use.path)
        by_folder[path.parent][path.stem] = use
    taken = {path for files in by_folder.values() for use in files.values() for path in use.photographs}
    for folder, files in by_folder.items():
        for stem, bare in names_behind_dates(files, of_label_studio=of_label_studio).items():
            label = str(folder / f"{bare}.txt")
            photographs = index.at_place(label) or index.by_name(label)
            if not files[stem].photographs and len(photographs) == 1 and photographs[0] not in taken:
                files[stem].photographs = photographs
                taken.add(photographs[0])
