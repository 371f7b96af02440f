"""Says what the classes of a label file become: by its import's record, else by the names that the file or others have.

YOLO has ids without names. Of files that were dropped without an import, the nearest list of names counts that lies in
the file's folder below raw/labels or above it. Labels that answer our own labelling queue have the policy's ids.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from carsdepo_assets.data.folders.class_names import USUAL_NAMES, ClassNamesError, may_hold_names, names_in, same_name
from carsdepo_assets.data.folders.photograph_names import names_behind_dates, without_prefix
from carsdepo_assets.data.labels.formats.documents import ClassTargets, LabelDocument, Target
from carsdepo_assets.data.labels.formats.parsed import Problem
from carsdepo_assets.data.labels.formats.recognition import Format
from carsdepo_assets.data.labels.import_records import QUEUE_NAME
from carsdepo_assets.data.objects.object_states import sha256_of
from carsdepo_assets.lake.index_rows import OF_LISTS
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import ClassMap

_LABELS = PurePosixPath("raw/labels")
_FROM_LABEL_STUDIO = "notes.json"  # only its exports have it


class LabelClasses:
    """What the classes of the label files of one batch become."""

    def __init__(self, lake: Lake, options: Mapping[str, Any], class_map: ClassMap) -> None:
        """Args: lake: where lists of names may lie; options: of the batch's manifest; class_map: the policy's."""
        self._lake, self._class_map = lake, class_map
        self._of_import: dict[str, Target] = dict(options.get("class_ids") or {})
        self._has_ids_of_yolo = "yolo" in str(options.get("format") or "").split("+")
        self._empty_is_unreviewed = bool(options.get("empty_is_unreviewed"))
        self._ours: dict[str, Target] = {same_name(cause): cause for cause in class_map.not_damage}
        self._ours |= {same_name(name): i for i, name in enumerate(class_map.names)}
        self._lists: dict[PurePosixPath, dict[PurePosixPath, dict[str, str]]] = {}
        self._digests: dict[PurePosixPath, str] = {}
        self._behind_dates: dict[PurePosixPath, dict[str, str]] = {}
        self._meanings: dict[PurePosixPath, str | None] = {}

    def targets(self, path: PurePosixPath, format: Format, document: LabelDocument) -> ClassTargets | Problem:
        """What each class of a file becomes; a Problem where nothing says what they mean.

        Args:
            path: of the label file, below raw/labels.
            format: the file's.
            document: its content.
        """
        if format == "yolo":
            return self._of_ids(path)
        by_name = {same_name(source): target for source, target in self._of_import.items()}
        # The import's record has ids for COCO and names for the others; a name that it lacks is ours or unknown. The
        # ids of a record that is of YOLO files, too, are theirs.
        by_id = {} if self._has_ids_of_yolo else self._of_import
        targets: dict[str, Target] = {}
        for source, name in document.class_names.items():
            for key, meaning in ((source, by_id), (same_name(name), by_name), (same_name(name), self._ours)):
                if key in meaning:
                    targets[source] = meaning[key]
                    break
        return targets if document.class_names else dict(by_id)

    def empty_is_unreviewed(self, path: PurePosixPath) -> bool:
        """Whether an empty YOLO file may be an unfinished task: its import says so, or Label Studio's list of names.

        Label Studio writes an empty file for each task without annotations, finished or not.
        """
        if self._of_import:
            return self._empty_is_unreviewed
        try:
            nearest = self._nearest(path)
        except ClassNamesError:
            return False
        return any(file.name.casefold() == _FROM_LABEL_STUDIO for file in nearest)

    def name_behind_date(self, path: PurePosixPath) -> str | None:
        """The name of a YOLO file, without suffix, behind a prefix that looks like a date, where it may have one of
        Label Studio's; see photograph_names.names_behind_dates."""
        if without_prefix(path.stem, of_label_studio=True) == without_prefix(path.stem):
            return None  # as of most names, so that the folder need not be listed
        folder = path.parent
        if folder not in self._behind_dates:
            label_files = [PurePosixPath(key) for key in self._label_files(folder)]
            stems = {file.stem for file in label_files if file.suffix.lower() == ".txt"}
            self._behind_dates[folder] = names_behind_dates(stems, of_label_studio=self.empty_is_unreviewed(path))
        return self._behind_dates[folder].get(path.stem)

    def _label_files(self, folder: PurePosixPath) -> list[str]:
        """The names of a folder's files that are no lists of names."""
        place = _LABELS / folder
        if self._lake.root is not None:
            names = [file.name for file in (self._lake.root / place).iterdir()]
        else:
            keys = [PurePosixPath(entry.key) for entry in self._lake.list(str(place))]
            names = [key.name for key in keys if key.parent == place]
        return [name for name in names if not may_hold_names(name)]

    @property
    def are_of_lists(self) -> bool:
        """Whether lists of names beside YOLO files say what their class ids mean, and no import does."""
        return not self._of_import

    def lists_digest(self, folder: PurePosixPath) -> str:
        """Names the lists that there are in a folder below raw/labels and above it, with their content."""
        if folder not in self._digests:
            digest = hashlib.sha256()
            for above in (folder, *folder.parents):
                for name in self._files(above):
                    key = str(_LABELS / above / name)
                    digest.update(f"{key}\0{sha256_of(self._lake, key)}\n".encode())
            self._digests[folder] = digest.hexdigest()[:16]
        return self._digests[folder]

    def meaning_by_lists(self, folder: PurePosixPath) -> str | None:
        """Names what the class ids of YOLO files in a folder below raw/labels become by the lists of names near it.

        None where no list says it, where lists disagree or cannot be read, and where an import says it.
        """
        if self._of_import:
            return None
        if folder not in self._meanings:
            targets = self._of_ids(folder / "any.txt")
            text = None if isinstance(targets, Problem) else json.dumps(dict(targets), sort_keys=True)
            digest = None if text is None else hashlib.sha256(text.encode()).hexdigest()[:16]
            self._meanings[folder] = None if digest is None else f"{OF_LISTS}{digest}"
        return self._meanings[folder]

    def _of_ids(self, path: PurePosixPath) -> ClassTargets | Problem:
        if self._of_import:
            return self._of_import
        try:
            lists = self._nearest(path)
        except ClassNamesError as error:
            return Problem("classes_unknown", str(error))
        names: dict[str, str] = {}
        for file, by_id in lists.items():
            for source, name in by_id.items():
                if same_name(names.setdefault(source, name)) != same_name(name):
                    return Problem(
                        "classes_unknown",
                        f"{file} and another list beside it disagree: class {source} is {names[source]} in one and "
                        f"{name} in the other. Remove the wrong one.",
                    )
        if names:
            return {i: self._ours[same_name(name)] for i, name in names.items() if same_name(name) in self._ours}
        if path.parts[0] == QUEUE_NAME:
            return {str(i): i for i in range(len(self._class_map.names))}
        return Problem(
            "classes_unknown",
            "nothing says what its class ids mean: no classes.txt, data.yaml, obj.names or the like lies beside it or "
            f"above it in raw/labels. Import the folder with the names of 0, 1 and so on, as in "
            f"`carsdepo import FOLDER --classes {','.join(self._class_map.names)}`",
        )

    def _nearest(self, path: PurePosixPath) -> dict[PurePosixPath, dict[str, str]]:
        """The lists of names of the nearest folder that has any: by file, the name by class id."""
        for folder in path.parents:
            if str(folder) == "." and path.parts[0] == QUEUE_NAME:
                break  # what lies in raw/labels itself is not about the queue's
            if folder not in self._lists:
                self._lists[folder] = self._in(folder)
            if self._lists[folder]:
                return self._lists[folder]
        return {}

    def _in(self, folder: PurePosixPath) -> dict[PurePosixPath, dict[str, str]]:
        places = [_LABELS / folder / name for name in self._files(folder)]
        lists = {place: names_in(place, self._lake.get(str(place))) for place in places}
        return {file: by_id for file, by_id in lists.items() if by_id}

    def _files(self, folder: PurePosixPath) -> list[str]:
        """The names of the files of a folder that may be lists."""
        place = _LABELS / folder
        if self._lake.root is None:  # on S3 a folder is listed with all below it, which may be every label
            return sorted(name for name in USUAL_NAMES if self._lake.exists(str(place / name)))
        here = self._lake.root / place
        if not here.is_dir():
            return []
        return sorted(file.name for file in here.iterdir() if may_hold_names(file.name) and file.is_file())
