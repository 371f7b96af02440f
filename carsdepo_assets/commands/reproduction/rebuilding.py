"""Builds a model's dataset again in a clean lake, from the photographs and labels that the model's lake has now."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from carsdepo_assets.commands.reproduction.fields import ComparedField, bounded, compared
from carsdepo_assets.commands.reproduction.labels import labels_now
from carsdepo_assets.commands.reproduction.photographs import copy_originals, make_copies
from carsdepo_assets.data.datasets.content_digest import content_digest
from carsdepo_assets.data.datasets.dataset import MANIFEST, NoLabelledPhotographs, build_dataset, version_of
from carsdepo_assets.lake import golden
from carsdepo_assets.lake.datasets import manifest_key, read_manifest
from carsdepo_assets.lake.evaluations import EvaluationRecord
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.lineage import Lineage, describe_data

Row = dict[str, Any]
Say = Callable[[str], None]
_LEARNT_FROM = ("train", "val")
_DERIVED = ("tables", "datasets", "golden")  # of the clean lake, made at each call


@dataclass
class Rebuilt:
    """The dataset in the clean lake."""

    version: str | None = None
    """None: none could be built."""
    fields: list[ComparedField] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    photographs: int = 0
    """Photographs of the dataset."""


def rebuild(
    source: Lake, clean: Lake, lineage: Lineage, evaluation: EvaluationRecord | None, policy: Policy, say: Say
) -> Rebuilt:
    """Checks what a dataset was made of, byte by byte, and builds it again.

    Args:
        source: the lake of the model; nothing is written there.
        clean: the lake in which it is made again.
        lineage: of the model.
        evaluation: whose photographs are needed too; None: the model was never evaluated.
        policy: of the model's training.
        say: announces what takes long.
    """
    built = Rebuilt()
    rows = _manifest(source, lineage.data.version, policy, built, lineage.data.content_digest)
    if rows is None:
        return built
    built.photographs = len(rows)
    needed = {row["image_id"]: row for row in rows if row["split"] in _LEARNT_FROM}
    needed |= {
        row["image_id"]: row for row in _evaluated(source, clean, evaluation, lineage.data.version, rows, policy, built)
    }
    say(f"{len(needed)} photographs are compared with their digests and copied")
    photographs = copy_originals(source, clean, list(needed.values()))
    say(f"{len(rows)} labels are compared with their digests")
    labels = labels_now(source, rows, policy)
    recorded = {row["image_id"]: row for row in _of_images(source, "processed", rows)}
    say("processed copies are made again from the originals")
    make_copies(source, clean, [r for r in rows if r["split"] in _LEARNT_FROM], recorded, policy, photographs)
    built.fields += bounded(photographs.fields) + bounded(labels.fields)
    built.notes += _few(labels.notes)
    if photographs.as_stored:
        built.notes.append(
            f"{photographs.as_stored} processed copies are made otherwise now than when they were stored (another "
            "library, or another policy): they are taken as the lake has them, and their digests hold."
        )
    if not photographs.fields:
        built.fields.append(
            ComparedField("data", "photographs", "same", str(len(needed)), str(photographs.originals), "by sha256")
        )
    if not labels.fields:
        built.fields.append(
            ComparedField("data", "labels", "same", str(len(rows)), str(len(labels.rows)), f"{labels.files} files")
        )
    _fill(source, clean, rows, labels.rows, recorded)
    _build(clean, lineage, policy, built)
    return built


def clear(lake: Path) -> None:
    """Removes what an earlier call left of tables and datasets. Photographs and copies stay: they are compared again.

    Args:
        lake: the folder of the clean lake, before it is opened.
    """
    for name in _DERIVED:
        shutil.rmtree(lake / name, ignore_errors=True)


def _manifest(
    source: Lake, version: str, policy: Policy, built: Rebuilt, content: str | None = None
) -> list[Row] | None:
    """The rows of a stored manifest, compared with the digests that name it; None where it is gone."""
    try:
        rows: list[Row] = read_manifest(source, version).to_pylist()
    except (LakeError, OSError, ValueError) as error:
        built.fields.append(ComparedField("data", f"manifest of dataset {version}", "missing", version, "", str(error)))
        return None
    rows = [{**dict.fromkeys(MANIFEST.names), **row} for row in rows]
    now = version_of(rows, policy)
    if now != version:
        what = "the manifest was changed, or the class map is another"
        built.fields.append(ComparedField("data", f"manifest of dataset {version}", "differs", version, now, what))
    stored = content_digest(rows, policy.class_map.names)
    if content is not None and stored != content:
        built.fields.append(ComparedField("data", "content digest of the manifest", "differs", content, stored))
    return rows


def _evaluated(
    source: Lake,
    clean: Lake,
    evaluation: EvaluationRecord | None,
    trained_on: str,
    rows: Sequence[Row],
    policy: Policy,
    built: Rebuilt,
) -> list[Row]:
    """The rows on which the model was evaluated; the golden set, and a dataset of its own, go to the clean lake."""
    if evaluation is None:
        return []
    manifest: Sequence[Row] | None = rows
    if evaluation.dataset != trained_on:
        manifest = _manifest(source, evaluation.dataset, policy, built)
        if manifest is None:
            return []
        clean.put(manifest_key(evaluation.dataset), source.get(manifest_key(evaluation.dataset)))
    assert manifest is not None
    if not evaluation.golden:
        return [row for row in manifest if row["split"] == "test"]
    try:
        for version in range(1, evaluation.golden + 1):
            clean.put(golden.key(version), source.get(golden.key(version)))
        chosen = set(golden.read(source, evaluation.golden).images)
    except LakeError as error:
        name = f"golden set {evaluation.golden}"
        built.fields.append(ComparedField("data", name, "missing", str(evaluation.golden), "", str(error)))
        return []
    return [row for row in manifest if row["image_id"] in chosen]


def _of_images(source: Lake, table: str, rows: Sequence[Row]) -> list[Row]:
    of_images = ("image_id", "in", {row["image_id"] for row in rows})
    return list(source.read(table, where=[of_images]).to_pylist())


def _fill(source: Lake, clean: Lake, rows: Sequence[Row], labels: Sequence[Row], recorded: dict[str, Row]) -> None:
    """The tables from which a dataset is built.

    Groups and splits are the manifest's: they follow from the order in which photographs came, which is not repeated.
    Cars and listings are left out, so that what they say by now joins no groups.
    """
    images = {row["image_id"]: row for row in _of_images(source, "images", rows)}
    clean.append("images", [{**row, "group_hint": None, "listing": None} for row in images.values()], "reproduction")
    clean.append("processed", list(recorded.values()), "reproduction")
    clean.append("annotations", list(labels), "reproduction")
    at = datetime(2000, 1, 1, tzinfo=UTC)
    splits = [
        {"image_id": r["image_id"], "group_id": r["group_id"], "split": r["split"], "reason": "", "assigned_at": at}
        for r in rows
    ]
    clean.append("splits", splits, "reproduction")


def _build(clean: Lake, lineage: Lineage, policy: Policy, built: Rebuilt) -> None:
    try:
        dataset = build_dataset(clean, policy, datetime.now(UTC))
    except NoLabelledPhotographs as error:
        built.fields.append(ComparedField("data", "dataset", "missing", lineage.data.version, "", str(error)))
        return
    built.version = dataset.version
    now = describe_data(dataset.version, dataset.manifest, dataset.summary["content_digest"])
    built.fields += [
        compared("data", "content digest", lineage.data.content_digest, now.content_digest),
        compared("data", "dataset version", lineage.data.version, now.version),
        compared("data", "photographs by split", lineage.data.splits, now.splits),
        compared("data", "labelled boxes", lineage.data.boxes, now.boxes),
        compared("data", "digest of all revisions", lineage.data.revisions_digest, now.revisions_digest),
    ]


def _few(notes: Sequence[str], most: int = 3) -> list[str]:
    return [*notes[:most], *([f"{len(notes) - most} more such files."] if len(notes) > most else [])]
