"""Finds the photograph that a label file belongs to: raw/labels/PATH/NAME.txt labels raw/uploads/PATH/NAME.*."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from carsdepo_assets.data.folders.photograph_names import (
    LONGEST_NAME,
    RowsOfStems,
    WantedName,
    composed,
    split_of,
    stem_forms,
    stem_key,
    wanted_names,
    without_levels,
)
from carsdepo_assets.data.labels.formats.parsed import Problem
from carsdepo_assets.data.objects.manifests import is_photograph
from carsdepo_assets.lake.lake import Lake


@dataclass(frozen=True)
class StoredPhotograph:
    """A row of `images`, as far as labels need it; width and height are those of the upright photograph."""

    image_id: str
    width: int
    height: int
    orientation: int | None
    """As EXIF counts; None in lakes of releases that did not store it."""


@dataclass(frozen=True)
class _Place:
    """Where a photograph was uploaded, below raw/uploads."""

    path: PurePosixPath
    image_id: str

    @property
    def folders(self) -> tuple[str, ...]:
        return without_levels(tuple(composed(part) for part in self.path.parts[:-1]))


class Photographs:
    """The uploaded photographs of some names."""

    def __init__(
        self,
        stored: Mapping[str, StoredPhotograph],
        places: Mapping[PurePosixPath, str],
        refused: Mapping[PurePosixPath, str],
    ) -> None:
        """Args: stored: by image_id; places: image_id by path below raw/uploads; refused: reason by such a path."""
        self._stored = stored
        self._places: dict[str, list[_Place]] = {}
        for path, image_id in places.items():
            self._places.setdefault(stem_key(path.name), []).append(_Place(path, image_id))
        self._refused = {_stem(path): reason for path, reason in refused.items()}

    @classmethod
    def read(cls, lake: Lake, stems: Iterable[str]) -> Photographs:
        """Reads every key that any upload had, duplicates too: their bytes are the same photograph.

        Args:
            lake: the lake.
            stems: what `wanted_stems` gives for the names that a batch of labels has; no other photograph is found.
        """
        wanted = set(stems)
        newest: dict[str, str] = {}  # a key that was overwritten means the photograph that it holds now
        named = RowsOfStems(wanted)
        uploads = lake.tables.read("uploads", ["batch_id", "key", "sha256"], keep=named)
        for row in uploads.sort_by("batch_id").to_pylist():
            if row["sha256"] is not None:
                newest[row["key"]] = row["sha256"]
        columns = ["image_id", "width", "height", "orientation"]
        images = lake.read("images", columns, [("image_id", "in", set(newest.values()))])
        stored = {row["image_id"]: StoredPhotograph(**row) for row in images.to_pylist()}
        of_photographs = [("kind", "=", "photograph")]
        quarantine = lake.tables.read("quarantine", ["key", "reason"], of_photographs, keep=named)
        refused = {_below(r["key"]): r["reason"] for r in quarantine.to_pylist() if is_photograph(r["key"])}
        places = {_below(key): image_id for key, image_id in sorted(newest.items()) if image_id in stored}
        return cls(stored, places, refused)

    def photograph(self, image_id: str) -> StoredPhotograph:
        """The photograph of an id that `at` or `named` returned."""
        return self._stored[image_id]

    def at(self, stem: str) -> str | Problem:
        """The id of the photograph at a path without suffix; a Problem where there is not exactly one.

        Where there is none of the very name, one that differs by quoting, by Label Studio's prefix, by the form of
        accents or by capitals is taken, if it is the only one.
        """
        path = PurePosixPath(stem)
        for name in stem_forms(path.name):
            image_ids = self._in_folder(path.parent, composed(name))
            if len(image_ids) == 1:
                return next(iter(image_ids))
            if image_ids:
                return Problem("ambiguous_photograph", f"{len(image_ids)} photographs are raw/uploads/{stem}.*")
        if _stem(path, has_suffix=False) in self._refused:
            reason = self._refused[_stem(path, has_suffix=False)]
            return Problem("no_photograph", f"raw/uploads/{stem}.* is in quarantine itself: {reason}")
        return Problem("no_photograph", f"no photograph at raw/uploads/{stem}.*")

    def named(self, file_name: str, folder: PurePosixPath) -> str | Problem:
        """The id of the photograph that a label file in `folder` calls `file_name`.

        It is looked for in the folder, then in the folders around it, but not beyond the topmost one: another import's
        photograph of the same name is another photograph. Of several, the one whose folders agree most is meant.
        """
        wanted = wanted_names(file_name, folder)
        for form in wanted:
            for around in (folder, *folder.parents):
                if str(around) == "." and str(folder) != ".":
                    break
                image_ids = self._best(form, around)
                if len(image_ids) == 1:
                    return next(iter(image_ids))
                if image_ids:
                    return Problem("ambiguous_photograph", f"{len(image_ids)} photographs have the name {form.name}")
        for form in wanted:
            if reason := self._refused.get(_stem(PurePosixPath(*form.folders, form.name))):
                return Problem("no_photograph", f"{file_name[:200]} is in quarantine itself: {reason}")
        where = "" if str(folder) == "." else f" below {folder.parts[0]}"
        return Problem("no_photograph", f"no photograph of the name {file_name[:200]}{where}")

    def _in_folder(self, folder: PurePosixPath, name: str) -> set[str]:
        """Ids of the photographs of a stem in a folder, those of its very capitals alone if there are any."""
        parts = tuple(composed(part) for part in folder.parts)
        places = [
            place
            for place in self._places.get(name.casefold(), [])
            if tuple(composed(part) for part in place.path.parts[:-1]) == parts
        ]
        exact = {place.image_id for place in places if composed(place.path.stem) == name}
        return exact or {place.image_id for place in places}

    def _best(self, form: WantedName, around: PurePosixPath) -> set[str]:
        """Ids of the photographs below a folder that fit a name best."""
        ranked: dict[tuple[int, ...], set[str]] = {}
        split = split_of(form.folders)
        keys = {stem_key(form.name), form.name.casefold()}
        for place in (place for key in keys for place in self._places.get(key, [])):
            if str(around) != "." and around not in place.path.parents:
                continue
            if None not in (split, split_of(place.folders)) and split != split_of(place.folders):
                continue  # valid/a.jpg is not train/a.jpg
            same = _agreeing(form.folders, place.folders)
            whole = form.whole and form.folders == place.folders
            uploaded, called = composed(place.path.name), form.name
            exact = _suffix_folded(uploaded) == _suffix_folded(called)
            ranked.setdefault((whole, same, exact, PurePosixPath(uploaded).stem in called), set()).add(place.image_id)
        return ranked[max(ranked)] if ranked else set()


def wanted_stems(file_name: str, folder: PurePosixPath) -> set[str]:
    """What `Photographs.read` needs to know to find a photograph by this name, with or without its suffix."""
    if len(file_name) > LONGEST_NAME:
        return set()
    stems = {composed(form).casefold() for form in stem_forms(PurePosixPath(file_name).name)}
    for form in wanted_names(file_name, folder):
        stems |= {stem_key(form.name), form.name.casefold()}
    return stems


def _agreeing(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """How many folders above a file agree, from the innermost on."""
    count = 0
    for mine, theirs in zip(reversed(one), reversed(other), strict=False):
        if mine.casefold() != theirs.casefold():
            break
        count += 1
    return count


def _suffix_folded(name: str) -> str:
    path = PurePosixPath(name)
    return path.stem + path.suffix.casefold()


def _stem(path: PurePosixPath, has_suffix: bool = True) -> str:
    return composed(str(path.with_suffix("") if has_suffix and path.name else path)).casefold()


def _below(key: str) -> PurePosixPath:
    return PurePosixPath(key.removeprefix("raw/uploads/"))
