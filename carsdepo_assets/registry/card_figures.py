"""The sections of a model card on how good the model is: its figures, also by light, and what they were measured on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from carsdepo_assets.lake.evaluations import EvaluationRecord
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.models import ModelCard
from carsdepo_assets.registry.card_parts import CardFact, CardSection, CardTable, figure_text

_FIGURES = {
    "map50": "mAP@.5",
    "map75": "mAP@.75",
    "map50_95": "mAP@.5:.95",
    "precision": "precision at the threshold",
    "recall": "recall at the threshold",
    "f1": "F1 at the threshold",
}


def metrics_section(card: ModelCard, record: EvaluationRecord | None, digest: str) -> CardSection:
    """What the newest evaluation measured, altogether and by class, and the threshold."""
    model = f"models/{digest}/model.json"
    threshold = CardFact("Threshold", f"{figure_text(card.threshold)} ({card.threshold_from})", f"{model}, threshold")
    if record is None:
        return CardSection("Figures", ("The model was not evaluated yet.",), (threshold,))
    row = f"table evaluations, {record.evaluation_id}"
    facts = []
    for name, title in _FIGURES.items():
        text, source = figure_text(getattr(record, name)), f"{row}, {name}"
        if name == "map50" and record.map50_low is not None and record.map50_high is not None:
            low, high = figure_text(record.map50_low), figure_text(record.map50_high)
            text += f" (95 % interval {low} to {high}, whole cars resampled)"
            source += ", map50_low, map50_high"
        facts.append(CardFact(title, text, source))
    if record.champion:
        champion = f"{figure_text(record.champion_map50)}, by model {record.champion}"
        facts.append(CardFact("mAP@.5 of the model in production then", champion, f"{row}, champion_map50"))
    columns = ("Class", "Boxes", "AP@.5", "AP@.5:.95", "Precision", "Recall", "F1")
    classes = tuple(
        (c.name, str(c.boxes), *(figure_text(v) for v in (c.ap50, c.ap50_95, c.precision, c.recall, c.f1)))
        for c in record.classes
    )
    tables = [CardTable(columns, classes, f"{row}, classes")]
    if record.false_alarm_causes:
        causes = tuple(
            (c.cause or "none named", str(c.negatives), str(c.false_alarms), figure_text(c.share))
            for c in record.false_alarm_causes
        )
        titles = ("Cause of false alarms", "Labelled", "False alarms", "Share")
        tables.append(CardTable(titles, causes, f"{row}, false_alarm_causes"))
    text = (
        "A box is right where it overlaps a labelled box of its class by the policy's IoU; AP is COCO's. The threshold "
        "was chosen on the split val, never on what is evaluated here."
    )
    return CardSection("Figures", (text,), (threshold, *facts), tuple(tables))


def slices_of(lake: Lake, record: EvaluationRecord | None) -> list[Mapping[str, Any]]:
    """The figures by light of an evaluation's report; none where it has none that can be read."""
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


def slices_section(slices: Sequence[Mapping[str, Any]], record: EvaluationRecord | None) -> CardSection:
    """The figures by light, as `slices_of` has them."""
    if record is None or not slices:
        return CardSection("Figures by light", ("No figures by light are stored.",))
    rows = tuple(
        (
            str(one["name"]),
            str(one["n_images"]),
            str(one["n_boxes"]),
            figure_text(one.get("map50")),
            *(figure_text((one.get("counts") or {}).get(name)) for name in ("precision", "recall", "f1")),
        )
        for one in slices
    )
    columns = ("Light", "Photographs", "Boxes", "mAP@.5", "Precision", "Recall", "F1")
    source = f"{record.report_key.removesuffix('.html')}.json, slices"
    return CardSection("Figures by light", tables=(CardTable(columns, rows, source),))


def evaluation_data_section(record: EvaluationRecord | None) -> CardSection:
    """What the newest evaluation was measured on."""
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
