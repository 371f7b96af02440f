"""The licences of the photographs and labels that a model learnt from, its ancestors' among them."""

from __future__ import annotations

from dataclasses import dataclass

from carsdepo_assets.lake.datasets import read_manifest
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.licences import LicenceCount, licences_of_rows
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.lineage import ancestors, read_lineage

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


def licences_learnt(lake: Lake, digest: str, policy: Policy) -> list[LearntLicences]:
    """The licences of what a model and the models before it learnt from, as they are stated now.

    A dataset that the lake has no more is left out: nothing can be said of it.

    Raises:
        LakeError: there is no such model.
    """
    learnt = []
    for lineage in [read_lineage(lake, digest), *ancestors(lake, digest)]:
        try:
            rows = read_manifest(lake, lineage.data.version).select(["image_id", "key", "revision_id", "split"])
        except LakeError:
            continue
        chosen = [row for row in rows.to_pylist() if row["split"] in _LEARNT_FROM]
        counts = licences_of_rows(lake, chosen, policy.data.non_commercial_licences)
        learnt.append(LearntLicences(lineage.digest, lineage.data.version, tuple(counts)))
    return learnt


def non_commercial(lake: Lake, digest: str, policy: Policy) -> str | None:
    """Why a person must decide about a model: it learnt from what may not be used commercially; None where it did not.

    A model without a record of its lineage gives None: what it learnt from is not known.
    """
    try:
        learnt = licences_learnt(lake, digest, policy)
    except (LakeError, ValueError):
        return None
    sentences = []
    for model in learnt:
        through = "" if model.digest == digest else f" (by model {model.digest}, from which it went on)"
        sentences += [f"{one.sentence}{through}" for one in model.counts if one.non_commercial]
    if not sentences:
        return None
    return f"it learnt from what may not be used commercially: {'; '.join(dict.fromkeys(sentences))}"
