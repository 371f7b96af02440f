"""Sorts the files of a folder by name and content; see layouts.Layout for what comes out."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path, PurePosixPath
from typing import cast, get_args

from carsdepo_assets.data.folders.class_names import ClassNamesError, may_hold_names, read_class_names
from carsdepo_assets.data.folders.counts import counted
from carsdepo_assets.data.folders.file_contents import (
    SUFFIXES,
    has_boxes_in_json,
    has_boxes_in_xml,
    is_label_table,
    json_problem,
    text_content,
    xml_problem,
)
from carsdepo_assets.data.folders.folder_files import FolderFile, list_folder
from carsdepo_assets.data.folders.layout_names import folded, is_for_labels, is_for_photographs
from carsdepo_assets.data.folders.manifest_csv import MANIFEST
from carsdepo_assets.data.imports.doubtful_files import FilesWithIds, match_behind_dates
from carsdepo_assets.data.imports.import_refusals import ClassUse, FormatsConflict, ImportRefused
from carsdepo_assets.data.imports.layout_targets import set_targets
from carsdepo_assets.data.imports.layouts import FileKind, FileUse, Layout, is_of_label_studio, last_part
from carsdepo_assets.data.imports.photograph_index import PhotographIndex
from carsdepo_assets.data.imports.recognition_by_name import decided_by_name
from carsdepo_assets.data.labels.formats import Format, NotReadable, read_document, recognise
from carsdepo_assets.data.labels.formats.documents import LabelDocument

FORMATS = tuple(form for form in get_args(Format) if form != "predictions")
OF_ONE_PHOTOGRAPH = {"yolo", "voc", "labelme"}
"""Formats with a label file for each photograph, which is called like it."""


def read_layout(folder: Path, format: str | None = None) -> Layout:
    """Recognises the files of a folder.

    Args:
        folder: the folder that a user imports.
        format: of the label files; None: as their content says.

    Raises:
        FormatsConflict: label files of several formats label the same photographs.
        ImportRefused: there are no label files of the given format, though others.
    """
    return _Recognition(Path(folder), format).layout()


class _Recognition:
    def __init__(self, folder: Path, format: str | None) -> None:
        if format is not None and format not in FORMATS:
            raise ImportRefused(f"format {format!r} is not known: {', '.join(FORMATS)}.")
        self._folder = folder
        self._format = cast("Format | None", format)
        self._listing = list_folder(folder)
        self._uses: dict[str, FileUse] = {}
        self._index = PhotographIndex(())
        self._classes: dict[str, dict[str, ClassUse]] = defaultdict(dict)  # by format, then by class
        self._names: dict[str, dict[str, str]] = defaultdict(dict)
        self._clashing: dict[str, dict[str, str]] = defaultdict(dict)
        self._labelled: dict[str, dict[str, str]] = defaultdict(dict)  # by format: folded name -> name
        self._places_matched: set[str] = set()  # folders with a label file at its photograph's place
        self._with_ids = FilesWithIds()
        self._empty: set[str] = set()
        self._unknown: dict[str, str] = {}  # what holds boxes in no format that is read
        self._silent: set[str] = set()  # empty label files of a photograph

    def layout(self) -> Layout:
        self._uses = {file.path: FileUse(file.path, file.real, FileKind.OTHER) for file in self._listing.files}
        candidates = [file for file in self._listing.files if not decided_by_name(self._uses[file.path])]
        pictures = [path for path, use in self._uses.items() if use.kind is FileKind.PHOTOGRAPH]
        self._index = PhotographIndex(pictures)
        self._set_pictures_of_labels_aside(pictures)
        for file in candidates:
            self._by_content(file)
        self._match_the_rest()
        self._set_silence_beside_predictions_aside()
        formats = self._choose()
        self._set_unknown_labels_aside(are_labels=not formats)
        uses = [self._uses[file.path] for file in self._listing.files]
        nameless, notes = self._with_ids.settle() if "coco" in formats else ({}, [])
        set_targets(uses, self._folder)
        return Layout(
            self._folder,
            self._listing,
            uses,
            formats,
            {
                self._class(form, source, formats): use
                for form in formats
                for source, use in self._classes[form].items()
            },
            {
                self._class(form, source, formats): name
                for form in formats
                for source, name in self._names[form].items()
            },
            nameless,
            tuple(notes),
            self._clashes(formats),
        )

    def _set_pictures_of_labels_aside(self, pictures: list[str]) -> None:
        """Pictures in a folder of labels (masks, previews) are no photographs where the photographs lie elsewhere."""
        own = {path for path in pictures if _lies_with_labels(path)}
        if not own or len(own) == len(pictures):
            return
        index = PhotographIndex(path for path in pictures if path not in own)
        twins = {path for path in own if index.at_place(path)}
        for path in twins:
            self._uses[path].kind = FileKind.OTHER
            self._uses[path].reason = "a picture among labels, whose photograph lies elsewhere"
        self._index = PhotographIndex(path for path in pictures if path not in twins)

    def _by_content(self, file: FolderFile) -> None:
        use, path = self._uses[file.path], PurePosixPath(file.path)
        try:
            data = file.real.read_bytes()
        except OSError as error:
            use.set_aside("cannot be read", str(error.strerror), refused=True)
            return
        suffix = path.suffix.lower()
        if suffix == ".csv":
            self._table(use, data)
        elif suffix == ".txt":
            self._text(use, data)
        elif suffix in SUFFIXES and (form := recognise(path.name, data)) is not None:
            self._labels(use, form, data)
        elif suffix == ".json":
            self._json(use, data)
        elif suffix == ".xml":
            problem = xml_problem(data)
            if problem is not None:
                use.set_aside("no whole XML", problem, refused=True)
            elif has_boxes_in_xml(data):
                self._unknown[use.path] = "XML with boxes"
            else:
                use.set_aside("XML without labels")
        elif may_hold_names(file.path):
            self._list_of_names(use, "no names of classes")
        else:
            use.set_aside("no labels, by its content")

    def _table(self, use: FileUse, data: bytes) -> None:
        if PurePosixPath(use.path).name.casefold() == MANIFEST:
            use.kind = FileKind.SIDECAR
        elif is_label_table(data):
            _refuse_unknown_labels(use, "a table of boxes")
        else:
            use.set_aside(f"a table; only {MANIFEST} is read")

    def _text(self, use: FileUse, data: bytes) -> None:
        matched, form = self._index.at_place(use.path), recognise(use.path, data)
        if matched and form is not None and data.strip():
            self._labels(use, form, data)
            return
        content = text_content(data)
        if not matched and is_label_table(data):
            self._unknown[use.path] = "a list of photographs with boxes"
        elif content == "paths":
            use.set_aside("a list of photographs")
        elif may_hold_names(use.path) and (form is None or (content == "no text" and not matched)):
            self._list_of_names(use, "a text without labels")
        elif matched or (form is not None and content not in ("empty", "no text")):
            if content == "empty":
                self._silent.add(use.path)
            self._labels(use, form if form is not None else "yolo", data)
        else:
            if content == "empty":
                self._empty.add(use.path)
            use.set_aside(f"{'an empty' if content == 'empty' else 'a'} text, and no photograph has its name")

    def _set_silence_beside_predictions_aside(self) -> None:
        """An empty file says "no damage"; among predictions it is a model that says so."""
        first: dict[PurePosixPath, str] = {}
        for use in self._uses.values():
            if use.format == "predictions":
                first.setdefault(PurePosixPath(use.path).parent, use.path)
        for path in self._silent:
            prediction = first.get(PurePosixPath(path).parent)
            if prediction is not None:
                # Other words than those of the predictions, so that the account names both.
                self._uses[path].set_aside(
                    "empty, which a model may have written: predictions lie beside it",
                    f"such as {prediction}",
                    refused=True,
                )

    def _set_unknown_labels_aside(self, are_labels: bool) -> None:
        """Boxes in a format that is not read: the labels, where there are no others; else they may be anything."""
        for path, what in self._unknown.items():
            if are_labels:
                _refuse_unknown_labels(self._uses[path], what)
            else:
                self._uses[path].set_aside(f"{what}, which is no format that is read")

    def _list_of_names(self, use: FileUse, otherwise: str) -> None:
        """One that cannot be read stops the import where the names are needed."""
        try:
            is_list = bool(read_class_names(use.real))
        except ClassNamesError as error:
            use.kind = FileKind.NAMES
            is_json = use.path.lower().endswith(".json")
            use.set_aside("a list of names that cannot be read", str(error), refused=is_json)
            return
        if is_list:
            use.kind = FileKind.NAMES
        use.set_aside("says how classes are called" if is_list else otherwise)

    def _json(self, use: FileUse, data: bytes) -> None:
        problem = json_problem(data)
        if may_hold_names(use.path):
            self._list_of_names(use, "no names of classes")
        elif self._index.at_place(use.path) and self._format not in SUFFIXES[".json"]:
            use.kind = FileKind.SIDECAR
            if problem is not None:
                use.set_aside("metadata that cannot be read", problem, refused=True)
        elif problem is not None:
            use.set_aside("no whole JSON", problem, refused=True)
        elif self._format in SUFFIXES[".json"]:
            self._labels(use, self._format, data)
        elif has_boxes_in_json(data):
            self._unknown[use.path] = "JSON with boxes"
        else:
            use.set_aside("JSON without labels")

    def _labels(self, use: FileUse, form: Format, data: bytes) -> None:
        use.kind, use.format = FileKind.LABELS, form
        if self._format is not None and form != self._format and form != "predictions":
            use.kind = FileKind.OTHER
            use.set_aside(f"labels in the format {form}, and --format {self._format} was given")
            return
        if form in OF_ONE_PHOTOGRAPH:
            use.photographs = self._index.at_place(use.path)
        try:
            document = read_document(form, use.path, data)
        except NotReadable as error:
            use.problem = error.problem
            # A YOLO file goes to quarantine, which names its lines; of the others nothing could be said there.
            if form != "yolo" or not use.photographs:
                looks = "" if form == "predictions" else f"it looks like {form} and cannot be read"
                use.set_aside(looks or "predictions, which are no labels", str(error), refused=True)
            return
        self._count(use, form, document)

    def _count(self, use: FileUse, form: Format, document: LabelDocument) -> None:
        if form in OF_ONE_PHOTOGRAPH:
            for photograph in document.photographs:
                if not use.photographs:
                    called = PurePosixPath(use.path).parent / last_part(photograph.file_name)
                    use.photographs = self._index.at_place(str(called))
            if use.photographs:
                self._places_matched.add(str(PurePosixPath(use.path).parent))
        else:
            use.names = [photograph.file_name for photograph in document.photographs]
        use.note_labels(document)
        used: Counter[str] = Counter()
        lines: dict[str, list[str]] = defaultdict(list)
        for photograph in document.photographs:
            name = last_part(photograph.file_name) if use.names else PurePosixPath(use.path).name
            self._labelled[form].setdefault(folded(PurePosixPath(name).stem), name)
            for shape in photograph.shapes:
                used[shape.source_class] += 1
                if len(lines[shape.source_class]) < 3:
                    where = f"line {shape.line}" if shape.line is not None else shape.where
                    lines[shape.source_class].append(where)
        for source, boxes in used.items():
            where = ", ".join(filter(None, lines[source]))
            self._classes[form].setdefault(source, ClassUse()).add(use.path, boxes, f"({where})" if where else "")
        if form == "coco":
            here = {source: ClassUse(boxes) for source, boxes in used.items()}
            self._with_ids.add(use.path, document.origin, document.class_names, here)
        for source, name in document.class_names.items():
            before = self._names[form].setdefault(source, name)
            if folded(before) != folded(name):
                self._clashing[form][source] = f"class {source} is {name} in {use.path} and {before} in another file"

    def _match_the_rest(self) -> None:
        """Label files of one photograph that lie in folders unlike those of the photographs."""
        lonely = [
            use
            for use in self._uses.values()
            if not use.photographs
            and use.format in OF_ONE_PHOTOGRAPH
            and str(PurePosixPath(use.path).parent) not in self._places_matched
        ]
        for use in lonely:
            use.photographs = self._index.by_name(use.path)
        unmatched = [use for use in lonely if not use.photographs]
        # All photographs below one folder, all labels below another: the two belong together, whatever their names.
        tops = {PurePosixPath(use.path).parts[0] for use in unmatched if "/" in use.path}
        if unmatched and len(unmatched) == len(lonely) and len(tops) == len(self._index.tops) == 1:
            (top,) = self._index.tops
            if top and top not in tops:
                for use in unmatched:
                    use.photographs = self._index.below(top, use.path)
        self._take_empty_files()
        of_label_studio = any(map(is_of_label_studio, self._uses))
        labels = [use for use in self._uses.values() if use.kind is FileKind.LABELS and use.format == "yolo"]
        match_behind_dates(labels, self._index, of_label_studio)

    def _take_empty_files(self) -> None:
        """An empty text says "no damage" where it lies among labels; elsewhere it may be anything."""
        among = {
            str(PurePosixPath(use.path).parent) for use in self._uses.values() if use.format == "yolo" and use.path
        }
        for path in self._empty:
            parent = str(PurePosixPath(path).parent)
            if self._format not in (None, "yolo"):
                continue
            if parent in among or any(is_for_labels(folder) for folder in PurePosixPath(path).parts[:-1]):
                use = self._uses[path]
                use.kind, use.format, use.reason = FileKind.LABELS, "yolo", ""
                use.photographs = [] if parent in self._places_matched else self._index.by_name(path)
                self._labelled["yolo"].setdefault(folded(PurePosixPath(path).stem), path)

    def _choose(self) -> list[str]:
        """The formats of the label files, where they do not contend for photographs."""
        files = Counter(
            use.format for use in self._uses.values() if use.kind is FileKind.LABELS and use.format and not use.refused
        )
        pictures = any(use.kind is FileKind.PHOTOGRAPH for use in self._uses.values())
        if self._format is not None and not files and pictures:
            self._say_what_else_there_is()
        for form in files:
            for other in files:
                both = self._labelled[form].keys() & self._labelled[other].keys()
                if form < other and both:
                    counts = {form: files[form], other: files[other]}
                    raise FormatsConflict(self._folder, counts, self._labelled[form][min(both)])
        return sorted(files)

    def _say_what_else_there_is(self) -> None:
        others = Counter(use.format for use in self._uses.values() if use.format not in (None, self._format))
        refused = next((u for u in self._uses.values() if u.kind is FileKind.LABELS and u.refused), None)
        why = f" {refused.path}: {refused.reason}: {refused.detail.rstrip('.')}." if refused is not None else ""
        there = ", ".join(f"{form} ({counted(n, 'file')})" for form, n in sorted(others.items(), key=str))
        raise ImportRefused(
            f"{self._folder}: no label file in the format {self._format}.{why}"
            + (f" There is {there}: leave --format out to have it recognised." if there else "")
        )

    def _class(self, form: str, source: str, formats: list[str]) -> str:
        """What a class is told from others by: ids of YOLO are other ids than those of COCO, which has names, too."""
        return source if form == "yolo" or "yolo" not in formats else self._names[form].get(source, source)

    def _clashes(self, formats: list[str]) -> dict[str, str]:
        clashes = {source: text for form in formats for source, text in self._clashing[form].items()}
        first: dict[str, tuple[str, str]] = {}
        for form in formats:
            for source in self._classes[form]:
                name, one = self._names[form].get(source, ""), self._class(form, source, formats)
                if one in first and first[one][1] != folded(name):
                    clashes[one] = f"class {one} is another in {form} than in {first[one][0]}"
                first.setdefault(one, (form, folded(name)))
        return clashes


def _refuse_unknown_labels(use: FileUse, what: str) -> None:
    use.kind = FileKind.LABELS
    use.set_aside(f"{what}, which is no format that is read: export COCO or YOLO instead", refused=True)


def _lies_with_labels(path: str) -> bool:
    folders = PurePosixPath(path).parts[:-1]
    return any(is_for_labels(f) for f in folders) and not any(is_for_photographs(f) for f in folders)
