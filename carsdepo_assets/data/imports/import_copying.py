"""Copies the recognised files of a folder into raw/: compares them with what stands there, and refuses what differs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carsdepo_assets.data.batches.batches import is_label, is_photograph
from carsdepo_assets.data.datasets.declared_splits import DeclaredSplits
from carsdepo_assets.data.folders.counts import counted
from carsdepo_assets.data.folders.layout_names import folded
from carsdepo_assets.data.folders.manifest_csv import MANIFEST
from carsdepo_assets.data.imports.account import FileOutcome, ImportState
from carsdepo_assets.data.imports.class_mapping import ClassMapping
from carsdepo_assets.data.imports.import_findings import SheetFinding, look_at_sheets
from carsdepo_assets.data.imports.import_refusals import ImportRefused
from carsdepo_assets.data.imports.import_states import accepted_keys
from carsdepo_assets.data.imports.layouts import FileKind, FileUse, Layout
from carsdepo_assets.data.labels.formats.documents import ClassTargets
from carsdepo_assets.data.labels.import_records import (
    class_id_clash,
    class_ids_before,
    is_unfinished,
    read_import_record,
    write_import_record,
)
from carsdepo_assets.data.objects.manifests import record_digest
from carsdepo_assets.lake.annotator_folders import annotator_folder
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy

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
    notes: tuple[str, ...] = ()
    """What a person should know of files of metadata and of earlier imports."""
    annotator: str | None = None
    """Who drew the labels that name nobody themselves."""

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
        what = f"{counted(self.photographs, 'photograph')}, {counted(self.labels, 'label file')}"
        names = f"; names of classes: {self.mapping.origin}" if self.mapping.origin else ""
        splits = f"; {self.splits}" if self.splits else ""
        who = f"; annotator: {self.annotator}" if self.annotator is not None else ""
        there = f"{self.copied} copied, {self.reused} were there already"
        return f"{what} into raw/*/{self.name}: {there}{who}{names}{splits}"


class FolderCopy:
    """The way of a folder's files into raw/.

    Args:
        lake: where they are copied to; None: there is none yet, and nothing is copied.
        layout: what was recognised in the folder; files that are refused here get their reason in it.
        name: of the import.
        annotator: who drew its labels; None: nobody is named.
    """

    def __init__(self, lake: Lake | None, layout: Layout, name: str, annotator: str | None = None) -> None:
        self._lake, self._layout, self._name, self._annotator = lake, layout, name, annotator
        self.labels_folder = name if annotator is None else annotator_folder(name, annotator)
        self._prefixes = {
            FileKind.PHOTOGRAPH: f"raw/uploads/{name}/",
            FileKind.SIDECAR: f"raw/uploads/{name}/",
            FileKind.LABELS: f"raw/labels/{self.labels_folder}/",
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
        before = read_import_record(self._lake, self.labels_folder) if self._lake is not None else None
        options = record["options"]
        if labels and (clash := class_id_clash(before, labels, options["class_ids"], policy.class_map.names)):
            raise ImportRefused(
                f"{counted(len(labels), 'label file')} under {self._name!r}, first {labels[0]}, came from "
                f"elsewhere than {self._layout.folder}: {clash} rename this folder, or give it another name by --name, "
                "and import it under its new name."
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
        before = read_import_record(lake, self.labels_folder)
        if self._annotator is not None and read_import_record(lake, self._name) is None:
            write_import_record(lake, self._name, _of_photographs_alone(record, self._name))
        ids_before = class_ids_before(before, rewritten, policy.class_map.names)
        # Until the last label file is replaced some have the class ids of before, and no record is true of them all.
        unfinished = is_unfinished(before) or (bool(rewritten) and ids_before != record["options"]["class_ids"])
        # Before the files, so that whoever closes their batch first finds what the labels' class ids mean; sidecars
        # before photographs, since they are read together; labels last.
        write_import_record(lake, self.labels_folder, {**record, "unfinished": True} if unfinished else record)
        behind, total = 0, sum(len(part) for part in parts.values())
        for part in parts.values():
            for _ in self._write(lake, part):
                behind += 1
                if progress is not None:
                    progress(behind, total)
        write_import_record(lake, self.labels_folder, record)
        return total

    def files(self, kind: FileKind) -> dict[str, Path]:
        """The files of a kind that are copied, by their paths below the import's folder in raw/."""
        return {use.target: use.real for use in self._layout.of(kind) if use.target is not None}

    def result(
        self, mapping: ClassMapping, declared: DeclaredSplits, copied: int, notes: Sequence[str] = ()
    ) -> ImportResult:
        """What became of each file; notes: what else a person should know."""
        uses = {use.path: use for use in self._layout.uses}
        for path in declared.files:
            if (use := uses.get(path)) is not None and use.kind is FileKind.OTHER:
                use.set_aside("says which photograph is in which split")
        findings = self._sheets()
        outcomes = [self._outcome(use, findings.get(use.path)) for use in self._layout.uses]
        outcomes += [
            FileOutcome(path, FileKind.OTHER, ImportState.NOT_USED, reason)
            for path, reason in self._layout.listing.no_files.items()
        ]
        keys = {use.path: self._key(use) for use in self._layout.uses if use.target is not None}
        gone = sorted(k for k in self._standing if k not in self._intended and (is_photograph(k) or is_label(k)))
        notes = (*notes, *(f"{path}: {one.note}" for path, one in findings.items() if one.note), *declared.notes)
        return ImportResult(
            self._name, self._layout, mapping, declared.sentence, outcomes, keys, gone, copied, notes, self._annotator
        )

    def _sheets(self) -> dict[str, SheetFinding]:
        """What the files manifest.csv say of the photographs of the folder, and of those that stand below the name."""
        sheets = {
            u.target: u for u in self._layout.of(FileKind.SIDECAR) if u.target and Path(u.target).name == MANIFEST
        }
        if not sheets:
            return {}
        prefix = self._prefixes[FileKind.PHOTOGRAPH]
        standing = [key.removeprefix(prefix) for key in self._standing if key.startswith(prefix) and is_photograph(key)]
        photographs = dict.fromkeys([*self.files(FileKind.PHOTOGRAPH), *standing])
        findings = look_at_sheets({target: use.real for target, use in sheets.items()}, photographs)
        return {sheets[target].path: one for target, one in findings.items()}

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

    def _outcome(self, use: FileUse, sheet: SheetFinding | None) -> FileOutcome:
        if sheet is not None and sheet.useless:
            return FileOutcome(use.path, use.kind, ImportState.NOT_USED, sheet.useless)
        if use.target is not None:
            state = self._states[use.path]
            again = self._has_new_meaning and use.kind is FileKind.LABELS and state is ImportState.UNCHANGED
            return FileOutcome(use.path, use.kind, ImportState.REREAD if again else state)
        if use.twin_of is not None:
            return FileOutcome(use.path, use.kind, ImportState.DUPLICATE, use.reason, use.detail)
        state = ImportState.REFUSED if use.refused else ImportState.NOT_USED
        return FileOutcome(use.path, use.kind, state, use.reason, use.detail)


def _of_photographs_alone(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The record of an import's own folder, where only annotators' folders have labels."""
    return {"origin": record["origin"], "options": {"import": name, "format": "", "class_ids": {}}}
