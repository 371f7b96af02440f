"""Reads which split an export gives each photograph: by its folders, lists of files, COCO files and YAML.

What tools write: `train/images/a.jpg`, `images/val/a.jpg`, `obj_Validation_data/a.jpg` (CVAT), `train.txt` with a path
a line (CVAT, Ultralytics, VOC's ImageSets/Main), `annotations/instances_val2017.json` (COCO), `train:`, `val:` and
`test:` of a data.yaml (Ultralytics, Roboflow). Label files of some formats say it of each photograph (CVAT's `subset`,
a column `split` of Label Studio's data), and so may a column `split` of manifest.csv.
"""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from carsdepo_assets.data.folders.layout_names import SPLIT_NAMES, folded
from carsdepo_assets.data.folders.photograph_names import wanted_names
from carsdepo_assets.lake.text_files import decoded

# Words that say nothing else beside a split's: train2017, obj_train_data, test-set.
_BESIDE = {
    "obj",
    "data",
    "dataset",
    "image",
    "images",
    "img",
    "imgs",
    "label",
    "labels",
    "set",
    "split",
    "list",
    "files",
}
_BESIDE_LIST = {*_BESIDE, "autosplit"}
_BESIDE_COCO = {*_BESIDE, "instances", "annotation", "annotations", "coco", "bbox", "bboxes", "info"}
_MOST_YAML = 1_000_000  # bytes; a longer file is no description of a dataset
# What PyYAML's conversions raise of values that are no date, number or text.
_NO_VALUE = (ValueError, TypeError, AttributeError, ArithmeticError, LookupError)
_SHARE_OF_PATHS = 0.5  # of a list's lines, so that a label file of a photograph `train.jpg` is none


@dataclass(frozen=True)
class SplitClaim:
    """What one kind of file, or the folders, say."""

    splits: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Photographs, as the caller names them, by train, val and test."""
    origins: dict[str, dict[str, None]] = field(default_factory=lambda: defaultdict(dict))
    """The files or folders that say it, likewise."""

    def add(self, split: str, names: Iterable[str], origin: str) -> None:
        """Adds photographs of a split, and what says so."""
        self.splits[split].update(names)
        self.origins[split].setdefault(origin)

    @property
    def name(self) -> str:
        """All files or folders, for a person."""
        return ", ".join(sorted({origin for by_split in self.origins.values() for origin in by_split}))


class Stated(NamedTuple):
    """What a file says of one photograph beside its labels."""

    file: str
    """The file, for a person."""
    photograph: str
    """As the file names it."""
    split: str | None
    """As the file writes it."""
    group: str | None


def split_of_name(name: str, may_stand_beside: set[str] = _BESIDE) -> str | None:
    """The split that a name of a folder or file says, as in `val2017`; None where it says none, or anything besides.

    Args:
        name: of one folder or file, without suffix.
        may_stand_beside: words that may stand beside the split's.
    """
    words = set(re.findall(r"[^\W\d_]+", name.casefold()))
    splits = {SPLIT_NAMES[text] for text in words & SPLIT_NAMES.keys()}
    return splits.pop() if len(splits) == 1 and words <= SPLIT_NAMES.keys() | may_stand_beside else None


def split_claims(
    folder: Path, photographs: Mapping[str, str], stated: Iterable[Stated] = (), rows: Iterable[Stated] = ()
) -> list[SplitClaim]:
    """What each kind of file and the folders say, the most explicit kind first; kinds that say nothing are left out.

    Args:
        folder: of the export.
        photographs: path below the folder, by the name that the caller has for the photograph.
        stated: what label files say of each photograph, which they name in their own way.
        rows: what files manifest.csv say of each photograph, as the caller has its name.
    """
    finder = PhotographFinder(photographs)
    files = list(_candidates(folder))
    claims = [
        _of_statements((one, finder.named(one.photograph)) for one in stated),
        _of_statements((one, one.photograph) for one in rows),
        _of_yaml(folder, [f for f in files if f.suffix.casefold() in (".yaml", ".yml")], finder),
        _of_lists(folder, [f for f in files if f.suffix.casefold() == ".txt"], finder),
        _of_coco(folder, [f for f in files if f.suffix.casefold() == ".json"], finder),
        _of_folders(photographs),
    ]
    return [claim for claim in claims if any(claim.splits.values())]


class PhotographFinder:
    """Finds the photograph that a path of any machine means: by its name and the most of the folders before it."""

    def __init__(self, photographs: Mapping[str, str]) -> None:
        self._by_name: dict[str, list[tuple[list[str], str]]] = defaultdict(list)
        self.folders: dict[str, list[str]] = defaultdict(list)  # "/a/b/" -> photographs right in it
        for name, path in photographs.items():
            parts = _parts(path)
            for key in dict.fromkeys((parts[-1], PurePosixPath(parts[-1]).stem)):
                self._by_name[key].append((parts, name))
            self.folders[f"/{'/'.join(parts[:-1])}/"].append(name)

    def file(self, text: str) -> str | None:
        """The photograph of a path, which may lack its suffix; None where none or several could be meant."""
        parts = _parts(text)
        if not parts:
            return None
        best, names = -1, []
        for own, name in self._by_name.get(parts[-1]) or self._by_name.get(PurePosixPath(parts[-1]).stem, []):
            alike = _alike(own[-2::-1], parts[-2::-1])
            if alike > best:
                best, names = alike, [name]
            elif alike == best:
                names.append(name)
        return names[0] if len(names) == 1 else None

    def named(self, name: str) -> str | None:
        """The photograph that a label file means by a name, which may be an address or have a prefix."""
        forms = ("/".join([*wanted.folders, wanted.name]) for wanted in wanted_names(name, PurePosixPath()))
        return next((file for form in forms if (file := self.file(form)) is not None), None)

    def below(self, text: str) -> list[str]:
        """The photographs below a folder, by the longest end of its path that is a folder here.

        An end such as `images` alone is too common to be meant, unless it is the whole path.
        """
        parts = _parts(text)
        for start in range(len(parts)):
            if start and all(part in _BESIDE for part in parts[start:]):
                break
            end = f"/{'/'.join(parts[start:])}/"
            names = [name for folder, members in self.folders.items() if end in folder for name in members]
            if names:
                return names
        return []


def _parts(path: str) -> list[str]:
    parts = folded(path).strip().strip("\"'").replace("\\", "/").split("/")
    return [part for part in parts if part not in ("", ".", "..")]


def _alike(own: Sequence[str], others: Sequence[str]) -> int:
    """The number of folders, from the innermost on, that two paths share."""
    return next((n for n, (a, b) in enumerate(zip(own, others, strict=False)) if a != b), min(len(own), len(others)))


def _candidates(folder: Path) -> Iterator[Path]:
    """Files that may say a split, by their names and those of their folders."""
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        here = Path(root)
        level = len(here.relative_to(folder).parts)
        for name in sorted(files):
            path = here / name
            stem, suffix = path.stem, path.suffix.casefold()
            if (
                (suffix in (".yaml", ".yml") and level <= 1)
                or (suffix == ".txt" and split_of_name(stem, _BESIDE_LIST))
                or (suffix == ".json" and split_of_name(stem, _BESIDE_COCO))
            ):
                yield path


def _of_folders(photographs: Mapping[str, str]) -> SplitClaim:
    claim = SplitClaim()
    for name, path in photographs.items():
        for part in reversed(PurePosixPath(path).parts[:-1]):
            if split := split_of_name(part):
                claim.add(split, [name], f"{part}/")
                break
    return claim


def _of_statements(stated: Iterable[tuple[Stated, str | None]]) -> SplitClaim:
    claim = SplitClaim()
    for one, name in stated:
        if name is not None and one.split is not None and (split := split_of_name(one.split, _BESIDE_COCO)):
            claim.add(split, [name], one.file)
    return claim


def _of_lists(folder: Path, files: Sequence[Path], finder: PhotographFinder) -> SplitClaim:
    claim = SplitClaim()
    for file in files:
        split = split_of_name(file.stem, _BESIDE_LIST)
        if split and (listed := _listed(file, finder)):
            claim.add(split, listed, file.relative_to(folder).as_posix())
    return claim


def _listed(file: Path, finder: PhotographFinder) -> set[str]:
    """The photographs of a list of paths, one a line; none where most lines are no path of a photograph."""
    try:
        lines = [line for line in decoded(file.read_bytes()).splitlines() if line.strip()]
    except (ValueError, OSError):
        return set()
    names = [name for line in lines if (name := finder.file(line)) is not None]
    return set(names) if len(names) > _SHARE_OF_PATHS * len(lines) else set()


def _of_coco(folder: Path, files: Sequence[Path], finder: PhotographFinder) -> SplitClaim:
    claim = SplitClaim()
    for file in files:
        split = split_of_name(file.stem, _BESIDE_COCO)
        try:
            document = json.loads(file.read_bytes())
        except (ValueError, RecursionError, OSError):
            continue
        images = document.get("images") if isinstance(document, dict) else None
        if not split or not isinstance(images, list):
            continue
        listed = {
            name
            for image in images
            if isinstance(image, dict) and isinstance(image.get("file_name"), str)
            if (name := finder.file(image["file_name"])) is not None
        }
        if listed:
            claim.add(split, listed, file.relative_to(folder).as_posix())
    return claim


def _of_yaml(folder: Path, files: Sequence[Path], finder: PhotographFinder) -> SplitClaim:
    for file in files:
        claim = SplitClaim()
        for key, value in dataset_yaml(file).items():
            split = SPLIT_NAMES.get(str(key).casefold())
            for entry in value if isinstance(value, list) else [value]:
                if split and isinstance(entry, str) and entry.strip():
                    names = _of_entry(folder, file.parent, entry, finder)
                    claim.add(split, names, f"{file.relative_to(folder).as_posix()} ({key}:)")
        # Small examples validate on what they train on: that is no split.
        held_out = claim.splits["val"] | claim.splits["test"]
        if held_out and claim.splits["train"] and not held_out <= claim.splits["train"]:
            return claim
    return SplitClaim()


def _of_entry(folder: Path, yaml_folder: Path, entry: str, finder: PhotographFinder) -> set[str]:
    """The photographs of an entry: a folder, or a list of files in the export."""
    if not entry.casefold().endswith(".txt"):
        return set(finder.below(entry))
    parts = [part for part in entry.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    for base in (yaml_folder, folder):
        for start in range(len(parts)):
            file = base.joinpath(*parts[start:])
            if file.is_file():
                return _listed(file, finder)
    return set()


def dataset_yaml(file: Path) -> dict[Any, Any]:
    """What a data.yaml says; nothing where it cannot be read, which is said where its names of classes are read."""
    import yaml

    try:
        if file.stat().st_size > _MOST_YAML:
            return {}
        document = yaml.safe_load(decoded(file.read_bytes()))
    except (yaml.YAMLError, *_NO_VALUE, RecursionError, OSError):
        return {}
    return document if isinstance(document, dict) else {}
