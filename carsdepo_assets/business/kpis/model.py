"""KPIs of the model in production: accuracy, speed of its answers, what it decides alone, labels, drift.

An evaluation is what a `reports/evaluation/<digest>-*.json` says under "evaluation".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from carsdepo_assets.business.kpis.base import Kpi, ratio
from carsdepo_assets.business.periods import KpiPeriod, Point, last_days, monthly, past
from carsdepo_assets.policy import BusinessPolicy

_QUALITY = {
    "precision": ("Precision", "right boxes / all boxes of the model, IoU 0.5, at its threshold", "boxes"),
    "recall": ("Recall", "damage found / damage labelled, IoU 0.5, at its threshold", "labelled boxes"),
    "f1": ("F1", "2 × precision × recall / (precision + recall)", "labelled boxes"),
    "map50": ("mAP at IoU 0.5", "mean over classes of COCO's average precision at IoU 0.5", "labelled boxes"),
    "map50_95": ("mAP at IoU 0.5 to 0.95", "the same, mean over IoU 0.5, 0.55 … 0.95", "labelled boxes"),
}
_LIVE = ("precision", "recall", "f1")


@dataclass(frozen=True)
class ProductionEvaluation:
    """A model that is or was in production. evaluation: None where it has none, and `gap` says so.

    golden: version of the golden set that it was scored on; 0: the test split of its dataset.
    """

    digest: str
    label: str  # v3
    evaluation: Mapping[str, Any] | None
    gap: str = ""
    golden: int = 0


def quality(models: Sequence[ProductionEvaluation]) -> list[Kpi]:
    """Precision, recall, F1, mAP on test photographs: of the last of the models, which production serves now.

    n: tp + fp for precision, else the labelled boxes. trend: a step each change of the model.
    """
    now = models[-1] if models else None
    found = now.evaluation if now else None
    made = []
    for name, (title, formula, n_of) in _QUALITY.items():
        value = _figure(found, name)
        if now is None:
            said = "No model is in production yet: promote one."
        elif found is None:
            said = now.gap
        elif value is None:
            said = f"The evaluation of {now.label} has no {n_of} to compute it from."
        else:
            where = f", golden set {now.golden}" if now.golden else ""
            said = f"Model {now.label} on {found['n_images']:,} test photographs that its training never saw{where}."
        n = 0 if found is None else found["tp"] + found["fp"] if name == "precision" else found["n_boxes"]
        trend = tuple(
            Point(m.label, _figure(m.evaluation, name), int((m.evaluation or {}).get("n_boxes", 0))) for m in models
        )
        made.append(
            Kpi(name, title, "accuracy", value, "share", n, n_of, formula, said, trend=trend, trend_unit="share")
        )
    return made


def live_quality(live: pd.DataFrame, models: Sequence[ProductionEvaluation]) -> list[Kpi]:
    """Precision, recall and F1 of the answers that met labels since: counts of all days of the present model.

    precision = Σ tp / Σ (tp + fp), recall = Σ tp / Σ (tp + fn), F1 = 2 Σ tp / (2 Σ tp + Σ fp + Σ fn). trend: by month,
    whatever model answered. live: one row a day and digest.
    """
    digest = models[-1].digest if models else None
    ours = live[live["digest"] == digest]
    days = live.assign(day=pd.to_datetime(live["day"], utc=True))
    made = []
    for name in _LIVE:
        title, formula, n_of = _QUALITY[name]
        value, n = _live(ours, name)
        if value is not None:
            said = f"{int(ours['photographs'].sum()):,} answered photographs that were labelled since."
        elif digest is None:
            said = "No model is in production yet."
        elif ours.empty:
            said = "None of the present model's answers has met a label yet: label its queue."
        else:
            said = f"Labels came for {int(ours['photographs'].sum()):,} photographs, without {n_of} to compute it from."
        made.append(
            Kpi(
                f"{name}_live",
                f"{title}, live",
                "accuracy",
                value,
                "share",
                n,
                n_of,
                f"{formula}; answers of the service against labels that came since",
                said,
                trend=monthly(days, "day", lambda rows, name=name: _live(rows, name)),  # type: ignore[misc]
                trend_title=f"{title}, live",
                trend_unit="share",
            )
        )
    return made


def live_gap(quality_kpis: Sequence[Kpi]) -> Kpi:
    """(F1 of the evaluation − F1 live) × 100: points of accuracy lost between the test photographs and the street."""
    by_name = {kpi.name: kpi for kpi in quality_kpis}
    tested, live = by_name["f1"], by_name["f1_live"]
    if tested.value is None or live.value is None:
        value, said = None, tested.explanation if tested.value is None else live.explanation
    else:
        value = 100 * (tested.value - live.value)
        said = f"F1 {tested.value:.3f} on test photographs, {live.value:.3f} live."
    return Kpi(
        "live_gap_points",
        "Accuracy lost in live use",
        "accuracy",
        value,
        "points",
        live.n,
        live.n_of,
        "(F1 of the evaluation − F1 live) × 100",
        said,
        better="down",
    )


def latency(answers: pd.DataFrame, policy: BusinessPolicy, now: datetime) -> list[Kpi]:
    """p50, p95, p99 of milliseconds (decode to answer), linear between ranks, over the last window_days.

    trend: the same percentile by month. Answers without a time measured are left out.
    """
    done = past(answers[answers["milliseconds"].notna()], "at", now)
    window = last_days(done, "at", policy.window_days)
    made = []
    for p in (50, 95, 99):

        def percentile(rows: pd.DataFrame, p: int = p) -> tuple[float | None, int]:
            return (float(np.percentile(rows["milliseconds"], p)), len(rows)) if len(rows) else (None, 0)

        value, n = percentile(window.rows)
        made.append(
            Kpi(
                f"latency_p{p}_ms",
                f"Time of an answer, p{p}",
                "service",
                value,
                "ms",
                n,
                "answers",
                f"{p} of 100 answers take no longer; milliseconds from decoding to answer",
                f"{window.said()}." if value is not None else _no_answers(answers),
                better="down",
                trend=monthly(done, "at", percentile),
                trend_title=f"p{p}",
                trend_unit="ms",
            )
        )
    return made


def throughput(answers: pd.DataFrame, policy: BusinessPolicy, now: datetime) -> Kpi:
    """most photographs answered in one minute / 60, over the last window_days: what was asked, not what is possible."""

    def busiest(rows: pd.DataFrame) -> tuple[float | None, int]:
        if rows.empty:
            return None, 0
        most = int(rows["at"].dt.floor("min").value_counts().max())
        return most / 60, most

    done = past(answers, "at", now)
    window = last_days(done, "at", policy.window_days)
    value, n = busiest(window.rows)
    said = f"{len(window.rows):,} photographs answered, {window.said()}. It is what was asked, not what is possible."
    return Kpi(
        "throughput_per_s",
        "Photographs in the busiest minute",
        "service",
        value,
        "1/s",
        n,
        "photographs in that minute",
        "most photographs answered in one minute / 60",
        said if value is not None else _no_answers(answers),
        trend=monthly(done, "at", busiest),
        trend_title="Photographs in the busiest minute",
        trend_unit="1/s",
    )


def automation_of_answers(answers: pd.DataFrame, policy: BusinessPolicy, now: datetime) -> Kpi:
    """answers with decision clear or damage / all answers × 100, over the last window_days; the rest needs a person."""

    def share(rows: pd.DataFrame) -> tuple[float | None, int]:
        return ratio(float(rows["decision"].isin(["clear", "damage"]).sum()), len(rows), 100.0), len(rows)

    done = past(answers, "at", now)
    window: KpiPeriod = last_days(done, "at", policy.window_days)
    value, n = share(window.rows)
    return Kpi(
        "automation_answers_pct",
        "Answers without a person",
        "service",
        value,
        "%",
        n,
        "answers",
        "answers that say clear or damage / all answers × 100, by the service's own record",
        f"{window.said()}." if value is not None else _no_answers(answers),
        trend=monthly(done, "at", share),
        trend_title="Answers without a person",
        trend_unit="%",
    )


def labelled(images: pd.DataFrame, first_labels: pd.DataFrame, now: datetime) -> Kpi:
    """images with a label revision (an empty one too: reviewed, no damage) / all images × 100.

    images: image_id, ingested_at. first_labels: image_id, created_at of its first revision. trend: as it stood at the
    end of each month.
    """
    done = past(images, "ingested_at", now)
    known = past(first_labels, "created_at", now)
    known = known[known["image_id"].isin(done["image_id"])].drop_duplicates("image_id")
    value = ratio(float(len(known)), len(done), 100.0)
    # Both kinds of event on one axis: photographs of October may get their labels in November.
    events = pd.concat(
        [
            pd.DataFrame({"at": done["ingested_at"], "images": 1, "labels": 0}),
            pd.DataFrame({"at": known["created_at"], "images": 0, "labels": 1}),
        ]
    )
    months = monthly(events, "at", lambda rows: (float(rows["labels"].sum()), int(rows["images"].sum())))
    points, total, with_label = [], 0, 0.0
    for month in months:
        total, with_label = total + month.n, with_label + (month.value or 0.0)
        points.append(Point(month.label, ratio(with_label, total, 100.0), total))
    return Kpi(
        "labelled_pct",
        "Labelled images",
        "loop",
        value,
        "%",
        len(done),
        "images",
        "images with a label / all images × 100",
        f"{len(known):,} of {len(done):,} images are labelled." if value is not None else "There are no images yet.",
        trend=tuple(points),
        trend_title="Labelled images",
        trend_unit="%",
    )


def drift(reports: pd.DataFrame, now: datetime) -> Kpi:
    """drift of the newest report × 100: its worst feature's share of changed traffic. A report not computed is a gap.

    trend: the worst computed report of each month.
    """
    done = past(reports, "at", now).sort_values("at")
    computed = done[done["computed"].fillna(False).astype(bool) & done["drift"].notna()]
    last = done.iloc[-1] if len(done) else None
    value = None
    if last is None:
        said = "There is no drift report yet."
    elif not last["computed"] or pd.isna(last["drift"]):
        said = f"The report of {last['at']:%d %b %Y, %H:%M} was not computed, which is not the same as no drift."
    else:
        value = 100 * float(last["drift"])
        where = f", most in {last['worst_feature']}" if last["worst_feature"] and value > 0 else ""
        said = f"Band {last['band']}{where}; report of {last['at']:%d %b %Y, %H:%M}."
    return Kpi(
        "drift_pct",
        "Drift of the traffic",
        "loop",
        value,
        "%",
        0 if last is None else int(last["photographs"] or 0),
        "photographs",
        "the worst feature's share of traffic whose mix changed, a lower bound; newest report",
        said,
        better="down",
        trend=monthly(computed, "at", lambda rows: (100 * float(rows["drift"].max()), len(rows))),
        trend_title="Worst drift of the month",
        trend_unit="%",
    )


@dataclass(frozen=True)
class DamageType:
    """One class: boxes in the labels that count, and in the model's answers; shares of all boxes, None without any."""

    name: str
    labelled: int
    labelled_share: float | None
    answered: int
    answered_share: float | None


def damage_types(
    labels: Mapping[int, int], answers: Mapping[int, int], class_names: Sequence[str]
) -> tuple[DamageType, ...]:
    """boxes of a class / boxes of all classes, of labels and of answers. An id outside the map is named `class N`."""
    ids = sorted({*range(len(class_names)), *labels, *answers})
    of_labels, of_answers = sum(labels.values()), sum(answers.values())
    return tuple(
        DamageType(
            class_names[i] if 0 <= i < len(class_names) else f"class {i}",
            labels.get(i, 0),
            ratio(labels.get(i, 0), of_labels),
            answers.get(i, 0),
            ratio(answers.get(i, 0), of_answers),
        )
        for i in ids
    )


def _figure(evaluation: Mapping[str, Any] | None, name: str) -> float | None:
    value = None if evaluation is None else evaluation.get(name)
    return None if value is None or not np.isfinite(value) else float(value)


def _live(rows: pd.DataFrame, name: str) -> tuple[float | None, int]:
    tp, fp, fn = (int(rows[c].fillna(0).sum()) for c in ("tp", "fp", "fn"))
    if name == "precision":
        return ratio(tp, tp + fp), tp + fp
    if name == "recall":
        return ratio(tp, tp + fn), tp + fn
    return ratio(2 * tp, 2 * tp + fp + fn), tp + fn


def _no_answers(answers: pd.DataFrame) -> str:
    if answers.empty:
        return "The production service has answered nothing yet, or inference_log has not run."
    return f"None of {len(answers):,} answers has what it takes."
