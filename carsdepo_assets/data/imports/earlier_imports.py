"""What earlier imports of a name said about its classes and annotators, where this one says something else or nothing.

Whoever imports a corrected folder again and forgets `--map glass=-` would have glass read as damage: so it is said.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from carsdepo_assets.data.folders.class_names import same_name
from carsdepo_assets.data.imports.class_mapping import ClassMapping, target_name
from carsdepo_assets.data.labels.import_records import import_record_key, read_import_record
from carsdepo_assets.lake.annotator_folders import annotator_folder, import_of
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import ClassMap

Record = Mapping[str, Any]


@dataclass(frozen=True)
class EarlierImports:
    """The records of a name, and what the options of the last import said that this one is compared with."""

    name: str
    records: Mapping[str, Record] = field(default_factory=dict)
    """By folder below raw/labels: the import's own, and those of its annotators."""

    @classmethod
    def read(cls, lake: Lake | None, name: str) -> EarlierImports:
        """Reads the records of an import's name; lake: None where there is none yet."""
        if lake is None:
            return cls(name)
        folder = str(PurePosixPath(import_record_key("any")).parent)
        stems = (PurePosixPath(entry.key).stem for entry in lake.list(folder))
        of_name = sorted({stem for stem in stems if import_of(stem) == name})
        read = ((stem, read_import_record(lake, stem)) for stem in of_name)
        return cls(name, {stem: record for stem, record in read if record is not None})

    def spelling(self, annotator: str) -> str:
        """The name of an annotator as an earlier import wrote it: capitals and spaces make no other one."""
        record = self.records.get(annotator_folder(self.name, annotator), {})
        return str(record.get("options", {}).get("annotator") or annotator)

    def reminder(self, folder: str, mapping: Mapping[str, str], classes: str | None) -> str:
        """A sentence that says which options about classes the earlier import had and this one has not; or "".

        Args:
            folder: below raw/labels, of the labels to import.
            mapping: of `--map` now.
            classes: of `--classes` now.
        """
        asked = self._asked(folder)
        now = {same_name(old) for old in mapping}
        missing = {old: new for old, new in asked["map"].items() if same_name(old) not in now}
        lacks = [part for old, new in missing.items() for part in ("--map", f"{old}={new}")]
        if classes is None and asked["classes"] is not None:
            lacks += ["--classes", asked["classes"]]
        if not lacks:
            return ""
        return (
            f"The earlier import of {self.name} had {shlex.join(lacks)}, and this one has not: give it again, or say "
            "what is right now."
        )

    def asked_now(
        self, folder: str, mapping: Mapping[str, str], classes: str | None, present: Iterable[str]
    ) -> dict[str, Any]:
        """What the record keeps of the options: those of now, and earlier ones of classes that are not there now.

        Args:
            folder: below raw/labels, of the labels to import.
            mapping: of `--map` now.
            classes: of `--classes` now.
            present: names and ids of the classes of the folder.
        """
        here = {same_name(one) for one in (*present, *mapping)}
        kept = {old: new for old, new in self._asked(folder)["map"].items() if same_name(old) not in here}
        return {"map": {**kept, **mapping}, "classes": classes}

    def changes(
        self, folder: str, mapping: ClassMapping, reminder: str, used: Iterable[str], class_map: ClassMap
    ) -> Iterator[str]:
        """Which classes mean something else than in the earlier import, one line for all.

        Args:
            folder: below raw/labels, of the labels to import.
            mapping: what the classes become now.
            reminder: what `reminder` gave.
            used: the classes that label files of the folder use.
            class_map: names our classes.
        """
        before = self._of(folder).get("options", {}).get("class_ids") or {}
        shown = [
            f"{mapping.names.get(source, source)} was {target_name(before[source], class_map)} and is "
            f"{target_name(mapping.targets[source], class_map)} now"
            for source in used
            if source in before and source in mapping.targets and before[source] != mapping.targets[source]
        ]
        if shown:
            what = f"classes have another meaning than in the earlier import of {self.name}: {'; '.join(shown)}"
            yield f"{what}. {reminder}".rstrip(". ")

    def other_annotators(self, folder: str, annotator: str | None, has_labels: bool) -> Iterator[str]:
        """Whose labels of the same photographs are there already, and under which names both count.

        Args:
            folder: below raw/labels, of the labels to import.
            annotator: whom the import names; None: nobody.
            has_labels: whether there are labels to import.
        """
        others = {one: record for one, record in self.records.items() if one != folder}
        named = sorted(record["options"]["annotator"] for record in others.values() if "annotator" in record["options"])
        unnamed = [r["origin"] for one, r in others.items() if one == self.name and r["options"].get("class_ids")]
        if has_labels and annotator is not None and unnamed:
            yield (
                f"an earlier import of {self.name} named no annotator: its labels stay, and count as those of an "
                f"annotator called {unnamed[0]}, beside {annotator}'s"
            )
        if has_labels and annotator is None and named:
            yield (
                f"earlier imports of {self.name} had --annotator ({', '.join(named)}), and this one has not: its "
                "labels count as another annotator's, who is called as their format"
            )

    def _of(self, folder: str) -> Record:
        """The record of the folder; of an annotator's first labels those of the name's other ones."""
        others = (record for _, record in sorted(self.records.items()))
        return self.records.get(folder) or next(others, {})

    def _asked(self, folder: str) -> dict[str, Any]:
        asked = self._of(folder).get("asked") or {}
        return {"map": asked.get("map") or {}, "classes": asked.get("classes")}
