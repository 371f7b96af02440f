"""Finds, in a folder that is imported, the photograph that a label file of its own belongs to.

Names decide, and folders where a name comes twice. What could belong to two photographs belongs to none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath

from carsdepo_assets.data.folders.layout_names import Place, folded, place_of
from carsdepo_assets.data.folders.photograph_names import without_prefix


class PhotographIndex:
    """The photographs of a folder by place and name.

    Args:
        paths: of the photographs, relative to the folder.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._by_place: dict[tuple[tuple[str, ...], str], list[str]] = defaultdict(list)
        self._by_stem: dict[str, list[tuple[Place, str]]] = defaultdict(list)
        self.tops: set[str] = set()
        """The topmost folders that hold them."""
        for path in paths:
            place, stem = place_of(path), _stem(path)
            for name in {stem, folded(path.rpartition("/")[2])}:  # some tools write front.jpg.txt
                self._by_place[place.folders, name].append(path)
            self._by_stem[stem].append((place, path))
            top, slash, _ = path.partition("/")
            self.tops.add(top if slash else "")

    def at_place(self, label: str) -> list[str]:
        """Photographs of the label file's name at its place: beside it, or in the folder for photographs of its own."""
        folders, stem = place_of(label).folders, _stem(label)
        for name in dict.fromkeys((stem, without_prefix(stem))):
            if photographs := self._by_place.get((folders, name), []):
                return photographs
        return []

    def by_name(self, label: str) -> list[str]:
        """Photographs of the label file's name whose folders are some of its own, or that it has some of.

        For labels in one folder of photographs in several, and the other way round.
        """
        stem, place = _stem(label), place_of(label)
        for name in dict.fromkeys((stem, without_prefix(stem))):
            photographs = [path for other, path in self._by_stem.get(name, []) if _compatible(place, other)]
            if photographs:
                return photographs
        return []

    def below(self, top: str, label: str) -> list[str]:
        """Photographs of the label file's name that lie below a topmost folder as it does below its own."""
        folders, stem = place_of(label).folders[1:], _stem(label)
        return [
            path
            for _, path in self._by_stem.get(stem, [])
            if path.partition("/")[0] == top and place_of(path.partition("/")[2]).folders == folders
        ]


def _stem(path: str) -> str:
    return folded(PurePosixPath(path.rpartition("/")[2]).stem)


def _compatible(one: Place, other: Place) -> bool:
    if one.splits and other.splits and one.splits != other.splits:
        return False
    short, long = sorted((one.folders, other.folders), key=len)
    rest = iter(long)
    return all(folder in rest for folder in short)
