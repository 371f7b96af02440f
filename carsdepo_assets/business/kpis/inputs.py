"""What the KPIs are computed from, read once from the lake."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from carsdepo_assets.business.ingest import latest, stray_files
from carsdepo_assets.business.kpis.model import ProductionEvaluation
from carsdepo_assets.business.periods import last_days, past
from carsdepo_assets.lake.annotations import latest_revisions
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.ledger import SERVES, Event, events


@dataclass(frozen=True)
class KpiInputs:
    """Frames of the tables' columns; times in UTC. answers: those of production, without boxes.

    models: what production served, change by change, the present one last. changes: the ledger's events.
    label_boxes, answer_boxes: boxes by class id, of the label revisions that count and of the answers of the last
    window_days at their threshold. stray: files in raw/business/ that nothing reads.
    """

    now: datetime
    inspections: pd.DataFrame
    transactions: pd.DataFrame
    disputes: pd.DataFrame
    answers: pd.DataFrame
    live: pd.DataFrame
    drift: pd.DataFrame
    images: pd.DataFrame
    first_labels: pd.DataFrame
    models: tuple[ProductionEvaluation, ...]
    changes: tuple[Event, ...]
    label_boxes: Mapping[int, int]
    answer_boxes: Mapping[int, int]
    stray: tuple[str, ...]


def gather(lake: Lake, policy: Policy, now: datetime) -> KpiInputs:
    answered = lake.read("inferences", ["at", "stage", "digest", "decision", "milliseconds", "threshold", "boxes"])
    answered = answered.filter(pc.equal(answered["stage"], "production"))
    annotations = lake.read("annotations", ["image_id", "created_at", "sequence", "revision_id", "boxes"])
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
        label_boxes=_label_boxes(lake, annotations),
        answer_boxes=_answer_boxes(answered, policy.business.window_days, now),
        stray=tuple(stray_files(lake)),
    )


def served_models(lake: Lake, changes: tuple[Event, ...]) -> tuple[ProductionEvaluation, ...]:
    """What production served, a step each change: a model that it went back to comes again."""
    reports: dict[str, list[str]] = {}
    for found in lake.list("reports/evaluation"):
        name = PurePosixPath(found.key)
        if name.suffix == ".json":
            reports.setdefault(name.stem.split("-")[0], []).append(found.key)
    read: dict[str, ProductionEvaluation] = {}
    for event in changes:
        if event.digest is not None and event.digest not in read:
            read[event.digest] = _evaluated(lake, event.digest, event, reports.get(event.digest, []))
    return tuple(read[event.digest] for event in changes if event.digest is not None)


def _evaluated(lake: Lake, digest: str, event: Event, reports: list[str]) -> ProductionEvaluation:
    """The evaluation on the newest golden set; of several on it, the last one made."""
    label = digest[:8] if event.version is None else f"v{event.version}"
    said = [json.loads(lake.get(key)) for key in reports]
    if not said:
        why = f"Model {label} has no evaluation: reports/evaluation holds none of {digest}. Materialize `evaluation`."
        return ProductionEvaluation(digest, label, None, gap=why)
    best = max(said, key=lambda one: (one.get("golden", 0), one.get("at", "")))
    return ProductionEvaluation(digest, label, best["evaluation"], golden=best.get("golden", 0))


def _label_boxes(lake: Lake, annotations: pa.Table) -> dict[int, int]:
    sql = """
        select box.class_id as class_id, count(*) as n from (select unnest(boxes) as box from revisions)
        group by class_id
    """
    return _counts(lake.query(sql, revisions=latest_revisions(annotations)))


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
