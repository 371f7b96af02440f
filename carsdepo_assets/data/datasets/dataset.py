"""The dataset: an immutable manifest of every labelled photograph, whose version is a digest of its content."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from carsdepo_assets.data.datasets.content_digest import content_digest
from carsdepo_assets.data.datasets.corrected_groups import IN_GOLDEN, regrouped, standing_splits
from carsdepo_assets.data.datasets.declared_splits import declared_of
from carsdepo_assets.data.datasets.splitting import EXCLUDED, assign, side
from carsdepo_assets.data.folders.augmented_copies import sources
from carsdepo_assets.data.photographs.metadata_corrections import correct_metadata
from carsdepo_assets.imaging.near_duplicates import dataset_thumbnails, near_duplicates
from carsdepo_assets.lake import golden
from carsdepo_assets.lake.annotations import UNREVIEWED, labels_only
from carsdepo_assets.lake.class_names import keep_class_names
from carsdepo_assets.lake.data_schemas import BOX, NEGATIVE_BOX
from carsdepo_assets.lake.datasets import manifest_key, read_manifest, read_summary, summary_key
from carsdepo_assets.lake.image_metadata import read_images
from carsdepo_assets.lake.label_conflicts import CountedLabels, labels_that_count
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.licences import LicenceCount, licences_of_rows
from carsdepo_assets.lake.locks import one_writer
from carsdepo_assets.lake.pointers import DatasetPointer
from carsdepo_assets.policy import Policy

MANIFEST = pa.schema(
    [
        ("image_id", pa.string()),
        ("key", pa.string()),
        ("object_key", pa.string()),
        ("split", pa.string()),
        ("group_id", pa.string()),
        ("revision_id", pa.string()),
        ("upload_batch", pa.string()),
        ("label_batch", pa.string()),
        ("origin", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("processed_width", pa.int32()),
        ("processed_height", pa.int32()),
        ("scale", pa.float64()),
        ("boxes", pa.list_(BOX)),
        ("negatives", pa.list_(NEGATIVE_BOX)),  # null: none; manifests of earlier releases lack the column
    ]
)

_OF_SPLITS = ("split", "group_id", "reason", "declared")


class NoLabelledPhotographs(ValueError):
    """There is nothing to make a dataset of."""


@dataclass(frozen=True)
class Dataset:
    """A version of the dataset."""

    version: str
    """16 hexadecimal digits, a digest of the content."""
    manifest: pa.Table
    """Rows of MANIFEST, sorted by image_id."""
    summary: dict[str, Any]
    """Counts, as stored beside the manifest."""
    new: bool
    """Whether this call wrote it; False for a version that existed."""


def build_dataset(lake: Lake, policy: Policy, now: datetime) -> Dataset:
    """Builds the dataset of all photographs that are labelled and processed: groups them, splits them, writes it.

    The same input gives the same version, which is written once. Photographs that are excluded from all splits are
    in the manifest too, with the split `excluded`. A manifest.csv that was corrected is read first, so that no dataset
    rests on groups that are known to be wrong.

    Args:
        lake: whose tables are read.
        policy: the sections `data`, `split`, `class_map` and `evaluation` (iou) are used.
        now: the present, with a time zone.

    Raises:
        ClassNamesChanged: the policy gives another name to an id that labels have.
        NoLabelledPhotographs: no photograph has labels and a processed copy.
    """
    keep_class_names(lake, policy.class_map)
    correct_metadata(lake, now)
    with one_writer(lake, "dataset"):
        # Copies first: a label whose copy or revision comes later is not counted, so the next dataset is due.
        processed = {r["image_id"]: r for r in lake.read("processed").to_pylist()}
        stored = lake.read("annotations")
        changes = stored.filter(pc.fill_null(pc.not_equal(stored["state"], UNREVIEWED), True))
        label_state = sum(image in processed for image in changes["image_id"].to_pylist())
        annotations = labels_only(stored)
        counted = labels_that_count(annotations, policy)
        rows = _labelled(lake, counted.rows, processed)
        if not rows:
            raise NoLabelledPhotographs(_nothing(lake, counted))
        splits = _splits(lake, rows, policy, now)
        for row in rows:
            row.update({name: splits[row["image_id"]].get(name) for name in _OF_SPLITS})
        manifest = pa.Table.from_pylist(rows, schema=MANIFEST)
        version = version_of(rows, policy)
        new = not lake.exists(manifest_key(version))
        summary = _summary(version, rows, policy, counted.disputed)
        licences = licences_of_rows(lake, rows, policy.data.non_commercial_licences)
        summary["licences"] = [asdict(one) for one in licences]
        summary["notes"] += _of_licences(licences)
        summary["built_at"] = now.isoformat() if new else read_summary(lake, version).get("built_at")
        if new:
            _write(lake, version, manifest, summary, policy)
        before = DatasetPointer.read(lake)
        if before is None or (before.version, before.label_state) != (version, label_state):
            DatasetPointer(version=version, label_state=label_state, at=now).write(lake)
    return Dataset(version, manifest if new else read_manifest(lake, version), summary, new)


def _nothing(lake: Lake, counted: CountedLabels) -> str:
    if counted.disputed:
        return (
            f"{lake.url} has {len(counted.disputed)} labelled photographs, and their annotators disagree on each: "
            "`carsdepo labels agreement` lists them; policy.data.conflicts says which labels count."
        )
    return (
        f"{lake.url} has no photograph with labels: import a folder with labels, or drop label files into raw/labels "
        "beside the same paths in raw/uploads."
    )


def version_of(rows: list[dict[str, Any]], policy: Policy) -> str:
    """The version of a manifest: 16 hexadecimal digits of the sha256 of its rows and the class map.

    The bytes of the Parquet file are not used, as they depend on the version of the library that wrote them. Hard
    negatives count where there are any: a dataset without them has the version that earlier releases gave it, whatever
    causes the class map names.

    Args:
        rows: mappings with the columns of MANIFEST, in any order.
        policy: names and version of the class map are used.
    """
    class_map = policy.class_map.model_dump(mode="json", include={"version", "names"})
    digest = hashlib.sha256(json.dumps(class_map, sort_keys=True).encode())
    for row in sorted(rows, key=lambda r: r["image_id"]):
        content = {k: row[k] for k in MANIFEST.names if k != "negatives" or row[k]}
        digest.update(json.dumps(content, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def _labelled(lake: Lake, labels: pa.Table, processed: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    columns = ["image_id", "key", "batch_id", "width", "height", "group_hint", "listing", "phash"]
    images = {r["image_id"]: r for r in read_images(lake, columns).to_pylist()}
    copies = sources(image["key"] for image in images.values())
    rows = []
    for note in labels.to_pylist():
        image, copy = images.get(note["image_id"]), processed.get(note["image_id"])
        if image is None or copy is None:
            continue  # its processed image is on its way; the next dataset has it
        rows.append(
            {
                "image_id": note["image_id"],
                "key": image["key"],
                "object_key": copy["object_key"],
                "revision_id": note["revision_id"],
                "upload_batch": image["batch_id"],
                "label_batch": note["batch_id"],
                "origin": note["origin"],
                "width": image["width"],
                "height": image["height"],
                "processed_width": copy["width"],
                "processed_height": copy["height"],
                "scale": copy["scale"],
                "boxes": note["boxes"],
                "negatives": note["negatives"] or None,
                "group_hint": image["group_hint"],
                "listing": image["listing"],
                "source": copies.get(image["key"]),
                "phash": image["phash"],
            }
        )
    return rows


def _splits(lake: Lake, rows: list[dict[str, Any]], policy: Policy, now: datetime) -> dict[str, dict[str, Any]]:
    """{image_id: row of SPLITS}; new rows and the first golden set are committed.

    Killed in between, the next run finds the splits as they stand and goes on.
    """
    standing = standing_splits(lake.read("splits").to_pylist())
    closed = golden.current(lake)
    in_golden = frozenset(closed.images if closed else ())
    changed = {r["image_id"]: r for r in regrouped(rows, standing, in_golden, now)}
    standing |= changed
    fresh_ids = {r["image_id"] for r in rows} - standing.keys()
    if fresh_ids:
        objects = {r["image_id"]: r["object_key"] for r in rows}
        near = near_duplicates(
            {r["image_id"]: r["phash"] for r in rows if r["phash"]},
            fresh_ids,
            policy.data.duplicate_hamming,
            lambda image: dataset_thumbnails(lake.get(objects[image]), objects[image]),
        )
        declared = declared_of(lake, fresh_ids)
        fresh = assign(rows, near, standing, policy, now, golden=closed is not None, declared=declared)
        changed |= {r["image_id"]: r for r in fresh}
        standing |= changed
        # A new photograph may have joined two groups of one split.
        changed |= {r["image_id"]: r for r in regrouped(rows, standing, in_golden, now)}
        standing |= changed
    if changed:
        content = json.dumps([[i, changed[i]["group_id"], changed[i]["split"]] for i in sorted(changed)])
        added = [changed[i] for i in sorted(changed)]
        lake.append("splits", added, hashlib.sha256(content.encode()).hexdigest()[:16])
    test = tuple(sorted(i for i, r in standing.items() if r["split"] == "test"))
    if test and closed is None:
        golden.write(lake, golden.Golden(1, test))
    return standing


def _summary(version: str, rows: list[dict[str, Any]], policy: Policy, disputed: Mapping[str, str]) -> dict[str, Any]:
    def counts(chosen: list[dict[str, Any]]) -> dict[str, Any]:
        names = policy.class_map.names
        boxes = [b["class_id"] for r in chosen for b in r["boxes"]]
        negatives = Counter(n["cause"] for r in chosen for n in r["negatives"] or [])
        return {
            "photographs": len(chosen),
            "groups": len({r["group_id"] for r in chosen}),
            "without_damage": sum(not r["boxes"] for r in chosen),
            "boxes": {name: boxes.count(i) for i, name in enumerate(names)},
            **({"negatives": dict(sorted(negatives.items()))} if negatives else {}),
        }

    by_split: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_split.setdefault(row["split"], []).append(row)
    return {
        "version": version,
        "all": counts(rows),
        "splits": {s: counts(r) for s, r in sorted(by_split.items())},
        "excluded": {r["image_id"]: r["reason"] for r in by_split.get(EXCLUDED, [])},
        "disputed": dict(disputed),
        "declared": _declared(rows),
        "notes": _notes(rows, disputed),
        "content_digest": content_digest(rows, policy.class_map.names),
        "upload_batches": sorted({r["upload_batch"] for r in rows}),
        "label_batches": sorted({r["label_batch"] for r in rows}),
    }


def _declared(rows: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """By the split that imports declared: photographs that have it, and photographs that are excluded."""
    counts: dict[str, dict[str, int]] = {}
    for row in rows:
        if row["declared"]:
            of_split = counts.setdefault(row["declared"], {"kept": 0, "excluded": 0})
            of_split["excluded" if row["split"] == EXCLUDED else "kept"] += 1
    return dict(sorted(counts.items()))


def _notes(rows: list[dict[str, Any]], disputed: Mapping[str, str]) -> list[str]:
    """What a person should know of the splits, and what to do about it."""
    notes = []
    if disputed:
        notes.append(
            f"{len(disputed)} labelled photographs are left out, as their annotators disagree; `disputed` names each. "
            "The next labelling queue asks for them."
        )
    declared = _declared(rows)
    lost = sum(counts["excluded"] for counts in declared.values())
    if lost:
        notes.append(
            f"{lost} photographs are excluded although their import declares a split, as their car or a near-duplicate "
            "is on another side; `excluded` names each."
        )
    overlap = sum(row["reason"] == IN_GOLDEN for row in rows)
    if overlap:
        notes.append(
            f"{overlap} photographs of cars of the golden set were excluded, as their group says now. Models that were "
            "trained before have seen these cars: their figures on the golden set flatter."
        )
    missing = [s for s in ("train", "val", "test") if all(side(row["split"]) != s for row in rows)]
    if missing and declared:
        notes.append(
            f"No photographs for {' and '.join(missing)}: imports declare their splits without. Import photographs "
            "for it, or import anew with --resplit before a first dataset is built."
        )
    return notes


def _of_licences(licences: Sequence[LicenceCount]) -> list[str]:
    return [
        f"{one.sentence}: it forbids commercial use, so that a model of this dataset goes to production only where a "
        "person approves it and says why."
        for one in licences
        if one.non_commercial
    ]


def _write(lake: Lake, version: str, manifest: pa.Table, summary: Mapping[str, Any], policy: Policy) -> None:
    """The manifest last: where it is, all of the version is."""
    import yaml

    lake.put(summary_key(version), json.dumps(summary, indent=1).encode())
    lake.put(
        f"datasets/{version}/data.yaml",
        yaml.safe_dump(
            {
                "names": dict(enumerate(policy.class_map.names)),
                "manifest": "manifest.parquet",
                "licences": summary["licences"],
            }
        ).encode(),
    )
    sink = io.BytesIO()
    pq.write_table(manifest, sink, compression="zstd")
    lake.put(manifest_key(version), sink.getvalue())
