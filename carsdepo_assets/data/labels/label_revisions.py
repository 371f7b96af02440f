"""Ingests a label batch: label files become annotation revisions, of which the latest of a photograph counts.

A file with one bad line goes to quarantine as a whole, since half of a photograph's damage would train the detector to
overlook the other half. The other files of the batch are ingested.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from carsdepo_assets.data.folders.photograph_names import stem_forms
from carsdepo_assets.data.labels.formats import NotReadable
from carsdepo_assets.data.labels.formats.documents import LabelledPhotograph
from carsdepo_assets.data.labels.formats.parsed import Parsed, Problem
from carsdepo_assets.data.labels.label_claims import Claim, Labelling, merged, settle
from carsdepo_assets.data.labels.label_classes import LabelClasses
from carsdepo_assets.data.labels.label_contradictions import standing_files
from carsdepo_assets.data.labels.label_reading import LabelFile, photographs_of, read_label_file
from carsdepo_assets.data.labels.labelled_photographs import Photographs, wanted_stems
from carsdepo_assets.data.objects.manifests import BatchManifest, BatchObject, read_manifest
from carsdepo_assets.data.objects.object_states import LabelOutcomes, note_labels
from carsdepo_assets.lake.annotations import UNREVIEWED, WITHDRAWN, latest_by_key, latest_revisions
from carsdepo_assets.lake.class_names import keep_class_names
from carsdepo_assets.lake.index_rows import want_below, want_in, want_lists
from carsdepo_assets.lake.lake import Lake, ObjectMissing
from carsdepo_assets.lake.locks import one_writer
from carsdepo_assets.lake.text_files import storable
from carsdepo_assets.policy import Policy

Row = dict[str, Any]
PROBLEMS_A_FILE = 20  # rows in quarantine at most; the last one tells how many more there are
_XYXY = ("x1", "y1", "x2", "y2")


@dataclass(frozen=True)
class LabelsResult:
    """What became of the files of a label batch."""

    batch_id: str
    rows: pa.Table
    """The batch's rows of ANNOTATIONS; a photograph whose boxes are unchanged has none."""
    quarantined: pa.Table
    """The batch's rows of QUARANTINE."""
    notes: dict[str, list[str]] = field(default_factory=dict)
    """By key of a label file: what was corrected while reading it, such as clipped boxes."""


def ingest_labels(lake: Lake, batch_id: str, policy: Policy, now: datetime) -> LabelsResult:
    """Appends the revisions and quarantine rows of a batch, once; a repeated call gives the same result.

    A label whose photograph is not in `images` goes to quarantine (`no_photograph`), as batches of dropped labels
    close only when their photographs are ingested or policy.data.label_wait_s has passed.

    Raises:
        BatchError: the batch is unknown.
        ClassNamesChanged: the policy gives another name to an id that labels of the lake have; nothing was written.
    """
    manifest = read_manifest(lake, "labels", batch_id)
    with one_writer(lake, "labels"):  # sequence numbers and "unchanged" are decided against what is in the table
        if not lake.committed("annotations", batch_id):
            keep_class_names(lake, policy.class_map)
            reading = _Reading(lake, manifest, policy, now)
            if reading.notes:
                lake.put(notes_key(batch_id), json.dumps(reading.notes, indent=1).encode())
            lake.append("quarantine", reading.refused, f"labels:{batch_id}")
            # Before the annotations, whose commit says that the batch is read: a kill in between reads it again.
            note_labels(lake, batch_id, reading.outcomes, now)
            lake.append("annotations", reading.rows, batch_id)
    of_batch = ("batch_id", "=", batch_id)
    annotations = lake.read("annotations", where=[of_batch])
    quarantine = lake.read("quarantine", where=[of_batch, ("kind", "=", "label")])
    notes = json.loads(lake.get(notes_key(batch_id))) if lake.exists(notes_key(batch_id)) else {}
    return LabelsResult(
        batch_id,
        annotations.sort_by("sequence"),
        quarantine,
        notes,
    )


def notes_key(batch_id: str) -> str:
    """Where the notes about corrections of a batch's labels are stored (clipped or repeated boxes, polygons)."""
    return f"batches/label_notes/{batch_id}.json"


def revision_id(
    image_id: str,
    boxes: list[Row],
    class_map_version: int,
    origin: str,
    negatives: Sequence[Row] = (),
    state: str | None = None,
) -> str:
    """The id of a revision: the same photograph, boxes (in any order), class map and origin give the same id.

    Args:
        image_id: of the photograph.
        boxes: as ANNOTATIONS has them.
        class_map_version: the policy's.
        origin: as ANNOTATIONS has it.
        negatives: as ANNOTATIONS has them.
        state: as ANNOTATIONS has it.

    Returns:
        16 hexadecimal digits.
    """
    content: list[Any] = [image_id, sorted(tuple(b.values()) for b in boxes), class_map_version, origin]
    if negatives or state == UNREVIEWED:  # others have the id that earlier releases gave them
        content += [sorted(tuple(b.values()) for b in negatives), state]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


class _Reading:
    """A batch's files against the tables: rows of ANNOTATIONS, rows of QUARANTINE, notes by key."""

    def __init__(self, lake: Lake, manifest: BatchManifest, policy: Policy, now: datetime) -> None:
        self.rows: list[Row] = []
        self.refused: list[Row] = []
        self.notes: dict[str, list[str]] = {}
        self.outcomes = LabelOutcomes()
        self._lake, self._manifest, self._policy, self._now = lake, manifest, policy, now
        self._classes = LabelClasses(lake, manifest.options, policy.class_map)
        self._annotator: str | None = manifest.options.get("annotator")  # of labels that name nobody themselves
        entries = sorted(manifest.objects, key=lambda o: (o.modified_at, o.key))
        files = [file for entry in entries if (file := self._read(entry)) is not None]
        photographs = photographs_of(lake, files)
        claims: dict[str, list[Claim]] = {}
        for file in files:
            for image_id, claim in self._claims(file, photographs):
                claims.setdefault(image_id, []).append(claim)
        self._before = _Before(lake, set(claims))
        all_claims = [claim for of_photograph in claims.values() for claim in of_photograph]
        standing = standing_files(lake, manifest, self._before.rows, all_claims, self._classes, policy)
        for image_id, all_of_photograph in claims.items():
            of_photograph = standing.without_gone(all_of_photograph)
            labellings, refused = settle(of_photograph)
            if not refused and (refused := standing.contradictions(image_id, of_photograph)):
                labellings = []
                # Of the batch's own files too: their revision may be a union with what is refused now.
                self._withdraw(image_id, {claim.key for claim, _ in refused})
                self.outcomes.withdrawn |= {
                    c.key: standing.states[c.key] for c, _ in refused if c.key in standing.states
                }
            for claim in [*of_photograph, *(c for c, _ in refused if c.key in standing.states)]:
                own = [problem for other, problem in refused if other is claim]
                self._refuse(claim.key, claim.sha256, [_about(claim, problem) for problem in own])
                if not own:
                    self._note(claim.key, [_named(claim, note) for note in claim.parsed.notes])
            self._revise(image_id, labellings, standing.others(image_id))

    def _read(self, entry: BatchObject) -> LabelFile | None:
        """A file of the batch; None where it is in quarantine, or another batch's."""
        try:
            data = self._lake.get(entry.key)
        except ObjectMissing:  # what cannot be read now fails the run and is read again
            self.outcomes.missing.add(entry.key)
            self._refuse(entry.key, None, [Problem("gone", "the file was removed before it was read")])
            return None
        sha256 = hashlib.sha256(data).hexdigest()
        if entry.sha256 is not None and sha256 != entry.sha256:
            # The later batch that lists it has the class ids of the new bytes; this one has those of the old.
            self._note(entry.key, ["rewritten since its batch was closed: a later one reads it"])
            return None
        try:
            file = read_label_file(entry.key, sha256, data, self._classes, self._annotator)
        except NotReadable as error:
            self._refuse(entry.key, sha256, [error.problem])
            return None
        self._refuse(entry.key, sha256, file.document.problems)
        return file

    def _claims(self, file: LabelFile, photographs: Photographs) -> Iterator[tuple[str, Claim]]:
        """What a file says about each photograph; a photograph that is not there goes to quarantine."""
        for labelled in file.document.photographs:
            image_id = file.photograph(labelled, photographs)
            if isinstance(image_id, Problem):
                self._refuse(file.key, file.sha256, [image_id])
                if image_id.reason == "no_photograph":
                    self.outcomes.wants.setdefault(file.key, set()).update(_wants(file, labelled))
                continue
            claim = file.claim(labelled, image_id, photographs, self._policy)
            if file.format == "yolo" and self._classes.are_of_lists:
                self._note_lists(file, claim)
            yield image_id, claim

    def _note_lists(self, file: LabelFile, claim: Claim) -> None:
        """Notes with which lists of names a file was read, so that it is read again when they say something else."""
        folder = file.path.parent
        if _lacks_a_class(claim.parsed):
            want = want_lists(folder, self._classes.lists_digest(folder))
            self.outcomes.wants.setdefault(file.key, set()).add(want)
        elif (meaning := self._classes.meaning_by_lists(folder)) is not None:
            self.outcomes.records[file.key] = meaning

    def _note(self, key: str, notes: list[str]) -> None:
        if notes:
            self.notes.setdefault(key, []).extend(map(storable, notes))

    def _refuse(self, key: str, sha256: str | None, problems: Sequence[Problem]) -> None:
        for problem in problems:  # the want of a photograph goes before other reasons, as it heals
            if problem.reason == "no_photograph" or key not in self.outcomes.refused:
                self.outcomes.refused[key] = problem.reason
        for i, problem in enumerate(problems[:PROBLEMS_A_FILE], 1):
            more = len(problems) - i if i == PROBLEMS_A_FILE else 0
            detail = storable(problem.detail) + (f"; and {more} more problems" if more else "")
            self.refused.append(
                {
                    "batch_id": self._manifest.batch_id,
                    "key": key,
                    "kind": "label",
                    "reason": problem.reason,
                    "detail": detail,
                    "line": problem.line,
                    "sha256": sha256,
                    "at": self._now,
                }
            )

    def _revise(self, image_id: str, labellings: Sequence[Labelling], others: Sequence[Claim]) -> None:
        rows = [self._row(image_id, labelling, others) for labelling in labellings]
        is_kept = all(map(self._before.is_kept, rows))
        # The same boxes again, of the same annotators, are no new revision. Where the import names the annotator, not
        # even behind another annotator's: who changes nothing does not speak last.
        if not rows or (is_kept and (self._annotator is not None or self._before.has(rows[-1]))):
            return
        for labelling, row in zip(labellings, rows, strict=True):
            self._note(labelling.claim.key, [_named(labelling.claim, note) for note in labelling.notes])
            self.rows.append(row | {"sequence": self._before.next_sequence()})

    def _withdraw(self, image_id: str, keys: set[str]) -> None:
        """Rows that say that what some files said about a photograph is no label any more."""
        if not keys:
            return
        for row in latest_by_key(self._before.rows).to_pylist():
            if row["image_id"] == image_id and row["key"] in keys:
                same = {name: row[name] for name in ("revision_id", "image_id", "key", "sha256", "origin", "annotator")}
                state = {"class_map_version": row["class_map_version"], "boxes": [], "state": WITHDRAWN}
                of_now = {"batch_id": self._manifest.batch_id, "created_at": self._now}
                self.rows.append({**same, **state, **of_now, "sequence": self._before.next_sequence()})

    def _row(self, image_id: str, labelling: Labelling, others: Sequence[Claim]) -> Row:
        claim, version = labelling.claim, self._policy.class_map.version
        origin = _origin(self._manifest, claim.format)
        entries = merged(labelling, others) if labelling.reviewed else labelling.entries
        boxes = [
            {"class_id": target, **dict(zip(_XYXY, xyxy, strict=True))}
            for target, xyxy in entries
            if isinstance(target, int)
        ]
        negatives = [
            {"cause": target, **dict(zip(_XYXY, xyxy, strict=True))}
            for target, xyxy in entries
            if isinstance(target, str)
        ]
        state = "reviewed" if labelling.reviewed else UNREVIEWED
        return {
            "revision_id": revision_id(image_id, boxes, version, origin, negatives, state),
            "image_id": image_id,
            "batch_id": self._manifest.batch_id,
            "key": claim.key,
            "sha256": claim.sha256,
            "origin": origin,
            "annotator": storable(claim.annotator) if claim.annotator else self._annotator,
            "class_map_version": version,
            "boxes": boxes,
            "created_at": self._now,
            "state": state,
            "negatives": negatives or None,
        }


class _Before:
    """The labels that some photographs had before a batch, and the last sequence number."""

    def __init__(self, lake: Lake, image_ids: set[str]) -> None:
        newest = lake.tables.select("SELECT max(sequence) AS newest FROM annotations", ["annotations"])
        self._sequence = (newest and newest[0]["newest"]) or 0
        of_images = ("image_id", "in", image_ids)
        # First how far back their rows lie, which takes two columns of all rows: most often there is none.
        oldest = pc.min(lake.read("annotations", ["sequence"], [of_images])["sequence"]).as_py()
        since = self._sequence + 1 if oldest is None else oldest
        table = self.rows = lake.read("annotations", where=[of_images, ("sequence", ">=", since)])
        self._latest = {r["image_id"]: r for r in latest_revisions(table).to_pylist()}
        unreviewed = table.filter(pc.fill_null(pc.equal(table["state"], UNREVIEWED), False))
        self._unreviewed = set(unreviewed["revision_id"].to_pylist())
        self._kept: dict[tuple[str, str | None], str] = {}  # the last revision, by photograph and annotator
        facts = table.select(["image_id", "annotator", "revision_id", "state", "sequence"]).sort_by("sequence")
        for r in facts.to_pylist():
            self._kept.pop((r["image_id"], r["annotator"]), None)
            if r["state"] != WITHDRAWN:
                self._kept[r["image_id"], r["annotator"]] = r["revision_id"]

    def has(self, row: Row) -> bool:
        """Whether this is the latest revision of the photograph already."""
        if row["state"] == UNREVIEWED:
            return row["revision_id"] in self._unreviewed
        latest = self._latest.get(row["image_id"])
        return latest is not None and latest["revision_id"] == row["revision_id"]

    def is_kept(self, row: Row) -> bool:
        """Whether it is the last one of the annotator that it names; who says the same as another one agrees."""
        of = row["image_id"], row["annotator"]
        return row["annotator"] is None or self._kept.get(of) == row["revision_id"]

    def next_sequence(self) -> int:
        """The next number in the order of commit."""
        self._sequence += 1
        return int(self._sequence)


def _wants(file: LabelFile, labelled: LabelledPhotograph) -> set[str]:
    """The photographs that may be meant where there was none, as the table `objects` keeps them."""
    wants = set[str]()
    if labelled.of_file:
        own = [*stem_forms(file.path.stem), *filter(None, [file.behind_date])]
        wants = {want_in(file.path.parent, stem) for stem in own}
    if file.format != "yolo":
        names = (stem for name in file.names(labelled) for stem in wanted_stems(name, file.path.parent))
        wants |= {want_below(file.path, stem) for stem in names}
    return wants


def _lacks_a_class(parsed: Parsed) -> bool:
    return any(problem.reason in ("classes_unknown", "unknown_class") for problem in parsed.problems)


def _about(claim: Claim, problem: Problem) -> Problem:
    return problem if claim.of_file else Problem(problem.reason, _named(claim, problem.detail), problem.line)


def _named(claim: Claim, text: str) -> str:
    return text if claim.of_file or text.startswith(claim.file_name) else f"{claim.file_name[:200]}: {text}"


def _origin(manifest: BatchManifest, format: str) -> str:
    return format if manifest.origin == "drop" else manifest.origin.removeprefix("import:")
