"""The sections of a model card on how the model was made: data with their licences, training, and what was found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.licences import NONE_STATED
from carsdepo_assets.lake.models import findings_of
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.card_parts import CardFact, CardSection, CardTable
from carsdepo_assets.registry.licences_learnt import LearntLicences
from carsdepo_assets.registry.lineage import Lineage
from carsdepo_assets.registry.preprocessing import augmentation_text
from carsdepo_assets.registry.training_cost import training_cost


def training_data_section(lineage: Lineage, learnt: Sequence[LearntLicences]) -> CardSection:
    """The dataset, and the licences of what this model and those before it learnt from."""
    source, data = f"models/{lineage.digest}/lineage.json, data", lineage.data
    rows = tuple(
        (
            one.licence + (" (no commercial use)" if one.non_commercial else ""),
            one.of,
            f"{one.photographs:,}",
            one.claimed_by or "nobody",
            "SPDX" if one.is_spdx else "" if one.licence == NONE_STATED else "not an SPDX identifier",
            "this model" if model.digest == lineage.digest else f"model {model.digest} before it",
        )
        for model in learnt
        for one in model.counts
    ) + tuple(
        ("not known: the dataset was erased", "", "", "", "", f"model {model.digest}, of dataset {model.dataset}")
        for model in learnt
        if model.erased
    )
    columns = ("Licence", "Of", "Photographs", "Claimed by", "Name", "Learnt by")
    splits = ", ".join(f"{n:,} {split}" for split, n in data.splits.items())
    origins = ", ".join(f"{n:,} {origin}" for origin, n in data.revisions_by_origin.items())
    text = "A licence is what a file or a person claims; nobody has checked it with the photographers."
    return CardSection(
        "Training data and its licences",
        (text,),
        (
            CardFact("Dataset", data.version, f"{source}, version"),
            CardFact("Content digest", data.content_digest or "not recorded", f"{source}, content_digest"),
            CardFact("Photographs", splits, f"{source}, splits"),
            CardFact("Labelled boxes", f"{data.boxes:,}", f"{source}, boxes"),
            CardFact("Labels by origin", origins, f"{source}, revisions_by_origin"),
        ),
        (CardTable(columns, rows, "table licences, over the splits train and val of the dataset"),),
    )


def training_section(lineage: Lineage, result: Mapping[str, Any], policy: Policy) -> CardSection:
    """Recipe, preprocessing, length, machine and money."""
    file, from_lineage = f"models/{lineage.digest}/result.json", f"models/{lineage.digest}/lineage.json"
    recipe = ", ".join(f"{k} {v}" for k, v in lineage.recipe.items() if v not in (None, {}) and k != "augmentation")
    machine = lineage.environment
    hardware = [machine.get("gpu"), machine.get("cpu"), f"{machine.get('cores', '?')} cores"]
    threads = machine.get("threads")
    told = result.get("seconds")
    seconds = float(told) if isinstance(told, int | float) and math.isfinite(told) else None
    minutes = "not recorded" if seconds is None else f"{seconds / 60:.1f} minutes"
    cost = training_cost(lineage, seconds, policy.compute)
    return CardSection(
        "Training",
        facts=(
            CardFact("Recipe", recipe, f"{from_lineage}, recipe (digest {lineage.recipe_digest})"),
            *_preprocessing(lineage, from_lineage),
            CardFact("Length", lineage.training or f"{result.get('steps')} steps", f"{from_lineage}, training"),
            CardFact("Wall time", minutes, f"{file}, seconds"),
            CardFact("Hardware", ", ".join(filter(None, hardware)), f"{from_lineage}, environment"),
            CardFact("Threads", threads or "not recorded", f"{from_lineage}, environment.threads"),
            CardFact("torch", machine.get("torch", "not recorded"), f"{from_lineage}, environment.torch"),
            CardFact("Cost", cost.text, cost.source),
        ),
    )


def _preprocessing(lineage: Lineage, source: str) -> tuple[CardFact, ...]:
    """Resize, normalisation and augmentation; nothing of models that are older than their record."""
    preprocessing, varied = lineage.preprocessing, augmentation_text(lineage.recipe)
    if preprocessing is None:
        return ()
    if preprocessing.augmentation is not None:
        varied = f"version {preprocessing.augmentation}: {varied}"
    return (
        CardFact("Resize", preprocessing.resize_text, f"{source}, preprocessing"),
        CardFact("Normalisation", preprocessing.normalisation_text, f"{source}, preprocessing"),
        CardFact("Augmentation", varied, f"{source}, preprocessing.augmentation and recipe.augmentation"),
    )


def findings_section(lake: Lake, digest: str) -> CardSection:
    """What was wrong with the training."""
    findings = findings_of(lake, digest)
    if not findings:
        return CardSection("Findings of the training", ("None is recorded.",))
    rows = tuple((one.name, f"{one.since:,}", one.evidence, one.advice) for one in findings)
    columns = ("Finding", "Since step", "Evidence", "Advice")
    return CardSection(
        "Findings of the training", tables=(CardTable(columns, rows, f"models/{digest}/result.json, findings"),)
    )
