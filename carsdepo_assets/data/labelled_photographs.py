"""Finds the photograph that a label file belongs to: raw/labels/PATH/NAME.txt labels raw/uploads/PATH/NAME.*."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from carsdepo_assets.data.batches import is_photograph
from carsdepo_assets.data.label_formats.parsed import Problem
from carsdepo_assets.lake.index_rows import name_want, path_want
from carsdepo_assets.lake.lake import Lake

_LEVELS = ("images", "labels")  # what an import leaves out of its paths


@dataclass(frozen=True)
class Photographs:
    """sizes: image_id -> upright (width, height). Paths are relative to raw/uploads; stems have no suffix."""

    sizes: Mapping[str, tuple[int, int]]
    _by_stem: Mapping[str, set[str]]
    _by_name: Mapping[str, list[tuple[PurePosixPath, str]]]  # file name -> (folder, image_id)
    _refused: Mapping[str, str]  # stem -> why there is no photograph of it
    missing: set[str] = field(default_factory=set)
    """What was looked for and not found, as lake.index_rows writes it. The caller empties it."""

    @classmethod
    def read(cls, lake: Lake) -> Photographs:
        """Every key that any upload had, duplicates too: their bytes are the same photograph."""
        sizes = {
            r["image_id"]: (r["width"], r["height"])
            for r in lake.read("images", columns=["image_id", "width", "height"]).to_pylist()
        }
        uploads = lake.read("uploads", columns=["batch_id", "key", "sha256"])
        newest: dict[str, str] = {}  # a key that was overwritten means the photograph that it holds now
        for row in uploads.sort_by("batch_id").to_pylist():
            if row["sha256"] in sizes:
                newest[row["key"]] = row["sha256"]
        by_stem: dict[str, set[str]] = {}
        by_name: dict[str, list[tuple[PurePosixPath, str]]] = {}
        for key, image_id in newest.items():
            path = _below(key)
            by_stem.setdefault(str(path.with_suffix("")), set()).add(image_id)
            by_name.setdefault(path.name, []).append((path.parent, image_id))
        refused = {
            str(_below(r["key"]).with_suffix("")): r["reason"]
            for r in lake.read("quarantine", columns=["key", "kind", "reason"]).to_pylist()
            if r["kind"] == "photograph" and is_photograph(r["key"])
        }
        return cls(sizes, by_stem, by_name, refused)

    def at(self, path: PurePosixPath) -> str | Problem:
        """The id of the photograph at a path, whose suffix does not count; a Problem where there is not exactly one."""
        stem = str(path.with_suffix(""))
        image_ids = self._by_stem.get(stem, set())
        if len(image_ids) == 1:
            return next(iter(image_ids))
        if image_ids:
            return Problem("ambiguous_photograph", f"{len(image_ids)} photographs are raw/uploads/{stem}.*")
        self.missing.add(path_want(stem))
        if stem in self._refused:
            return Problem("no_photograph", f"raw/uploads/{stem}.* is in quarantine itself: {self._refused[stem]}")
        return Problem("no_photograph", f"no photograph at raw/uploads/{stem}.*")

    def named(self, file_name: str, folder: PurePosixPath) -> str | Problem:
        """The id of the photograph that a COCO file in `folder` calls `file_name`: by its path, else by a unique name.

        The name is looked for in the folder, then in the folders around it, but not beyond the topmost one: another
        import's photograph of the same name is another photograph.
        """
        named_path = PurePosixPath(posixpath.normpath(folder / file_name.replace("\\", "/").lstrip("/")))
        plain = PurePosixPath(*(p for p in named_path.parts[:-1] if p not in _LEVELS), named_path.name)
        for path in dict.fromkeys((named_path, plain)):
            if path.name and str(path.with_suffix("")) in self._by_stem:
                return self.at(path)
        places = self._by_name.get(named_path.name, [])
        for around in (folder, *folder.parents):
            if str(around) == "." and str(folder) != ".":
                break
            image_ids = {image_id for place, image_id in places if around == place or around in place.parents}
            if len(image_ids) == 1:
                return next(iter(image_ids))
            if image_ids:
                return Problem("ambiguous_photograph", f"{len(image_ids)} photographs have the name {named_path.name}")
        self.missing.add(name_want(folder / "any", PurePosixPath(named_path.name).stem))
        return self.at(named_path) if named_path.name else Problem("no_photograph", f"{file_name} is no file name")


def _below(key: str) -> PurePosixPath:
    return PurePosixPath(key.removeprefix("raw/uploads/"))
