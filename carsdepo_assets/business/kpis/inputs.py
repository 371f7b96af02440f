"""Reads from the lake what the KPIs are computed from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from carsdepo_assets.business.file_states import stray_files
from carsdepo_assets.business.ingest import latest
from carsdepo_assets.business.kpis.model import ProductionEvaluation
from carsdepo_assets.business.periods import last_days, past
from carsdepo_assets.lake.annotations import labels_only
from carsdepo_assets.lake.evaluations import FIGURES, EvaluationRecord, evaluations
from carsdepo_assets.lake.label_conflicts import COLUMNS, labels_that_count
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.ledger import SERVES, Event, events


@dataclass(frozen=True)
class KpiInputs:
    """What the KPIs of one moment are computed from. The frames have the columns of their tables; times are UTC."""

    now: datetime
    """The moment of the report; what is dated later is left out."""
    inspections: pd.DataFrame
    transactions: pd.DataFrame
    disputes: pd.DataFrame
    answers: pd.DataFrame
    """Production's rows of `inferences`, without their boxes."""
    live: pd.DataFrame
    """The newest row of `live_quality` for each day and model."""
    drift: pd.DataFrame
    """The table `drift`: one row for each drift report."""
    images: pd.DataFrame
    """image_id and ingested_at of every photograph."""
    first_labels: pd.DataFrame
    """image_id of every labelled photograph, with the time of its first label revision as created_at."""
    models: tuple[ProductionEvaluation, ...]
    """The models that production served, one for each change; the last is the present one."""
    changes: tuple[Event, ...]
    """The ledger's events that changed the model in production."""
    label_boxes: Mapping[int, int]
    """Labelled boxes by class id, of the labels of each photograph that count for a dataset."""
    answer_boxes: Mapping[int, int]
    """Boxes by class id at and above the threshold, in the answers of the last policy.business.window_days."""
    stray: tuple[str, ...]
    """Keys of files in raw/business/ that nothing reads."""


def gather(lake: Lake, policy: Policy, now: datetime) -> KpiInputs:
    """Reads the inputs of the KPIs as they are at the moment `now`."""
    answered = lake.read("inferences", ["at", "stage", "digest", "decision", "milliseconds", "threshold", "boxes"])
    answered = answered.filter(pc.equal(answered["stage"], "production"))
    annotations = labels_only(lake.read("annotations", COLUMNS))
    changes = tuple(e for e in events(lake, "production") if e.action in SERVES and e.at <= now)
    first = "select image_id, min(created_at) as created_at from annotations group by image_id"
    live = 'select * from live_quality qualify row_number() over (partition by day, digest order by "at" desc) = 1'
    return KpiInputs(
        now=now,
        inspections=latest(lake, "inspections"),
        transactions=latest(lake, "transactions"),
        disputes=latest(lake, "disputes"),
        answers=answered.drop_columns(["boxes"]).to_pandas(),
        live=lake.query(live).to_pandas(),
        drift=lake.read("drift").to_pandas(),
        images=lake.read("images", ["image_id", "ingested_at"]).to_pandas(),
        first_labels=lake.query(first, annotations=annotations).to_pandas(),
        models=served_models(lake, changes),
        changes=changes,
        label_boxes=_label_boxes(lake, annotations, policy),
        answer_boxes=_answer_boxes(answered, policy.business.window_days, now),
        stray=tuple(stray_files(lake)),
    )


def served_models(lake: Lake, changes: tuple[Event, ...]) -> tuple[ProductionEvaluation, ...]:
    """The models that production served, one for each change; after a rollback the earlier model comes once more."""
    by_model: dict[str, list[EvaluationRecord]] = {}
    for record in evaluations(lake):
        by_model.setdefault(record.digest, []).append(record)
    models: dict[str, ProductionEvaluation] = {}
    for event in changes:
        if event.digest is not None and event.digest not in models:
            models[event.digest] = _evaluated(event.digest, event, by_model.get(event.digest, []))
    return tuple(models[event.digest] for event in changes if event.digest is not None)


def _evaluated(digest: str, event: Event, records: list[EvaluationRecord]) -> ProductionEvaluation:
    """The evaluation on the newest golden set; of several on it, the last one made."""
    label = digest[:8] if event.version is None else f"v{event.version}"
    if not records:
        why = f"Model {label} has no evaluation: `evaluations` has no row of {digest}. Materialize `evaluation`."
        return ProductionEvaluation(digest, label, None, gap=why)
    best = max(records, key=lambda record: (record.golden, record.at))
    counts = {"tp": best.tp, "fp": best.fp, "fn": best.fn, "n_boxes": best.boxes, "n_images": best.photographs}
    figures = {name: getattr(best, name) for name in FIGURES}
    return ProductionEvaluation(digest, label, figures | counts, golden=best.golden)


def _label_boxes(lake: Lake, annotations: pa.Table, policy: Policy) -> dict[int, int]:
    sql = """
        select box.class_id as class_id, count(*) as n from (select unnest(boxes) as box from revisions)
        group by class_id
    """
    return _counts(lake.query(sql, revisions=labels_that_count(annotations, policy).rows))


def _answer_boxes(answered: pa.Table, days: int, now: datetime) -> dict[int, int]:
    """Boxes at and above the threshold that answered: capture keeps them further down."""
    window = last_days(past(answered.select(["at"]).to_pandas(), "at", now), "at", days)
    rows = answered.take(pa.array(window.rows.index, pa.int64()))
    parents = pc.list_parent_indices(rows["boxes"])
    boxes = pc.list_flatten(rows["boxes"])
    threshold = rows["threshold"].take(parents)
    at_threshold = pc.greater_equal(pc.struct_field(boxes, "score"), threshold)
    classes = pc.struct_field(boxes, "class_id").filter(at_threshold)
    counted = pc.value_counts(classes).to_pylist()
    return {int(one["values"]): int(one["counts"]) for one in counted if one["values"] is not None}


def _counts(rows: pa.Table) -> dict[int, int]:
    return {int(r["class_id"]): int(r["n"]) for r in rows.to_pylist() if r["class_id"] is not None}
