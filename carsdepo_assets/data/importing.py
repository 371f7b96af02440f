"""Imports a user's folder of photographs and labels into the lake's raw/: whole, once, and resumably."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from carsdepo_assets.data.batches import is_label, is_photograph, list_batches, plan_batches, read_manifest
from carsdepo_assets.data.class_names import (
    ClassNamesError,
    find_class_names,
    is_list_of_names,
    names_of_option,
    same_name,
)
from carsdepo_assets.data.declared_splits import SplitLeaks, find_declared_splits, write_declared_splits
from carsdepo_assets.data.import_records import (
    QUEUE_NAME,
    class_id_clash,
    class_ids_before,
    is_unfinished,
    read_import_record,
    write_import_record,
)
from carsdepo_assets.data.manifest_csv import MANIFEST
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.locks import one_writer
from carsdepo_assets.lake.objects import key_problem
from carsdepo_assets.policy import Policy

# In a folder that anyone filled, only these are taken for photographs; under images/ everything is.
PHOTOGRAPH_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".heic", ".avif"}
_NOT_YOLO = {"readme.txt", "license.txt", "licence.txt", "train.txt", "val.txt", "test.txt"}
_WRITERS = 4
_CLASS_DIGITS = 9  # as many as ingestion reads


class ImportRefused(ValueError):
    """The folder cannot be imported as it is; nothing was copied. The message says what to do."""


class ClassesUnknown(ImportRefused):
    """Nothing says what the class ids of the folder's YOLO labels mean."""

    def __init__(self, folder: Path, boxes: Mapping[str, int]) -> None:
        ids = ", ".join(f"{i} ({boxes[i]} boxes)" for i in sorted(boxes, key=int))
        super().__init__(
            f"{folder}: no file says what the class ids {ids} mean: no data.yaml, classes.txt, obj.names or the like "
            "is there. Say it by --classes with the name of 0, of 1 and so on, as in --classes scratch,dent."
        )


@dataclass(frozen=True)
class ImportResult:
    """What an import has copied."""

    name: str
    upload_batches: list[str]
    """Ids of every batch that holds photographs of this import, those of earlier calls too."""
    photographs: int
    labels: int
    """The number of label files."""
    copied: int
    reused: int
    """The number of files whose bytes were in raw/ already."""
    class_ids: Mapping[str, int] = field(default_factory=dict)
    """Our class id by the folder's class id, as text."""
    class_names_from: str = ""
    """What says how the classes are called: files, `--classes`, or the COCO files; empty where nothing had to."""
    splits: str = ""
    """Which split the folder gives its photographs, and what is missing there; empty where it says none."""

    @property
    def summary(self) -> str:
        """One line for a person: what was imported, and how much of it was there already."""
        what = f"{self.photographs} photographs, {self.labels} label files"
        names = f"; names of classes: {self.class_names_from}" if self.class_names_from else ""
        splits = f"; {self.splits}" if self.splits else ""
        return f"{what} into raw/*/{self.name}: {self.copied} copied, {self.reused} were there already{names}{splits}"


@dataclass(frozen=True)
class _Contents:
    photographs: dict[str, Path]  # path below raw/uploads/NAME -> file
    sidecars: dict[str, Path]  # the same
    labels: dict[str, Path]  # path below raw/labels/NAME -> file


def import_folder(
    lake: Lake,
    folder: Path,
    format: str,
    mapping: Mapping[str, str],
    policy: Policy,
    now: datetime,
    origin: str | None = None,
    name: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    classes: str | None = None,
    resplit: bool = False,
) -> ImportResult:
    """Copies a folder's images/ (or its own files), labels/ and manifest.csv into raw/, and closes the upload batches.

    A file whose bytes are in raw/ already is left alone. A changed label file or manifest.csv replaces the one imported
    before; a changed photograph is refused.

    Args:
        lake: where to import to.
        folder: the user's folder.
        format: yolo or coco.
        mapping: our class name by the folder's class name or id.
        policy: the class map and the section `data` are used.
        now: the present, with a time zone.
        origin: stored with the labels; by default the format.
        name: of the import, and of its folders below raw/uploads and raw/labels; by default the folder's own.
        progress: called with the number of files copied and of all that are to be copied.
        classes: names of the folder's class ids 0, 1 and so on, with commas; None: files of the folder say them.
        resplit: deal the photographs to splits anew, whatever split the folder comes with.

    Raises:
        ClassesUnknown: nothing says what the class ids mean; nothing was copied.
        ImportRefused: the folder cannot be imported as it is; nothing was copied.
    """
    if format not in ("yolo", "coco"):
        raise ImportRefused(f"format {format!r} is not known: yolo or coco.")
    folder = Path(folder)
    if not folder.is_dir():
        raise ImportRefused(f"{folder} is not a folder.")
    name = _slug(name or folder.resolve().name)
    if name == QUEUE_NAME:
        raise ImportRefused(f"raw/labels/{name} is the labelling queue's. Rename {folder} and import it again.")
    contents = _contents(folder, format)
    if not contents.photographs:
        raise ImportRefused(f"{folder}: no photographs, neither below images/ nor in the folder itself.")
    for files in (contents.photographs, contents.sidecars, contents.labels):
        for file, path in files.items():
            if problem := key_problem(f"raw/uploads/{name}/{file}"):
                raise ImportRefused(f"{str(path)!r} cannot be kept under its name: {problem}. Rename it.")
    class_ids, names_from = _class_ids(folder, contents, format, mapping, policy, classes)
    try:
        declared = find_declared_splits(folder, contents.photographs, contents.sidecars, resplit)
    except SplitLeaks as error:
        raise ImportRefused(str(error)) from error
    options = {"import": name, "format": format, "class_ids": class_ids, **({"resplit": True} if resplit else {})}
    record = {"origin": origin or format, "options": options}
    with one_writer(lake, f"import-{name[:100]}"):  # what stands below the name is looked at, then added to
        write_declared_splits(lake, name, declared, contents.photographs.keys())
        copied = _import(lake, folder, name, contents, record, policy, progress)
    plan_batches(lake, "uploads", policy, now, close_all=True)
    total = len(contents.photographs) + len(contents.sidecars) + len(contents.labels)
    return ImportResult(
        name,
        _holding(lake, f"raw/uploads/{name}/"),
        len(contents.photographs),
        len(contents.labels),
        copied,
        total - copied,
        class_ids,
        names_from,
        declared.sentence,
    )


def _import(
    lake: Lake,
    folder: Path,
    name: str,
    contents: _Contents,
    record: dict[str, Any],
    policy: Policy,
    progress: Callable[[int, int], None] | None,
) -> int:
    """Copies what is not in raw/ yet, and stores the record. Returns the number of files copied."""
    uploads, labels = f"raw/uploads/{name}/", f"raw/labels/{name}/"
    standing = {o.key: o.size for prefix in (uploads, labels) for o in lake.list(prefix)}
    photographs = _missing(lake, standing, uploads, contents.photographs)
    replaced = [key for key, _ in photographs if key in standing]
    if replaced:
        raise ImportRefused(
            f"{len(replaced)} photographs differ from those imported before under {name!r}, first "
            f"{replaced[0]}. Photographs in raw/ are never replaced: import with another name."
        )
    before, class_ids = read_import_record(lake, name), record["options"]["class_ids"]
    ours = {labels + file for file in contents.labels}
    others = sorted(key for key in standing if key.startswith(labels) and is_label(key) and key not in ours)
    if others and (clash := class_id_clash(before, others, class_ids, policy.class_map.names)):
        raise ImportRefused(
            f"{len(others)} label files that stand under {name!r} already, first {others[0]}, are not from {folder}, "
            f"and {clash} rename this folder and import it under its new name."
        )
    sidecars = _missing(lake, standing, uploads, contents.sidecars)
    marks = _missing(lake, standing, labels, contents.labels)
    rewritten = [key for key, _ in marks if key in standing]
    ids_before = class_ids_before(before, rewritten, policy.class_map.names)
    # Until the last label file is replaced some have the class ids of before, and no record is true of them all.
    unfinished = is_unfinished(before) or (bool(rewritten) and ids_before != class_ids)
    # Before the files, so that whoever closes their batch first finds what the labels' class ids mean; sidecars before
    # photographs, since they are read together; labels last.
    write_import_record(lake, name, {**record, "unfinished": True} if unfinished else record)
    behind, copied = 0, len(photographs) + len(sidecars) + len(marks)
    for part in (sidecars, photographs, marks):
        for _ in _copy(lake, part):
            behind += 1
            if progress is not None:
                progress(behind, copied)
    write_import_record(lake, name, record)
    return copied


def _slug(text: str) -> str:
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")
    if not slug:
        raise ImportRefused(f"{text!r} gives no name for the import: pass one of letters and digits.")
    return slug


def _contents(folder: Path, format: str) -> _Contents:
    files = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }
    has_images = any(_below(file, "images") for file in files)
    has_labels = any(_below(file, "labels") for file in files)

    def photograph(file: str) -> bool:
        if has_images:
            return _below(file, "images") and is_photograph(file)
        return not _below(file, "labels") and PurePosixPath(file).suffix.lower() in PHOTOGRAPH_SUFFIXES

    photographs = [file for file in files if photograph(file)]
    stems = {str(PurePosixPath(file).with_suffix("")) for file in photographs}
    documents = {file for file in files if file.endswith(".json") and format == "coco" and _is_coco(files[file])}
    sidecars = [
        file
        for file in files
        if PurePosixPath(file).name == MANIFEST
        or (file.endswith(".json") and file not in documents and file[:-5] in stems)
    ]
    if format == "coco":
        labels = sorted(documents)
        if not labels:
            raise ImportRefused(f"{folder}: no COCO file: a .json with images, annotations and categories.")
    else:
        labels = [
            file
            for file in files
            if file.endswith(".txt")
            and PurePosixPath(file).name.lower() not in _NOT_YOLO
            and not is_list_of_names(file)
            and (_below(file, "labels") if has_labels else file[:-4] in stems)
        ]
    return _Contents(
        _placed(photographs, files, "images"), _placed(sidecars, files, "images"), _placed(labels, files, "labels")
    )


def _below(file: str, folder: str) -> bool:
    return folder in PurePosixPath(file).parts[:-1]


def _placed(names: Iterable[str], files: Mapping[str, Path], dropped: str) -> dict[str, Path]:
    """Paths without their first component `dropped`: images/a.jpg and labels/a.txt get the same stem."""
    placed: dict[str, Path] = {}
    for file in names:
        parts = list(PurePosixPath(file).parts)
        if dropped in parts[:-1]:
            parts.remove(dropped)
        target = "/".join(parts)
        if target in placed:
            raise ImportRefused(f"{file} and {placed[target]} would both become {target}: rename one.")
        placed[target] = files[file]
    return placed


def _class_ids(
    folder: Path, contents: _Contents, format: str, mapping: Mapping[str, str], policy: Policy, classes: str | None
) -> tuple[dict[str, int], str]:
    """The folder's class id, as text -> ours, and what names the classes.

    Raises:
        ImportRefused: classes have none of ours; the message lists them.
    """
    ours = {same_name(name): i for i, name in enumerate(policy.class_map.names)}
    listed = ", ".join(policy.class_map.names)
    wrong = sorted(new for new in mapping.values() if same_name(new) not in ours)
    if wrong:
        raise ImportRefused(f"--map leads to {', '.join(wrong)}, and the classes are {listed}.")
    renamed = {same_name(old): same_name(new) for old, new in mapping.items()}
    if format == "coco":
        (names, used), origin = _coco_classes(contents), "categories of the COCO files"
    else:
        names, used, origin = _yolo_classes(folder, contents, mapping, classes)
    if not names and not used:  # empty label files: what a class id would mean is as without a list
        return {str(i): i for i in range(len(policy.class_map.names))}, ""
    class_ids: dict[str, int] = {}
    unknown: list[str] = []
    for source in sorted({*names, *used}):
        name = names.get(source, source)
        target = renamed.get(same_name(name), renamed.get(source, same_name(name)))
        if target in ours:
            class_ids[source] = ours[target]
        elif source in used:
            unknown.append(f"{name} ({used[source]} boxes)")
    if unknown:
        raise ImportRefused(
            f"{folder}: unknown classes: {', '.join(unknown)}. Ours are {listed}; give --map OLD=NEW for each."
        )
    return class_ids, origin


def _yolo_classes(
    folder: Path, contents: _Contents, mapping: Mapping[str, str], classes: str | None
) -> tuple[dict[str, str], Counter[str], str]:
    """(name by class id; id -> boxes; what names them). Lines that begin with no class id are for ingestion.

    Raises:
        ClassesUnknown: There are boxes, and nothing says what their class ids mean.
    """
    used: Counter[str] = Counter()
    for path in contents.labels.values():
        for number, line in enumerate(path.read_text("utf-8-sig", "replace").splitlines(), 1):
            first = line.split()[:1]
            if first and (match := re.fullmatch(r"(\d+)(\.0+)?", first[0])):
                if len(match[1]) > _CLASS_DIGITS:
                    raise ImportRefused(
                        f"{path}: line {number}: class {match[1][:20]}... has {len(match[1])} digits: it is no class "
                        "id. Correct the line."
                    )
                used[str(int(match[1]))] += 1
    try:
        names = names_of_option(classes) if classes else find_class_names(folder)
    except ClassNamesError as error:
        raise ImportRefused(str(error)) from error
    if names is None:
        unnamed = {source: used[source] for source in used if source not in mapping}
        if unnamed:
            raise ClassesUnknown(folder, unnamed)
        return {}, used, "--map" if used else ""
    return names.by_id, used, names.origin


def _is_coco(path: Path) -> bool:
    return _document(path) is not None


def _document(path: Path) -> dict[str, Any] | None:
    """The file's content, None unless it is COCO. Raises ImportRefused for JSON that cannot be read."""
    try:
        document = json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None
    except RecursionError as error:
        raise ImportRefused(
            f"{path}: nested too deeply to be read. Correct it or take it out of the folder."
        ) from error
    except ValueError as error:  # a number with thousands of digits
        raise ImportRefused(f"{path}: cannot be read: {error}. Correct it or take it out of the folder.") from error
    is_coco = isinstance(document, dict) and {"images", "annotations", "categories"} <= document.keys()
    return document if is_coco else None


def _coco_classes(contents: _Contents) -> tuple[dict[str, str], Counter[str]]:
    names: dict[str, str] = {}
    used: Counter[str] = Counter()
    for path in contents.labels.values():
        document = _document(path)
        if document is None:
            raise ImportRefused(f"{path}: it changed while it was read. Run the import again when it is whole.")
        for part, needed in (("categories", {"id", "name"}), ("annotations", set()), ("images", set())):
            if not isinstance(document[part], list) or not all(
                isinstance(one, dict) and needed <= one.keys() for one in document[part]
            ):
                what = f"objects with {' and '.join(sorted(needed))}" if needed else "objects"
                raise ImportRefused(f"{path}: {part} must be a list of {what}, as COCO has it.")
        for category in document["categories"]:
            source, name = str(category["id"]), str(category["name"])
            if names.setdefault(source, name) != name:
                raise ImportRefused(
                    f"{path}: category {source} is {name} here and {names[source]} in another file: import them apart."
                )
        used.update(str(a["category_id"]) for a in document["annotations"] if "category_id" in a)
    return names, used


def _missing(lake: Lake, standing: Mapping[str, int], prefix: str, files: Mapping[str, Path]) -> list[tuple[str, Path]]:
    """Keys and files whose bytes are not at their key."""

    def same(key: str, path: Path) -> bool:
        return standing.get(key) == path.stat().st_size and lake.get(key) == path.read_bytes()

    return [(prefix + file, path) for file, path in files.items() if not same(prefix + file, path)]


def _copy(lake: Lake, files: list[tuple[str, Path]]) -> Iterator[None]:
    """Yields after each file."""
    with ThreadPoolExecutor(_WRITERS, thread_name_prefix="import") as pool:
        for written in [pool.submit(lambda k, p: lake.put(k, p.read_bytes()), key, path) for key, path in files]:
            written.result()
            yield


def _holding(lake: Lake, prefix: str) -> list[str]:
    return [
        batch
        for batch in list_batches(lake, "uploads")
        if any(o.key.startswith(prefix) for o in read_manifest(lake, "uploads", batch).objects)
    ]
