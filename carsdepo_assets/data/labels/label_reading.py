"""Reads a label file as what it says about each photograph: the claims that are then settled against each other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from carsdepo_assets.data.labels.formats import Format, NotReadable, fit, read_document, recognise
from carsdepo_assets.data.labels.formats.documents import ClassTargets, LabelDocument, LabelledPhotograph
from carsdepo_assets.data.labels.formats.json_values import loads
from carsdepo_assets.data.labels.formats.parsed import Parsed, Problem
from carsdepo_assets.data.labels.label_claims import Claim
from carsdepo_assets.data.labels.label_classes import LabelClasses
from carsdepo_assets.data.labels.labelled_photographs import Photographs, wanted_stems
from carsdepo_assets.lake.annotator_folders import photographs_path
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy


@dataclass(frozen=True)
class LabelFile:
    """A label file that was read."""

    key: str
    sha256: str | None
    path: PurePosixPath
    """Below raw/labels, of an annotator's folder below that of the import: where its photograph is."""
    format: Format
    document: LabelDocument
    targets: ClassTargets | Problem
    annotator: str | None = None
    """Whom the import names for the labels that name no annotator of their own."""
    behind_date: str | None = None
    """The file's own name without a prefix that looks like a date, where its export is Label Studio's."""

    def names(self, labelled: LabelledPhotograph) -> list[str]:
        """The names that a photograph may have: the one that is written and, of a file of one alone, the file's own."""
        own = [self.path.stem, *filter(None, [self.behind_date])] if labelled.of_file else []
        return [labelled.file_name, *filter(None, [labelled.behind_date]), *own]

    def photograph(self, labelled: LabelledPhotograph, photographs: Photographs) -> str | Problem:
        """The id of the photograph that is meant; a Problem where there is not exactly one."""
        of_its_name = photographs.at(str(self.path.with_suffix("")))
        if isinstance(of_its_name, Problem) and self.behind_date is not None:
            of_its_name = _else(of_its_name, photographs.at(str(self.path.with_name(self.behind_date))))
        if self.format == "yolo":
            return of_its_name
        named = photographs.named(labelled.file_name, self.path.parent)
        if isinstance(named, Problem) and labelled.behind_date is not None:
            named = _else(named, photographs.named(labelled.behind_date, self.path.parent))
        if not labelled.of_file or isinstance(of_its_name, Problem):
            return named
        if isinstance(named, Problem):
            return of_its_name if named.reason == "no_photograph" else named
        if named == of_its_name:
            return named
        return Problem(
            "ambiguous_photograph",
            f"the file names {labelled.file_name[:200]} and is called as another photograph: correct one of the names",
        )

    def claim(self, labelled: LabelledPhotograph, image_id: str, photographs: Photographs, policy: Policy) -> Claim:
        """What the file says about a photograph.

        Args:
            labelled: one of the document's photographs.
            image_id: what `photograph` gave for it.
            photographs: the stored ones.
            policy: the section `data` is used.
        """
        covers = None
        if self.format == "coco" and not isinstance(self.targets, Problem) and self.document.class_names:
            covers = frozenset(target for target in self.targets.values() if target is not None)
        stored = photographs.photograph(image_id)
        parsed = fit(
            labelled,
            stored.width,
            stored.height,
            {} if isinstance(self.targets, Problem) else self.targets,
            stored.orientation,
            policy.data.min_box_px,
            policy.data.clip_share,
            self.document.class_names,
        )
        if isinstance(self.targets, Problem) and labelled.shapes:
            parsed = Parsed(problems=[self.targets])
        return Claim(
            self.key,
            self.sha256,
            self.format,
            labelled.file_name,
            parsed,
            covers,
            labelled.annotator or self.annotator,
            labelled.labelled_at,
            labelled.of_file,
        )


def _else(problem: Problem, other: str | Problem) -> str | Problem:
    """The photograph of another name where there is none of the first; its problem is that of the name as written."""
    return problem if problem.reason != "no_photograph" or isinstance(other, Problem) else other


def read_label_file(
    key: str, sha256: str | None, data: bytes, classes: LabelClasses, annotator: str | None = None
) -> LabelFile:
    """Reads a label file of any format.

    Args:
        key: of the file.
        sha256: of its bytes.
        data: its bytes.
        classes: say what its classes become.
        annotator: whom its import names for labels that name nobody.

    Raises:
        NotReadable: it is of no known format, or broken.
    """
    path = PurePosixPath(photographs_path(key.removeprefix("raw/labels/")))
    format = recognise(path.name, data) or ("yolo" if path.suffix.lower() == ".txt" else None)
    if format is None:
        if path.suffix.lower() == ".json":
            loads(data, "JSON")  # says where it breaks off
        raise NotReadable(
            f"{path.suffix or path.name}: its content is none of YOLO, COCO, Pascal VOC, CVAT XML, LabelMe, "
            "Label Studio JSON, a Ground Truth manifest and Datumaro JSON",
            "unsupported_format",
        )
    document = read_document(format, str(path), data)
    targets = classes.targets(path, format, document)
    if format == "yolo" and classes.empty_is_unreviewed(path):
        for labelled in document.photographs:
            labelled.reviewed = bool(labelled.shapes)
    behind_date = classes.name_behind_date(path) if format == "yolo" else None
    return LabelFile(key, sha256, path, format, document, targets, annotator, behind_date)


def photographs_of(lake: Lake, files: Iterable[LabelFile]) -> Photographs:
    """The stored photographs that some label files may mean."""
    stems = (
        stem
        for file in files
        for labelled in file.document.photographs
        for name in file.names(labelled)
        for stem in wanted_stems(name, file.path.parent)
    )
    return Photographs.read(lake, stems)
