"""Finds the names of a folder's classes: what the class ids of its YOLO label files mean.

Tools keep them in files of many names, which are all looked for; where two disagree, nothing is chosen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from carsdepo_assets.data.folders.file_contents import text_content
from carsdepo_assets.data.folders.folder_files import is_hidden, list_folder
from carsdepo_assets.lake.text_files import decoded, plain_name

# What PyYAML's conversions raise of values that are no date, number or text.
_NO_VALUE = (ValueError, TypeError, AttributeError, ArithmeticError, LookupError)
# A line a class: YOLO's and labelImg's, CVAT's YOLO 1.1, Roboflow's Darknet, and what people call their own.
_LISTS = re.compile(
    r"(predefined[_-])?(class(es)?|class[_-]?names|names|labels?|label[_-]?map|categories)\.txt|.*\.(names|labels)"
)
_NOTES = re.compile(r"notes\.json")  # Label Studio's
_YAML = re.compile(r".*\.ya?ml")
# Of the folder above, only files that belong to a dataset by their name, in any case: others there may be of anything.
USUAL_NAMES = {
    "classes.txt", "predefined_classes.txt", "obj.names", "_darknet.labels", "classes.names", "notes.json",
    "data.yaml", "data.yml", "dataset.yaml", "dataset.yml",
}  # fmt: skip
_LONGEST_NAME = 1000  # characters
_DATASET = re.compile(r"data(set)?\.ya?ml")


class ClassNamesError(ValueError):
    """A file with names of classes cannot be read, or two disagree; the message says which and what to do."""


@dataclass(frozen=True)
class ClassNames:
    """The names of a folder's classes, with their origin."""

    by_id: dict[str, str]
    """The name by the folder's class id, as text."""
    origin: str
    """The files, as paths, or what else gave them."""


def find_class_names(folder: Path, files: Iterable[Path] | None = None) -> ClassNames | None:
    """The names of a folder's classes by its own files and, failing these, of the folder above.

    Args:
        folder: the folder.
        files: those of its files that may hold names (`may_hold_names`); None: it is searched for them.

    Returns:
        None where no file has any.

    Raises:
        ClassNamesError: A file cannot be read, or two files disagree.
    """
    if files is None:
        listed = list_folder(folder).files
        files = [file.real for file in listed if not is_hidden(file.path) and may_hold_names(file.path)]
    inside = sorted(files, key=lambda file: (len(file.parts), str(file)))
    return _agreed(iter(inside)) or _agreed(_above(folder))


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
    return plain_name(name)


def may_hold_names(path: str) -> bool:
    """Whether a file, by its name, may hold names of classes."""
    name = PurePosixPath(path).name.casefold()
    return any(kind.fullmatch(name) for kind in (_LISTS, _NOTES, _YAML))


def _above(folder: Path) -> Iterator[Path]:
    above = folder.resolve().parent
    try:
        files = sorted(file for file in above.iterdir() if may_hold_names(file.name) and file.is_file())
    except PermissionError:
        return
    own = same_name(folder.resolve().name)
    for file in files:
        name = file.name.casefold()
        if name in USUAL_NAMES or (same_name(file.stem) == own and _YAML.fullmatch(name)):
            yield file


def _agreed(files: Iterator[Path]) -> ClassNames | None:
    """The names of all files together."""
    by_id: dict[str, str] = {}
    origins: dict[str, Path] = {}
    for file in files:
        for source, name in read_class_names(file).items():
            before = by_id.setdefault(source, name)
            first = origins.setdefault(source, file)
            if same_name(before) != same_name(name):
                raise ClassNamesError(
                    f"{first} and {file} disagree: class {source} is {before} in one and {name} in the other. Remove "
                    "the wrong file, import the folders apart, or say which holds, as in --classes "
                    f"{','.join(by_id.values())}."
                )
    return ClassNames(by_id, ", ".join(sorted({str(f) for f in origins.values()}))) if by_id else None


def read_class_names(file: Path) -> dict[str, str]:
    """The names in a file, by class id as text.

    Raises:
        ClassNamesError: The file cannot be read.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ClassNamesError(f"{file}: cannot be read: {error.strerror}.") from error
    return names_in(file, data)


def names_in(file: PurePath, data: bytes) -> dict[str, str]:
    """The name by class id, as text, of one file; {} where it holds something else, such as lines of labels.

    Args:
        file: its path, of which the name says how it is read.
        data: its bytes.

    Raises:
        ClassNamesError: It cannot be read.
    """
    name = file.name.casefold()
    read: Callable[[PurePath, str], dict[str, str]] = _of_yaml
    if _LISTS.fullmatch(name):
        read = _of_list
    elif _NOTES.fullmatch(name):
        read = _of_notes
    try:
        text = decoded(data)
    except ValueError as error:
        raise ClassNamesError(f"{file}: {error}.") from error
    if read is _of_list and text_content(data) != "text":
        return {}
    return {i: " ".join(one.split()) for i, one in read(file, text).items()}


def _of_list(file: PurePath, text: str) -> dict[str, str]:
    lines = text.rstrip().splitlines()
    if len(lines) == 1 and "," in lines[0]:  # all names in one line
        lines = lines[0].split(",")
    return {str(i): line for i, line in enumerate(lines) if line.strip()}


def _of_notes(file: PurePath, text: str) -> dict[str, str]:
    try:
        categories = json.loads(text)["categories"]
        return {str(int(c["id"])): str(c["name"]) for c in categories}
    except (*_NO_VALUE, RecursionError) as error:  # JSON's Infinity is no id either
        raise ClassNamesError(
            f"{file}: not Label Studio's list of categories: {type(error).__name__}: {error}"
        ) from error


def _of_yaml(file: PurePath, text: str) -> dict[str, str]:
    """The `names` of Ultralytics' YAML; {} where it has none, since a folder may hold other YAML."""
    import yaml

    is_dataset = _DATASET.fullmatch(file.name.casefold()) is not None
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
        by_id = dict(names)
        if by_id and all(_is_number(name) and not _is_number(i) for i, name in by_id.items()):
            by_id = {name: i for i, name in by_id.items()}  # the name first, as some write it
        return {_id(i): _name(file, name) for i, name in by_id.items()}
    if isinstance(names, str):
        names = names.split(",")
    if isinstance(names, list):
        return {str(i): _name(file, name) for i, name in enumerate(names)}
    return {}


def _is_number(value: Any) -> bool:
    return (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, str) and value.isdecimal())


def _id(value: Any) -> str:
    """A class id as label files write it, without zeros before it."""
    return str(int(value)) if _is_number(value) and len(str(value)) < 10 else str(value)


def _name(file: PurePath, value: Any) -> str:
    # A list or a table is no name, and anchors make a few bytes of YAML one of millions of characters.
    if isinstance(value, (dict, list, set, tuple)) or len(text := str(value)) > _LONGEST_NAME:
        raise ClassNamesError(f"{file}: a name under `names` is no text of at most {_LONGEST_NAME} characters.")
    return text
