"""What a model card says: every figure with the place that it was taken from.

The sections are those of Mitchell et al., "Model Cards for Model Reporting", FAT* 2019 (arXiv:1810.03993). A card is
made of what is stored, and made anew whenever something is added: what a model was trained on never changes, what was
found out about it and where it was deployed does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from carsdepo_assets.families.registry import UnknownFamily, family_of, title_of
from carsdepo_assets.lake.evaluations import EvaluationRecord, newest_evaluation
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.licences import NONE_STATED
from carsdepo_assets.lake.models import ModelCard, read_card, read_result
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.card_figures import (
    evaluation_data_section,
    metrics_section,
    slices_of,
    slices_section,
)
from carsdepo_assets.registry.card_parts import CardContents, CardFact, CardSection, CardTable
from carsdepo_assets.registry.card_training import findings_section, training_data_section, training_section
from carsdepo_assets.registry.ledger import events
from carsdepo_assets.registry.licences_learnt import LearntLicences, licences_learnt
from carsdepo_assets.registry.lineage import Lineage, ancestors, read_lineage

FEW_BOXES = 100  # below, a class's or a slice's figures move by a point with each box
_USE = (
    "Finds scratches and dents on photographs of cars, so that a car's price rests on evidence. A person looks at what "
    "the model is unsure of, and at what is disputed.",
    "Not meant for: other damage (glass, lamps, missing parts), other vehicles, the safety of a car, a decision about "
    "money without a person, or anything about the people and number plates that photographs may show.",
)


def card_contents(lake: Lake, digest: str, policy: Policy, version: int | None = None) -> CardContents:
    """Gathers what a model's card says.

    Args:
        lake: the lake with the model.
        digest: the model.
        policy: says which licences forbid commercial use, and what an hour of a machine costs.
        version: its number in the registry; None: that of the ledger, where it has one.

    Raises:
        LakeError: there is no such model.
    """
    lineage, card = read_lineage(lake, digest), read_card(lake, digest)
    result, record = read_result(lake, digest), newest_evaluation(lake, digest)
    learnt = licences_learnt(lake, digest, policy)
    history = [e for e in events(lake) if e.digest == digest]
    version = version or next((e.version for e in reversed(history) if e.version is not None), None)
    slices = slices_of(lake, record)
    evaluated = f"{record.verdict}." if record else "Not evaluated yet."
    return CardContents(
        digest=digest,
        version=version,
        made_at=datetime.now(UTC),
        summary=f"{lineage.detector} for {' and '.join(card.class_names)} on photographs of cars. {evaluated}",
        figures=record.figures if record else {},
        sections=(
            _details(lineage, card),
            CardSection("Intended use", _USE),
            metrics_section(card, record, digest),
            slices_section(slices, record),
            evaluation_data_section(record),
            training_data_section(lineage, learnt),
            training_section(lineage, result, policy),
            _limits(lineage, record, slices, learnt),
            findings_section(lake, digest),
            _release(lake, digest, history),
            _lineage(lake, lineage),
        ),
    )


def _details(lineage: Lineage, card: ModelCard) -> CardSection:
    model, from_lineage = f"models/{card.digest}/model.json", f"models/{card.digest}/lineage.json"
    try:
        licence = family_of(card.detector).licence
    except UnknownFamily:  # of a package that was removed
        licence = "not known: no installed package brings this family"
    return CardSection(
        "Model details",
        facts=(
            CardFact("Family", f"{title_of(card.detector)} ({card.detector})", f"{model}, detector"),
            CardFact("Licence of the family", licence, "the registry of families; docs/detectors.md"),
            CardFact("Classes", ", ".join(card.class_names), f"{model}, class_names"),
            CardFact("Network's image", f"{card.image_size} px", f"{model}, image_size"),
            CardFact("Trained", f"{lineage.created_at:%d %b %Y, %H:%M} UTC", f"{from_lineage}, created_at"),
            CardFact("Code", f"{lineage.code.version}, source {lineage.code.source_digest}", f"{from_lineage}, code"),
            CardFact("Policy", lineage.policy_digest, f"{from_lineage}, policy_digest"),
        ),
    )


def _limits(
    lineage: Lineage,
    record: EvaluationRecord | None,
    slices: Sequence[Mapping[str, Any]],
    learnt: Sequence[LearntLicences],
) -> CardSection:
    """What the stored figures say against the model."""
    limits: list[str] = []
    if record is not None:
        limits += [f"{c.name}: only {c.boxes} labelled boxes." for c in record.classes if c.boxes < FEW_BOXES]
        limits += [
            f"Light {s['name']}: only {s['n_boxes']} labelled boxes." for s in slices if s["n_boxes"] < FEW_BOXES
        ]
        if record.map50_low is None:
            limits.append("There are too few cars for an interval of mAP@.5.")
        if record.floor_met is False:
            limits.append(f"It is under the policy's floor: {record.verdict}.")
    origins = lineage.data.revisions_by_origin
    rendered = sum(origins.get(origin, 0) for origin in ("sample", "annotator"))
    if rendered:
        limits.append(
            f"{rendered:,} of {sum(origins.values()):,} labels are of rendered photographs, not of real ones."
        )
    for model in learnt:
        limits += [f"No commercial use: {one.sentence}." for one in model.counts if one.non_commercial]
    limits += [f"No commercial use: {model.weights}." for model in learnt if model.weights is not None]
    unstated = [one for model in learnt[:1] for one in model.counts if one.licence == NONE_STATED]
    limits += [f"Nobody states a licence of {one.about}." for one in unstated]
    if not limits:
        limits = ["The stored figures name none beyond what the intended use leaves out."]
    return CardSection("Limits", tuple(dict.fromkeys(limits)))


def _release(lake: Lake, digest: str, history: Sequence[Any]) -> CardSection:
    gates = sorted((r for r in lake.read("gates").to_pylist() if r["challenger"] == digest), key=lambda r: str(r["at"]))
    facts = tuple(
        CardFact(f"Gate, {row['at']:%d %b %Y}", f"{row['verdict']}: {' '.join(row['reasons'] or [])}", _gate(row))
        for row in gates
    )
    rows = tuple((f"{e.at:%d %b %Y, %H:%M}", e.stage, e.action, e.actor, e.reason) for e in history)
    table = CardTable(("When (UTC)", "Stage", "What", "By", "Why"), rows, "table deployments")
    if not facts and not rows:
        return CardSection("Release", ("The gate has not looked at it, and it was never deployed.",))
    return CardSection("Release", facts=facts, tables=(table,) if rows else ())


def _gate(row: Mapping[str, Any]) -> str:
    return f"table gates, {row['gate_id']}; {row['report_key']}"


def _lineage(lake: Lake, lineage: Lineage) -> CardSection:
    source = f"models/{lineage.digest}/lineage.json"
    before = " <- ".join(one.digest for one in ancestors(lake, lineage.digest)) or lineage.initialised_from
    return CardSection(
        "Lineage",
        facts=(
            CardFact("Went on from", before or "no other model", f"{source}, initialised_from, initial_weights"),
            CardFact("Trace", f"carsdepo lineage --model {lineage.digest}", source),
            CardFact("Make it again", f"carsdepo reproduce {lineage.digest}", source),
            CardFact("MLflow run", lineage.mlflow_run_id or "none", f"{source}, mlflow_run_id"),
            CardFact("Dagster run", lineage.dagster_run_id or "none", f"{source}, dagster_run_id"),
        ),
    )
