"""Finds what a batch's label files say against files of the same import that earlier batches read.

An import of more files than a batch holds is split, and which of two contradicting files comes first is chance. So the
files that stand are read again where they label a photograph of the batch, and both sides are refused as within one
batch: what was read of the earlier file is withdrawn. A file does not stand, and contradicts nothing, when it was
replaced or removed, waits to be read again, is in quarantine for that reason itself, or is not in the folder that was
imported last: then the later file is a correction. So are the answers to a labelling queue, and files without import.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from carsdepo_assets.data.labels.formats import NotReadable
from carsdepo_assets.data.labels.formats.parsed import Problem
from carsdepo_assets.data.labels.import_records import QUEUE_NAME, read_import_record
from carsdepo_assets.data.labels.label_claims import Claim, settle
from carsdepo_assets.data.labels.label_classes import LabelClasses
from carsdepo_assets.data.labels.label_reading import photographs_of, read_label_file
from carsdepo_assets.data.objects.manifests import BatchManifest, record_digest
from carsdepo_assets.data.objects.take_over import taken_over_index
from carsdepo_assets.lake.annotations import latest_by_key
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.object_index import ObjectState
from carsdepo_assets.policy import Policy


@dataclass
class StandingFiles:
    """What label files of earlier batches say about the photographs of a batch."""

    claims: dict[str, list[Claim]] = field(default_factory=dict)
    """By image_id."""
    states: dict[str, ObjectState] = field(default_factory=dict)
    """What is known of each file, by key."""

    def contradictions(self, image_id: str, own: Sequence[Claim]) -> list[tuple[Claim, Problem]]:
        """The files that are refused since they contradict each other about a photograph, of the batch and standing.

        Args:
            image_id: of the photograph.
            own: what the batch's files say of it, which is no contradiction by itself.
        """
        standing = self.claims.get(image_id)
        return settle([*own, *standing])[1] if standing else []


def standing_files(
    lake: Lake, manifest: BatchManifest, revisions: pa.Table, classes: LabelClasses, policy: Policy
) -> StandingFiles:
    """Reads the files that label photographs of a batch, are of the same import, and stand.

    Args:
        lake: where they are.
        manifest: of the batch.
        revisions: the rows of ANNOTATIONS of the batch's photographs.
        classes: what the classes of the import's files become.
        policy: the one that the batch is read with.
    """
    standing, name = StandingFiles(), manifest.options.get("import")
    if not name or name == QUEUE_NAME or revisions.num_rows == 0:
        return standing
    own = {entry.key for entry in manifest.objects}
    rows = [
        row
        for row in latest_by_key(revisions).to_pylist()
        if row["key"].startswith(f"raw/labels/{name}/")
        and row["key"] not in own
        and row["class_map_version"] == policy.class_map.version
    ]
    if not rows:
        return standing
    gone = set((read_import_record(lake, str(name)) or {}).get("gone", ()))
    with taken_over_index(lake) as index:
        states = index.states_of(sorted({row["key"] for row in rows} - gone))
    record = record_digest(manifest.options)
    for row in rows:
        state = states.get(row["key"])
        if state is not None and state.state != "batched" and (state.sha256, state.record) == (row["sha256"], record):
            standing.states[row["key"]] = state
    files = []
    for key, state in sorted(standing.states.items()):
        try:
            files.append(read_label_file(key, state.sha256, lake.get(key), classes))
        except (LakeError, NotReadable):
            continue  # removed, or no longer read as it was: it says nothing
    photographs = photographs_of(lake, files)
    wanted = {(row["image_id"], row["key"]) for row in rows}
    for file in files:
        for labelled in file.document.photographs:
            image_id = file.photograph(labelled, photographs)
            if isinstance(image_id, Problem) or (image_id, file.key) not in wanted:
                continue
            claim = file.claim(labelled, image_id, photographs, policy)
            if not claim.parsed.problems:
                standing.claims.setdefault(image_id, []).append(claim)
    return standing
