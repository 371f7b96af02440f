"""Imports a user's folder of photographs and labels into the lake's raw/: once, and resumably, with an account.

A file that cannot be taken is refused by itself; where its labels or photograph would then be read wrongly, these are
refused with it. What cannot be decided without a person stops the import before anything is copied.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from carsdepo_assets.data.account import FileOutcome, ImportState
from carsdepo_assets.data.batches import is_label, is_photograph, plan_batches
from carsdepo_assets.data.class_mapping import ClassMapping, map_classes
from carsdepo_assets.data.declared_splits import SplitLeaks, find_declared_splits, write_declared_splits
from carsdepo_assets.data.folder_recognition import FORMATS, read_layout
from carsdepo_assets.data.import_names import import_name
from carsdepo_assets.data.import_records import (
    QUEUE_NAME,
    class_id_clash,
    class_ids_before,
    is_unfinished,
    read_import_record,
    write_import_record,
)
from carsdepo_assets.data.import_refusals import ClassesUnknown, ClassesUnmapped, FormatsConflict, ImportRefused
from carsdepo_assets.data.import_states import accepted_keys
from carsdepo_assets.data.label_formats.documents import ClassTargets
from carsdepo_assets.data.layout_names import folded
from carsdepo_assets.data.layouts import FileKind, FileUse, Layout
from carsdepo_assets.data.manifests import record_digest
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.locks import one_writer
from carsdepo_assets.policy import Policy

__all__ = ["ClassesUnknown", "ClassesUnmapped", "FormatsConflict", "ImportRefused", "ImportResult", "import_folder"]

AUTO = "auto"
_WRITERS = 4


@dataclass(frozen=True)
class ImportResult:
    """What an import has copied, or would."""

    name: str
    layout: Layout
    mapping: ClassMapping
    splits: str
    """Which split the folder gives its photographs, and what is missing there; empty where it says none."""
    outcomes: list[FileOutcome]
    """One for each file of the folder, as far as copying decides it: what is accepted is still to be ingested."""
    keys: Mapping[str, str]
    """The key in raw/ by the path of a file that is there now."""
    gone: list[str]
    """Keys of files that an earlier import of this name had and the folder has no more."""
    copied: int

    @property
    def photographs(self) -> int:
        """The number of photographs of the folder that are in raw/."""
        return len(self.layout.of(FileKind.PHOTOGRAPH))

    @property
    def labels(self) -> int:
        """The number of label files of the folder that are in raw/."""
        return len(self.layout.of(FileKind.LABELS))

    @property
    def reused(self) -> int:
        """The number of files whose bytes were in raw/ already."""
        return len(self.keys) - self.copied

    @property
    def class_ids(self) -> ClassTargets:
        """What each class of the label files becomes, by the class as they write it."""
        return self.mapping.targets

    @property
    def summary(self) -> str:
        """One line for a person: what was imported, and how much of it was there already."""
        what = f"{self.photographs} photographs, {self.labels} label files"
        names = f"; names of classes: {self.mapping.origin}" if self.mapping.origin else ""
        splits = f"; {self.splits}" if self.splits else ""
        return f"{what} into raw/*/{self.name}: {self.copied} copied, {self.reused} were there already{names}{splits}"


def import_folder(
    lake: Lake | None,
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
    dry_run: bool = False,
) -> ImportResult:
    """Copies a folder's photographs, labels and metadata into raw/, and closes the upload batches.

    A file whose bytes are in raw/ already is left alone. A changed label file or manifest.csv replaces the one imported
    before; a changed photograph does so only where the one before never became an image. Nothing is deleted.

    Args:
        lake: where to import to; None, with `dry_run`: nothing is there yet.
        folder: the user's folder.
        format: of the labels, one of folder_recognition.FORMATS; auto: as their content says.
        mapping: the new name by the folder's name or id of a class: of one of our classes, of the cause of a hard
            negative, or `-`.
        policy: the class map and the section `data` are used.
        now: the present, with a time zone.
        origin: stored with the labels; by default the format.
        name: of the import, and of its folders below raw/uploads and raw/labels; by default the folder's own.
        progress: called with the number of files copied and of all that are to be copied.
        classes: names of the folder's class ids 0, 1 and so on, with commas; None: files of the folder say them.
        resplit: deal the photographs to splits anew, whatever split the folder comes with.
        dry_run: look only: nothing is written.

    Raises:
        ClassesUnknown: nothing says what the class ids mean; nothing was copied.
        ClassesUnmapped: classes are called as none of ours; nothing was copied.
        FormatsConflict: several formats label the same photographs; nothing was copied.
        ImportRefused: the folder cannot be imported as it is; nothing was copied.
    """
    if format not in (AUTO, *FORMATS):
        raise ImportRefused(f"format {format!r} is not known: {', '.join((AUTO, *FORMATS))}.")
    folder = Path(folder)
    if not folder.is_dir():
        raise ImportRefused(f"{folder} is not a folder.")
    name = import_name(name, folder)
    if name == QUEUE_NAME:
        raise ImportRefused(
            f"raw/labels/{name} is the labelling queue's. Rename {folder}, or give the import another name by --name."
        )
    layout = read_layout(folder, None if format == AUTO else format)
    copying = _Copying(lake, layout, name)
    if not layout.of(FileKind.PHOTOGRAPH) and not copying.has_photographs():
        _refuse_without_photographs(layout)
    class_mapping = map_classes(layout, mapping, classes, policy.class_map)
    form = "+".join(layout.formats) or ("" if format == AUTO else format)
    record: dict[str, Any] = {
        "origin": origin or form or "none",
        "options": {"import": name, "format": form, "class_ids": dict(class_mapping.targets)},
    }
    if layout.from_label_studio and "yolo" in layout.formats:
        record["options"]["empty_is_unreviewed"] = True
    if resplit:
        record["options"]["resplit"] = True
    before = read_import_record(lake, name) if lake is not None else None
    if before is not None and not layout.of(FileKind.LABELS):
        record = before  # photographs alone say nothing about the labels that stand there
    try:
        declared = find_declared_splits(
            folder, copying.files(FileKind.PHOTOGRAPH), copying.files(FileKind.SIDECAR), resplit
        )
    except SplitLeaks as error:
        raise ImportRefused(str(error)) from error
    if lake is None or dry_run:
        copying.decide(policy, record)
        return copying.result(class_mapping, declared.sentence, 0)
    with one_writer(lake, f"import-{name}"):  # what stands below the name is looked at, then added to
        copying.look()
        copying.decide(policy, record)
        write_declared_splits(lake, name, declared, copying.files(FileKind.PHOTOGRAPH).keys())
        copied = copying.copy(lake, record, policy, progress)
    plan_batches(lake, "uploads", policy, now, close_all=True, name=name)
    return copying.result(class_mapping, declared.sentence, copied)


def _refuse_without_photographs(layout: Layout) -> None:
    refused = [use for use in layout.of(FileKind.PHOTOGRAPH, copied=False) if use.refused]
    why = f" {refused[0].path!r}: {refused[0].reason}." if refused else ""
    unreadable = f" These folders cannot be read: {', '.join(layout.listing.unreadable)}." * bool(
        layout.listing.unreadable
    )
    raise ImportRefused(
        f"{layout.folder}: no photographs, neither in the folder nor in the folders below it.{why}{unreadable}"
    )


class _Copying:
    """The way of a folder's files into raw/."""

    def __init__(self, lake: Lake | None, layout: Layout, name: str) -> None:
        self._lake, self._layout, self._name = lake, layout, name
        self._prefixes = {
            FileKind.PHOTOGRAPH: f"raw/uploads/{name}/",
            FileKind.SIDECAR: f"raw/uploads/{name}/",
            FileKind.LABELS: f"raw/labels/{name}/",
        }
        self._states: dict[str, ImportState] = {}  # by path
        self._standing: dict[str, int] = {}
        self._intended: set[str] = set()
        self._has_new_meaning = False
        self.look()

    def look(self) -> None:
        """Lists what stands below the name."""
        prefixes = dict.fromkeys(self._prefixes.values())
        if self._lake is not None:
            self._standing = {o.key: o.size for prefix in prefixes for o in self._lake.list(prefix)}

    def has_photographs(self) -> bool:
        """Whether photographs of an earlier import stand below the name."""
        return any(key.startswith("raw/uploads/") and is_photograph(key) for key in self._standing)

    def decide(self, policy: Policy, record: dict[str, Any]) -> None:
        """Compares the files with what stands below the name. The record takes in the classes of files that stay there.

        Raises:
            ImportRefused: label files that stand there are not the folder's, and would be read with other class ids.
        """
        kept = [use for use in self._layout.uses if use.target is not None]
        self._intended = {self._key(use) for use in kept}
        self._states = {}
        for use in kept:
            self._compare(use)
        self._refuse_changed_photographs()
        others = sorted(k for k in self._standing if k.startswith("raw/labels/") and k not in self._intended)
        labels = [key for key in others if is_label(key)]
        before = read_import_record(self._lake, self._name) if self._lake is not None else None
        options = record["options"]
        if labels and (clash := class_id_clash(before, labels, options["class_ids"], policy.class_map.names)):
            raise ImportRefused(
                f"{len(labels)} label files that stand under {self._name!r} already, first {labels[0]}, are not from "
                f"{self._layout.folder}, and {clash} rename this folder, or give it another name by --name, and import "
                "it under its new name."
            )
        if labels:
            of_others = class_ids_before(before, labels, policy.class_map.names) or {}
            record["options"] = options = {**options, "class_ids": {**of_others, **options["class_ids"]}}
        # What the folder has no more says nothing against its other files: it may be an export of before.
        if others and self._layout.of(FileKind.LABELS):
            record["gone"] = others
        self._has_new_meaning = before is not None and record_digest(before["options"]) != record_digest(options)

    def copy(
        self, lake: Lake, record: dict[str, Any], policy: Policy, progress: Callable[[int, int], None] | None
    ) -> int:
        """Copies what is not in raw/ yet, and stores the record. Returns the number of files copied."""
        parts = {
            kind: [use for use in self._layout.of(kind) if self._states[use.path] is not ImportState.UNCHANGED]
            for kind in (FileKind.SIDECAR, FileKind.PHOTOGRAPH, FileKind.LABELS)
        }
        rewritten = [self._key(u) for u in parts[FileKind.LABELS] if self._states[u.path] is ImportState.REPLACED]
        before = read_import_record(lake, self._name)
        ids_before = class_ids_before(before, rewritten, policy.class_map.names)
        # Until the last label file is replaced some have the class ids of before, and no record is true of them all.
        unfinished = is_unfinished(before) or (bool(rewritten) and ids_before != record["options"]["class_ids"])
        # Before the files, so that whoever closes their batch first finds what the labels' class ids mean; sidecars
        # before photographs, since they are read together; labels last.
        write_import_record(lake, self._name, {**record, "unfinished": True} if unfinished else record)
        behind, total = 0, sum(len(part) for part in parts.values())
        for part in parts.values():
            for _ in self._write(lake, part):
                behind += 1
                if progress is not None:
                    progress(behind, total)
        write_import_record(lake, self._name, record)
        return total

    def files(self, kind: FileKind) -> dict[str, Path]:
        """The files of a kind that are copied, by their paths below the import's folder in raw/."""
        return {use.target: use.real for use in self._layout.of(kind) if use.target is not None}

    def result(self, mapping: ClassMapping, splits: str, copied: int) -> ImportResult:
        """What became of each file."""
        outcomes = [self._outcome(use) for use in self._layout.uses]
        outcomes += [
            FileOutcome(path, FileKind.OTHER, ImportState.NOT_USED, reason)
            for path, reason in self._layout.listing.no_files.items()
        ]
        keys = {use.path: self._key(use) for use in self._layout.uses if use.target is not None}
        gone = sorted(k for k in self._standing if k not in self._intended and (is_photograph(k) or is_label(k)))
        return ImportResult(self._name, self._layout, mapping, splits, outcomes, keys, gone, copied)

    def _key(self, use: FileUse) -> str:
        return f"{self._prefixes[use.kind]}{use.target}"

    def _compare(self, use: FileUse) -> None:
        key = self._key(use)
        try:
            if key not in self._standing:
                readable = os.access(use.real, os.R_OK)
                state = ImportState.NEW
            else:
                readable = True
                same = self._standing[key] == use.real.stat().st_size and self._same_bytes(key, use)
                state = ImportState.UNCHANGED if same else ImportState.REPLACED
        except OSError:
            readable = False
        if readable:
            self._states[use.path] = state
        else:
            use.set_aside("cannot be read", refused=True)

    def _same_bytes(self, key: str, use: FileUse) -> bool:
        return self._lake is not None and self._lake.get(key) == use.real.read_bytes()

    def _refuse_changed_photographs(self) -> None:
        """A photograph is replaced only where it never became an image: labels would go to another photograph.

        A photograph that was half copied, and is whole now, is such a one.
        """
        changed = [u for u in self._layout.of(FileKind.PHOTOGRAPH) if self._states[u.path] is ImportState.REPLACED]
        if not changed or self._lake is None:
            return
        images = accepted_keys(self._lake, [self._key(use) for use in changed])
        refused = {use.path: use for use in changed if self._key(use) in images}
        for use in refused.values():
            use.set_aside(
                "differs from the photograph imported before under this name: import with --name", refused=True
            )
        names = {folded(Path(path).name) for path in refused}
        for use in self._layout.of(FileKind.LABELS):
            of_refused = not refused.keys().isdisjoint(use.photographs) or any(
                folded(n.replace("\\", "/").rpartition("/")[2]) in names for n in use.names
            )
            if of_refused and self._states[use.path] is not ImportState.UNCHANGED:
                use.set_aside("labels a photograph that was refused: import with --name", refused=True)

    def _write(self, lake: Lake, uses: list[FileUse]) -> Iterator[None]:
        """Yields after each file."""

        def put(use: FileUse) -> None:
            try:
                data = use.real.read_bytes()
            except OSError as error:
                use.set_aside("cannot be read", str(error.strerror), refused=True)
                return
            lake.put(self._key(use), data)

        with ThreadPoolExecutor(_WRITERS, thread_name_prefix="import") as pool:
            try:
                for written in [pool.submit(put, use) for use in uses]:
                    written.result()
                    yield
            except BaseException:  # Ctrl-C or a full disk: the pool's end waits for what is not begun, too
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _outcome(self, use: FileUse) -> FileOutcome:
        if use.target is not None:
            state = self._states[use.path]
            again = self._has_new_meaning and use.kind is FileKind.LABELS and state is ImportState.UNCHANGED
            return FileOutcome(use.path, use.kind, ImportState.REREAD if again else state)
        if use.twin_of is not None:
            return FileOutcome(use.path, use.kind, ImportState.DUPLICATE, use.reason, use.detail)
        state = ImportState.REFUSED if use.refused else ImportState.NOT_USED
        return FileOutcome(use.path, use.kind, state, use.reason, use.detail)
