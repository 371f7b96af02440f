"""The licences of the photographs and labels that a model learnt from, its ancestors' among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from carsdepo_assets.families.registry import UnknownFamily, family_of
from carsdepo_assets.lake.datasets import DatasetErased, read_manifest
from carsdepo_assets.lake.lake import Lake, ObjectMissing
from carsdepo_assets.lake.licence_names import is_non_commercial
from carsdepo_assets.lake.licences import LicenceCount, licences_of_rows
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.lineage import Lineage, ancestors, read_lineage

_LEARNT_FROM = ("train", "val")


@dataclass(frozen=True)
class LearntLicences:
    """The licences of what one model learnt from."""

    digest: str
    """The model: the one that was asked for, or one that it went on from."""
    dataset: str
    """The dataset that it was trained on."""
    counts: tuple[LicenceCount, ...]
    """Of the photographs in the splits train and val."""
    erased: bool = False
    """The dataset is not in the lake any more, so that there are no counts."""
    weights: str | None = None
    """The published weights that it started from and their licence, where that forbids commercial use."""


def licences_learnt(lake: Lake, digest: str, policy: Policy) -> list[LearntLicences]:
    """The licences of what a model and the models before it learnt from, as they are stated now.

    Of a dataset that was erased nothing can be said: its counts are empty.

    Raises:
        LakeError: there is no such model, or the lake does not answer.
        ValueError: a record is damaged.
    """
    learnt, patterns = [], policy.data.non_commercial_licences
    for lineage in [read_lineage(lake, digest), *ancestors(lake, digest)]:
        try:
            rows = read_manifest(lake, lineage.data.version).select(["image_id", "key", "revision_id", "split"])
        except DatasetErased:
            learnt.append(LearntLicences(lineage.digest, lineage.data.version, (), True, _weights(lineage, patterns)))
            continue
        chosen = [row for row in rows.to_pylist() if row["split"] in _LEARNT_FROM]
        counts = tuple(licences_of_rows(lake, chosen, patterns))
        learnt.append(LearntLicences(lineage.digest, lineage.data.version, counts, weights=_weights(lineage, patterns)))
    return learnt


def _weights(lineage: Lineage, patterns: Sequence[str]) -> str | None:
    """The published weights that a training started from, where their licence forbids commercial use."""
    try:
        family = family_of(lineage.detector)
    except UnknownFamily:
        return None
    init, published = str(lineage.recipe.get("init")), family.pretrained
    if init == "imagenet" and family.imagenet is not None:
        name, licence = family.imagenet, family.imagenet_licence
    elif published is not None and init.rpartition("/")[2] in ("pretrained", published.file):
        name, licence = published.file, published.licence
    else:
        return None
    return f"{licence}, of the weights {name}" if is_non_commercial(licence, patterns) else None


def non_commercial(lake: Lake, digest: str, policy: Policy) -> str | None:
    """Why a person must decide about a model: it learnt from what may not be used commercially, or from what nobody can
    look up any more; None where it did not.

    A model without a record of its lineage, as of a release that wrote none, gives None.

    Raises:
        LakeError: the lake does not answer.
    """
    if not _has_record(lake, digest):
        return None
    try:
        learnt = licences_learnt(lake, digest, policy)
    except ValueError as error:
        first = str(error).partition("\n")[0]
        return f"what it learnt from cannot be read: {first}"
    sentences, erased = [], []
    for model in learnt:
        through = "" if model.digest == digest else f" (by model {model.digest}, from which it went on)"
        sentences += [f"{one.sentence}{through}" for one in model.counts if one.non_commercial]
        sentences += [f"{model.weights}{through}"] if model.weights is not None else []
        erased += [f"{model.dataset}{through}"] if model.erased else []
    reasons = []
    if sentences:
        reasons.append(f"it learnt from what may not be used commercially: {'; '.join(dict.fromkeys(sentences))}")
    if erased and policy.data.non_commercial_licences:
        reasons.append(f"it learnt from a dataset that was erased, with its licences: {', '.join(erased)}")
    return ", and ".join(reasons) or None


def _has_record(lake: Lake, digest: str) -> bool:
    try:
        return lake.get(f"models/{digest}/lineage.json").strip() not in (b"", b"{}")
    except ObjectMissing:
        return False
