"""Finds the names of a folder's classes: what the class ids of its YOLO label files mean.

Tools keep them in files of many names, which are all looked for; where two disagree, nothing is chosen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from carsdepo_assets.data.text_files import decoded

# What PyYAML's conversions raise of values that are no date, number or text.
_NO_VALUE = (ValueError, TypeError, AttributeError, ArithmeticError, LookupError)
SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}
# A line a class: YOLO's and labelImg's, CVAT's YOLO 1.1, Roboflow's Darknet.
_LISTS = {"classes.txt", "predefined_classes.txt", "obj.names", "_darknet.labels", "classes.names"}
_NOTES = "notes.json"  # Label Studio's
# Of the folder above, only files that belong to a dataset by their name, in any case: others there may be of anything.
USUAL_NAMES = {*_LISTS, _NOTES, "data.yaml", "data.yml", "dataset.yaml", "dataset.yml"}
# Where a list lies besides the folder itself: beside labels or photographs, in one split.
_INSIDE = {"labels", "images", "obj_train_data", *SPLITS}


class ClassNamesError(ValueError):
    """A file with names of classes cannot be read, or two disagree; the message says which and what to do."""


@dataclass(frozen=True)
class ClassNames:
    """The names of a folder's classes, with their origin."""

    by_id: dict[str, str]
    """The name by the folder's class id, as text."""
    origin: str
    """The files, as paths, or what else gave them."""


def find_class_names(folder: Path) -> ClassNames | None:
    """The names of a folder's classes by its own files, those of its sub-folders and, failing these, of the one above.

    Returns:
        None where no file has any.

    Raises:
        ClassNamesError: A file cannot be read, or two files disagree.
    """
    return _agreed(_inside(folder)) or _agreed(_above(folder))


def names_of_option(text: str) -> ClassNames:
    """The names that `--classes a,b` gives to the class ids 0, 1 and so on.

    Raises:
        ClassNamesError: A name is empty, or comes twice.
    """
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise ClassNamesError(f"--classes {text}: a name is empty. Give them as scratch,dent: the name of 0, of 1 ...")
    if len({name.casefold() for name in names}) < len(names):
        raise ClassNamesError(f"--classes {text}: a name comes twice.")
    return ClassNames({str(i): name for i, name in enumerate(names)}, "--classes")


def same_name(name: str) -> str:
    """What makes a name the same as another: neither case nor spaces around it."""
    return " ".join(name.split()).casefold()


def _inside(folder: Path) -> Iterator[Path]:
    """Files of the folder and of those of its sub-folders that may hold names, the folder's own first."""
    levels = [folder]
    for _ in range(3):  # the folder, labels/, labels/train/
        for level in levels:
            yield from sorted(file for file in level.iterdir() if file.is_file() and may_hold_names(file.name))
        levels = [
            inner
            for level in levels
            for inner in sorted(level.iterdir())
            if inner.is_dir() and inner.name.casefold() in _INSIDE
        ]


def _above(folder: Path) -> Iterator[Path]:
    above = folder.resolve().parent
    try:
        files = sorted(file for file in above.iterdir() if file.is_file() and may_hold_names(file.name))
    except PermissionError:
        return
    own = same_name(folder.resolve().name)
    for file in files:
        if file.name.casefold() in USUAL_NAMES or same_name(file.stem) == own:
            yield file


def may_hold_names(name: str) -> bool:
    """Whether a file of this name may be a list of names of classes."""
    name = name.casefold()
    return name in _LISTS or name == _NOTES or name.endswith((".yaml", ".yml"))


def _agreed(files: Iterator[Path]) -> ClassNames | None:
    """The names of all files together."""
    by_id: dict[str, str] = {}
    origins: dict[str, Path] = {}
    for file in files:
        for source, name in names_in(file, file.read_bytes()).items():
            before = by_id.setdefault(source, name)
            first = origins.setdefault(source, file)
            if same_name(before) != same_name(name):
                raise ClassNamesError(
                    f"{first} and {file} disagree: class {source} is {before} in one and {name} in the other. Remove "
                    f"the wrong file, or say which holds, as in --classes {','.join(by_id.values())}."
                )
    return ClassNames(by_id, ", ".join(sorted({str(f) for f in origins.values()}))) if by_id else None


def names_in(file: PurePath, data: bytes) -> dict[str, str]:
    """The name by class id, as text, of one file; {} where it has none.

    Args:
        file: its path, of which the name says how it is read.
        data: its bytes.

    Raises:
        ClassNamesError: It cannot be read.
    """
    name = file.name.casefold()
    read: Callable[[PurePath, str], dict[str, str]] = _of_yaml
    if name in _LISTS:
        read = _of_list
    elif name == _NOTES:
        read = _of_notes
    try:
        text = decoded(data)
    except ValueError as error:
        raise ClassNamesError(f"{file}: {error}.") from error
    return {i: " ".join(one.split()) for i, one in read(file, text).items()}


def _of_list(file: PurePath, text: str) -> dict[str, str]:
    return {str(i): line for i, line in enumerate(text.splitlines()) if line.strip()}


def _of_notes(file: PurePath, text: str) -> dict[str, str]:
    try:
        categories = json.loads(text)["categories"]
        return {str(int(c["id"])): str(c["name"]) for c in categories}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ClassNamesError(
            f"{file}: not Label Studio's list of categories: {type(error).__name__}: {error}"
        ) from error


def _of_yaml(file: PurePath, text: str) -> dict[str, str]:
    """The `names` of Ultralytics' YAML; {} where it has none, since a folder may hold other YAML."""
    import yaml

    is_dataset = file.name.casefold() in USUAL_NAMES
    try:
        document = yaml.safe_load(text)
    except RecursionError as error:
        raise ClassNamesError(
            f"{file}: nested too deeply to be read. It should list the names of the classes."
        ) from error
    except (yaml.YAMLError, *_NO_VALUE) as error:
        if not is_dataset:
            return {}
        raise ClassNamesError(f"{file}: not YAML: {error}") from error
    names: Any = document.get("names") if isinstance(document, dict) else None
    if isinstance(names, dict):
        return {str(i): str(name) for i, name in names.items()}
    if isinstance(names, list):
        return {str(i): str(name) for i, name in enumerate(names)}
    return {}


def is_list_of_names(file: str) -> bool:
    """Whether a path is that of a list of names, so that it is no label file."""
    return PurePosixPath(file).name.casefold() in _LISTS
