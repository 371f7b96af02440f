"""Reads what label files of earlier batches say of a batch's photographs: against its files, or beside them.

An import of more files than a batch holds is split, and which of two contradicting files comes first is chance. So the
files that stand are read again where they label a photograph of the batch, and both sides are refused as within one
batch: what was read of the earlier file is withdrawn. A file does not stand, and contradicts nothing, when it was
replaced or removed, waits to be read again, is in quarantine for that reason itself, or is not in the folder that was
imported last: then the later file is a correction. So are the answers to a labelling queue, and files without import.

Of COCO files with some classes each, those of earlier batches are read again for the classes that the batch's files are
not about: only what a file says now is taken from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from carsdepo_assets.data.labels.formats import NotReadable
from carsdepo_assets.data.labels.formats.parsed import Problem
from carsdepo_assets.data.labels.import_records import QUEUE_NAME, read_import_record
from carsdepo_assets.data.labels.label_claims import Claim, settle
from carsdepo_assets.data.labels.label_classes import LabelClasses
from carsdepo_assets.data.labels.label_reading import photographs_of, read_label_file
from carsdepo_assets.data.objects.manifests import BatchManifest, read_manifest, record_digest
from carsdepo_assets.data.objects.take_over import taken_over_index
from carsdepo_assets.lake.annotations import latest_by_key
from carsdepo_assets.lake.lake import Lake, ObjectMissing
from carsdepo_assets.lake.object_index import ObjectState
from carsdepo_assets.policy import Policy


@dataclass
class StandingFiles:
    """What label files of earlier batches say about the photographs of a batch."""

    claims: dict[str, list[Claim]] = field(default_factory=dict)
    """By image_id, of the same import, which may contradict."""
    parts: dict[str, list[Claim]] = field(default_factory=dict)
    """By image_id, of the same folder, the newest file first: they may have classes that the batch's are not about."""
    states: dict[str, ObjectState] = field(default_factory=dict)
    """What is known of each file that may contradict, by key."""
    gone: frozenset[str] = frozenset()
    """Keys of the files that the import has no more."""

    def contradictions(self, image_id: str, own: Sequence[Claim]) -> list[tuple[Claim, Problem]]:
        """The files that are refused since they contradict each other about a photograph, of the batch and standing.

        Args:
            image_id: of the photograph.
            own: what the batch's files say of it, which is no contradiction by itself.
        """
        standing = self.claims.get(image_id)
        return settle([*own, *standing])[1] if standing else []

    def others(self, image_id: str) -> list[Claim]:
        """What files of earlier batches say about a photograph, of which the batch's files may each have a part."""
        return self.parts.get(image_id, [])

    def without_gone(self, own: Sequence[Claim]) -> list[Claim]:
        """What a batch's files say, but for those that the import has no more where others of it say something."""
        return [claim for claim in own if claim.key not in self.gone] or list(own)


def standing_files(
    lake: Lake,
    manifest: BatchManifest,
    revisions: pa.Table,
    own: Sequence[Claim],
    classes: LabelClasses,
    policy: Policy,
) -> StandingFiles:
    """Reads the files that label photographs of a batch, are of the same import or folder, and stand.

    Args:
        lake: where they are.
        manifest: of the batch.
        revisions: the rows of ANNOTATIONS of the batch's photographs.
        own: what the batch's files say.
        classes: what the classes of the import's files become.
        policy: the one that the batch is read with.
    """
    name = str(manifest.options.get("import") or "")
    gone = frozenset((read_import_record(lake, name) or {}).get("gone", ())) if name else frozenset[str]()
    standing, is_import = StandingFiles(gone=gone), name not in ("", QUEUE_NAME)
    if revisions.num_rows == 0:
        return standing
    listed = {entry.key for entry in manifest.objects} | gone
    rows = [
        (row["image_id"], row["key"], row["sha256"])
        for row in latest_by_key(revisions).to_pylist()
        if is_import
        and row["key"].startswith(f"raw/labels/{name}/")
        and row["key"] not in listed
        and row["class_map_version"] == policy.class_map.version
    ]
    candidates = _parts(lake, own, revisions) - listed
    if not rows and not candidates:
        return standing
    with taken_over_index(lake) as index:
        states = index.states_of(sorted({key for _, key, _ in rows} | candidates))
    record = record_digest(manifest.options)
    read = {key: s for key, s in states.items() if s.state != "batched" and s.record == record}
    for _, key, sha256 in rows:
        if key in read and read[key].sha256 == sha256:
            standing.states[key] = read[key]
    parts = {key for key in candidates & read.keys() if read[key].reason != "contradiction"}
    files = []
    for key in sorted(standing.states.keys() | parts, key=lambda k: (read[k].info.modified_at, k), reverse=True):
        try:
            data = lake.get(key)
            if key in standing.states or hashlib.sha256(data).hexdigest() == read[key].sha256:
                files.append(read_label_file(key, read[key].sha256, data, classes, manifest.options.get("annotator")))
        except (ObjectMissing, NotReadable):
            continue  # removed, or no longer read as it was: it says nothing
    images = set(revisions["image_id"].to_pylist())
    photographs = photographs_of(lake, files)
    wanted = {(image_id, key) for image_id, key, _ in rows}
    for file in files:
        for labelled in file.document.photographs:
            image_id = file.photograph(labelled, photographs)
            if isinstance(image_id, Problem) or image_id not in images:
                continue
            claim = file.claim(labelled, image_id, photographs, policy)
            if claim.parsed.problems:
                continue
            may_contradict = (image_id, file.key) in wanted and file.key in standing.states
            # A file of a part has no row of its own where a revision is a union, or where it said nothing new.
            if may_contradict or (is_import and file.key in parts and claim.covers is not None):
                standing.claims.setdefault(image_id, []).append(claim)
                standing.states.setdefault(file.key, read[file.key])
            if file.key in parts:
                standing.parts.setdefault(image_id, []).append(claim)
    return standing


def _parts(lake: Lake, own: Sequence[Claim], revisions: pa.Table) -> set[str]:
    """Keys of the label files that may have other classes of the photographs than a batch's files are about.

    They are in the batches that gave these photographs their revisions: a file has no row of its own there where the
    revision is a union. A file of a batch that gave none said nothing new.

    Args:
        lake: where they are.
        own: what the batch's files say.
        revisions: the rows of ANNOTATIONS of the photographs.
    """
    tops = {_top(claim.key) for claim in own if claim.covers is not None}
    if not tops:
        return set()
    batches = set(revisions["batch_id"].to_pylist()) - {None}
    of_batches = {o.key for batch in sorted(batches) for o in read_manifest(lake, "labels", batch).objects}
    keys = of_batches | set(revisions["key"].to_pylist())
    return {key for key in keys if key.lower().endswith(".json") and _top(key) in tops}


def _top(key: str) -> str:
    """The topmost folder of a label file below raw/labels."""
    top, below, _ = key.removeprefix("raw/labels/").partition("/")
    return top if below else ""
