"""What a model card says: every figure with the place that it was taken from.

The sections are those of Mitchell et al., "Model Cards for Model Reporting", FAT* 2019 (arXiv:1810.03993). A card is
made of what is stored, and made anew whenever something is added: what a model was trained on never changes, what was
found out about it and where it was deployed does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from carsdepo_assets.families.registry import UnknownFamily, family_of, title_of
from carsdepo_assets.lake.evaluations import EvaluationRecord, newest_evaluation
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.licences import NONE_STATED
from carsdepo_assets.lake.models import ModelCard, findings_of, read_card, read_result
from carsdepo_assets.policy import Policy
from carsdepo_assets.policy_augmentation import AugmentationSettings
from carsdepo_assets.registry.ledger import events
from carsdepo_assets.registry.licences_learnt import LearntLicences, licences_learnt
from carsdepo_assets.registry.lineage import Lineage, ancestors, read_lineage
from carsdepo_assets.registry.preprocessing import NOT_DECLARED
from carsdepo_assets.registry.training_cost import training_cost

CARDS = "reports/card"
FEW_BOXES = 100  # below, a class's or a slice's figures move by a point with each box
_FIGURES = {
    "map50": "mAP@.5",
    "map75": "mAP@.75",
    "map50_95": "mAP@.5:.95",
    "precision": "precision at the threshold",
    "recall": "recall at the threshold",
    "f1": "F1 at the threshold",
}
_USE = (
    "Finds scratches and dents on photographs of cars, so that a car's price rests on evidence. A person looks at what "
    "the model is unsure of, and at what is disputed.",
    "Not meant for: other damage (glass, lamps, missing parts), other vehicles, the safety of a car, a decision about "
    "money without a person, or anything about the people and number plates that photographs may show.",
)


@dataclass(frozen=True)
class CardFact:
    """One line of a card."""

    name: str
    text: str
    source: str
    """Where it stands: a table and its row, or a file of the lake and its key."""


@dataclass(frozen=True)
class CardTable:
    """A table of a card; the first column names its rows."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    source: str


@dataclass(frozen=True)
class CardSection:
    """A section of a card."""

    title: str
    paragraphs: tuple[str, ...] = ()
    facts: tuple[CardFact, ...] = ()
    tables: tuple[CardTable, ...] = ()


@dataclass(frozen=True)
class CardContents:
    """A model card."""

    digest: str
    version: int | None
    """The model's number in the registry; None where it is not known."""
    made_at: datetime
    summary: str
    """The model in one sentence."""
    figures: Mapping[str, float]
    sections: tuple[CardSection, ...] = field(default=())


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
    slices = _slices(lake, record)
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
            _metrics(card, record, digest),
            _by_slice(slices, record),
            _evaluation_data(record),
            _training_data(lineage, learnt),
            _training(lineage, result, policy),
            _limits(lineage, record, slices, learnt),
            _findings(lake, digest),
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


def _metrics(card: ModelCard, record: EvaluationRecord | None, digest: str) -> CardSection:
    model = f"models/{digest}/model.json"
    threshold = CardFact("Threshold", f"{_figure(card.threshold)} ({card.threshold_from})", f"{model}, threshold")
    if record is None:
        return CardSection("Figures", ("The model was not evaluated yet.",), (threshold,))
    row = f"table evaluations, {record.evaluation_id}"
    facts = []
    for name, title in _FIGURES.items():
        text, source = _figure(getattr(record, name)), f"{row}, {name}"
        if name == "map50" and record.map50_low is not None and record.map50_high is not None:
            text += (
                f" (95 % interval {_figure(record.map50_low)} to {_figure(record.map50_high)}, whole cars resampled)"
            )
            source += ", map50_low, map50_high"
        facts.append(CardFact(title, text, source))
    if record.champion:
        champion = f"{_figure(record.champion_map50)}, by model {record.champion}"
        facts.append(CardFact("mAP@.5 of the model in production then", champion, f"{row}, champion_map50"))
    columns = ("Class", "Boxes", "AP@.5", "AP@.5:.95", "Precision", "Recall", "F1")
    classes = tuple(
        (c.name, str(c.boxes), *(_figure(v) for v in (c.ap50, c.ap50_95, c.precision, c.recall, c.f1)))
        for c in record.classes
    )
    tables = [CardTable(columns, classes, f"{row}, classes")]
    if record.false_alarm_causes:
        causes = tuple(
            (c.cause or "none named", str(c.negatives), str(c.false_alarms), _figure(c.share))
            for c in record.false_alarm_causes
        )
        titles = ("Cause of false alarms", "Labelled", "False alarms", "Share")
        tables.append(CardTable(titles, causes, f"{row}, false_alarm_causes"))
    text = (
        "A box is right where it overlaps a labelled box of its class by the policy's IoU; AP is COCO's. The threshold "
        "was chosen on the split val, never on what is evaluated here."
    )
    return CardSection("Figures", (text,), (threshold, *facts), tuple(tables))


def _slices(lake: Lake, record: EvaluationRecord | None) -> list[Mapping[str, Any]]:
    if record is None:
        return []
    try:
        stored = json.loads(lake.get(f"{record.report_key.removesuffix('.html')}.json"))
    except (LakeError, ValueError):
        return []
    slices = stored.get("slices") if isinstance(stored, dict) else None
    return [one for one in slices if _is_slice(one)] if isinstance(slices, list) else []


def _is_slice(one: Any) -> bool:
    """Whether it is one as this release writes them: other programs and releases leave reports, too."""
    return isinstance(one, dict) and "name" in one and all(isinstance(one.get(n), int) for n in ("n_images", "n_boxes"))


def _by_slice(slices: Sequence[Mapping[str, Any]], record: EvaluationRecord | None) -> CardSection:
    if record is None or not slices:
        return CardSection("Figures by light", ("No figures by light are stored.",))
    rows = tuple(
        (
            str(one["name"]),
            str(one["n_images"]),
            str(one["n_boxes"]),
            _figure(one.get("map50")),
            *(_figure((one.get("counts") or {}).get(name)) for name in ("precision", "recall", "f1")),
        )
        for one in slices
    )
    columns = ("Light", "Photographs", "Boxes", "mAP@.5", "Precision", "Recall", "F1")
    source = f"{record.report_key.removesuffix('.html')}.json, slices"
    return CardSection("Figures by light", tables=(CardTable(columns, rows, source),))


def _evaluation_data(record: EvaluationRecord | None) -> CardSection:
    if record is None:
        return CardSection("Evaluation data", ("None yet.",))
    row = f"table evaluations, {record.evaluation_id}"
    which = f"golden set {record.golden}" if record.golden else "the test split"
    return CardSection(
        "Evaluation data",
        facts=(
            CardFact("Photographs", f"{record.photographs:,}, {which}", f"{row}, photographs, golden"),
            CardFact("Labelled boxes", f"{record.boxes:,}", f"{row}, boxes"),
            CardFact("Cars", "not recorded" if record.groups is None else f"{record.groups:,}", f"{row}, groups"),
            CardFact("Labels", f"of dataset {record.dataset}", f"{row}, dataset"),
            CardFact("Report", record.report_key, f"{row}, report_key"),
        ),
    )


def _training_data(lineage: Lineage, learnt: Sequence[LearntLicences]) -> CardSection:
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


def _training(lineage: Lineage, result: Mapping[str, Any], policy: Policy) -> CardSection:
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
    preprocessing, settings = lineage.preprocessing, lineage.recipe.get("augmentation")
    if preprocessing is None:
        return ()
    varied = NOT_DECLARED
    if settings is not None:
        varied = f"version {preprocessing.augmentation}: {_described(settings)}"
    return (
        CardFact("Resize", preprocessing.resize_text, f"{source}, preprocessing"),
        CardFact("Normalisation", preprocessing.normalisation_text, f"{source}, preprocessing"),
        CardFact("Augmentation", varied, f"{source}, preprocessing.augmentation and recipe.augmentation"),
    )


def _described(settings: Any) -> str:
    try:
        return AugmentationSettings.model_validate(settings).described()
    except ValueError:  # of a release that knows other fields
        return ", ".join(f"{name} {value}" for name, value in settings.items()) if isinstance(settings, dict) else "?"


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


def _findings(lake: Lake, digest: str) -> CardSection:
    findings = findings_of(lake, digest)
    if not findings:
        return CardSection("Findings of the training", ("None is recorded.",))
    rows = tuple((one.name, f"{one.since:,}", one.evidence, one.advice) for one in findings)
    columns = ("Finding", "Since step", "Evidence", "Advice")
    return CardSection(
        "Findings of the training", tables=(CardTable(columns, rows, f"models/{digest}/result.json, findings"),)
    )


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
            CardFact("Went on from", before or "no other model", f"{source}, initialised_from"),
            CardFact("Trace", f"carsdepo lineage --model {lineage.digest}", source),
            CardFact("Make it again", f"carsdepo reproduce {lineage.digest}", source),
            CardFact("MLflow run", lineage.mlflow_run_id or "none", f"{source}, mlflow_run_id"),
            CardFact("Dagster run", lineage.dagster_run_id or "none", f"{source}, dagster_run_id"),
        ),
    )


def _figure(value: float | None) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) and math.isfinite(value) else "–"
