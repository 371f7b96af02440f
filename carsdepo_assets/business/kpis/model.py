"""The KPIs of the model in production: its accuracy, the speed of its answers, what it decides alone, labels, drift."""

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
    """A model that is or was in production, with its evaluation."""

    digest: str
    label: str
    """The version for people, such as v3."""
    evaluation: Mapping[str, Any] | None
    """Its figures and counts; None where it was not evaluated."""
    gap: str = ""
    """Why there is no evaluation."""
    golden: int = 0
    """Version of the golden set on which it was evaluated; 0: the test split of its dataset."""


def quality(models: Sequence[ProductionEvaluation]) -> list[Kpi]:
    """Precision, recall, F1 and mAP on test photographs of the model that production serves, the last of `models`.

    `n` is tp + fp for precision, else the number of labelled boxes. The trend has one point for each change.
    """
    now = models[-1] if models else None
    evaluation = now.evaluation if now else None
    kpis = []
    for name, (title, formula, n_of) in _QUALITY.items():
        value = _figure(evaluation, name)
        if now is None:
            explanation = "No model is in production yet: promote one."
        elif evaluation is None:
            explanation = now.gap
        elif value is None:
            explanation = f"The evaluation of {now.label} has no {n_of} to compute it from."
        else:
            where = f", golden set {now.golden}" if now.golden else ""
            explanation = (
                f"Model {now.label} on {evaluation['n_images']:,} test photographs that its training never saw{where}."
            )
        n = (
            0
            if evaluation is None
            else evaluation["tp"] + evaluation["fp"]
            if name == "precision"
            else evaluation["n_boxes"]
        )
        trend = tuple(
            Point(m.label, _figure(m.evaluation, name), int((m.evaluation or {}).get("n_boxes", 0))) for m in models
        )
        kpis.append(
            Kpi(name, title, "accuracy", value, "share", n, n_of, formula, explanation, trend=trend, trend_unit="share")
        )
    return kpis


def live_quality(live: pd.DataFrame, models: Sequence[ProductionEvaluation]) -> list[Kpi]:
    """Precision, recall and F1 of the present model's answers whose photographs were labelled afterwards.

    precision = Σ tp / Σ (tp + fp), recall = Σ tp / Σ (tp + fn), F1 = 2 Σ tp / (2 Σ tp + Σ fp + Σ fn), over all days.
    The trend is by month, whichever model answered.

    Args:
        live: The counts tp, fp and fn, one row for each day and model.
        models: The models that production served, the present one last.
    """
    digest = models[-1].digest if models else None
    of_model = live[live["digest"] == digest]
    days = live.assign(day=pd.to_datetime(live["day"], utc=True))
    kpis = []
    for name in _LIVE:
        title, formula, n_of = _QUALITY[name]
        value, n = _live(of_model, name)
        if value is not None:
            explanation = f"{int(of_model['photographs'].sum()):,} answered photographs that were labelled since."
        elif digest is None:
            explanation = "No model is in production yet."
        elif of_model.empty:
            explanation = "None of the present model's answers has a label yet: label the photographs of its queue."
        else:
            photographs = int(of_model["photographs"].sum())
            explanation = f"{photographs:,} photographs got labels, without {n_of} to compute it from."
        kpis.append(
            Kpi(
                f"{name}_live",
                f"{title}, live",
                "accuracy",
                value,
                "share",
                n,
                n_of,
                f"{formula}; answers of the service against labels that came since",
                explanation,
                trend=monthly(days, "day", lambda rows, name=name: _live(rows, name)),  # type: ignore[misc]
                trend_title=f"{title}, live",
                trend_unit="share",
            )
        )
    return kpis


def live_gap(quality_kpis: Sequence[Kpi]) -> Kpi:
    """(F1 on test photographs − F1 in live use) × 100: the points of accuracy that are lost in live use."""
    by_name = {kpi.name: kpi for kpi in quality_kpis}
    tested, live = by_name["f1"], by_name["f1_live"]
    if tested.value is None or live.value is None:
        value, explanation = None, tested.explanation if tested.value is None else live.explanation
    else:
        value = 100 * (tested.value - live.value)
        explanation = f"F1 {tested.value:.3f} on test photographs, {live.value:.3f} live."
    return Kpi(
        "live_gap_points",
        "Accuracy lost in live use",
        "accuracy",
        value,
        "points",
        live.n,
        live.n_of,
        "(F1 of the evaluation − F1 live) × 100",
        explanation,
        better="down",
    )


def latency(answers: pd.DataFrame, policy: BusinessPolicy, now: datetime) -> list[Kpi]:
    """The 50th, 95th and 99th percentile of an answer's milliseconds, from decoding on, over the last window_days.

    Percentiles are interpolated linearly between ranks. Answers without a measured time are left out.
    """
    timed = past(answers[answers["milliseconds"].notna()], "at", now)
    window = last_days(timed, "at", policy.window_days)
    kpis = []
    for p in (50, 95, 99):

        def percentile(rows: pd.DataFrame, p: int = p) -> tuple[float | None, int]:
            return (float(np.percentile(rows["milliseconds"], p)), len(rows)) if len(rows) else (None, 0)

        value, n = percentile(window.rows)
        kpis.append(
            Kpi(
                f"latency_p{p}_ms",
                f"Time of an answer, p{p}",
                "service",
                value,
                "ms",
                n,
                "answers",
                f"{p} of 100 answers take no longer; milliseconds from decoding to answer",
                f"{window.dates()}." if value is not None else _no_answers(answers),
                better="down",
                trend=monthly(timed, "at", percentile),
                trend_title=f"p{p}",
                trend_unit="ms",
            )
        )
    return kpis


def throughput(answers: pd.DataFrame, policy: BusinessPolicy, now: datetime) -> Kpi:
    """Photographs per second in the busiest minute of the last window_days: what was sent, not what is possible."""

    def busiest(rows: pd.DataFrame) -> tuple[float | None, int]:
        if rows.empty:
            return None, 0
        most = int(rows["at"].dt.floor("min").value_counts().max())
        return most / 60, most

    answered = past(answers, "at", now)
    window = last_days(answered, "at", policy.window_days)
    value, n = busiest(window.rows)
    explanation = (
        f"{len(window.rows):,} photographs answered, {window.dates()}. It is what was sent, not what is possible."
    )
    return Kpi(
        "throughput_per_s",
        "Photographs in the busiest minute",
        "service",
        value,
        "1/s",
        n,
        "photographs in that minute",
        "most photographs answered in one minute / 60",
        explanation if value is not None else _no_answers(answers),
        trend=monthly(answered, "at", busiest),
        trend_title="Photographs in the busiest minute",
        trend_unit="1/s",
    )


def automation_of_answers(answers: pd.DataFrame, policy: BusinessPolicy, now: datetime) -> Kpi:
    """The percentage of answers of the last window_days that need no person (decision clear or damage)."""

    def share(rows: pd.DataFrame) -> tuple[float | None, int]:
        return ratio(float(rows["decision"].isin(["clear", "damage"]).sum()), len(rows), 100.0), len(rows)

    answered = past(answers, "at", now)
    window: KpiPeriod = last_days(answered, "at", policy.window_days)
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
        f"{window.dates()}." if value is not None else _no_answers(answers),
        trend=monthly(answered, "at", share),
        trend_title="Answers without a person",
        trend_unit="%",
    )


def labelled(images: pd.DataFrame, first_labels: pd.DataFrame, now: datetime) -> Kpi:
    """The percentage of photographs that have a label; an empty label counts, since it means "looked at, no damage".

    The trend is the percentage at the end of each month.

    Args:
        images: image_id and ingested_at of every photograph.
        first_labels: image_id and created_at of the first label revision.
        now: Later rows are left out.
    """
    ingested = past(images, "ingested_at", now)
    with_labels = past(first_labels, "created_at", now)
    with_labels = with_labels[with_labels["image_id"].isin(ingested["image_id"])].drop_duplicates("image_id")
    value = ratio(float(len(with_labels)), len(ingested), 100.0)
    # Both kinds of event on one axis: photographs of October may get their labels in November.
    events = pd.concat(
        [
            pd.DataFrame({"at": ingested["ingested_at"], "images": 1, "labels": 0}),
            pd.DataFrame({"at": with_labels["created_at"], "images": 0, "labels": 1}),
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
        len(ingested),
        "images",
        "images with a label / all images × 100",
        f"{len(with_labels):,} of {len(ingested):,} images are labelled."
        if value is not None
        else "There are no images yet.",
        trend=tuple(points),
        trend_title="Labelled images",
        trend_unit="%",
    )


def drift(reports: pd.DataFrame, now: datetime) -> Kpi:
    """The drift of the newest report in percent; no value where that report could not compute it.

    The trend is the highest drift of each month.
    """
    measured = past(reports, "at", now).sort_values("at")
    computed = measured[measured["computed"].fillna(False).astype(bool) & measured["drift"].notna()]
    last = measured.iloc[-1] if len(measured) else None
    value = None
    if last is None:
        explanation = "There is no drift report yet."
    elif not last["computed"] or pd.isna(last["drift"]):
        explanation = f"The report of {last['at']:%d %b %Y, %H:%M} was not computed, which is not the same as no drift."
    else:
        value = 100 * float(last["drift"])
        where = f", most in {last['worst_feature']}" if last["worst_feature"] and value > 0 else ""
        explanation = f"Band {last['band']}{where}; report of {last['at']:%d %b %Y, %H:%M}."
    return Kpi(
        "drift_pct",
        "Drift of the traffic",
        "loop",
        value,
        "%",
        0 if last is None else int(last["photographs"] or 0),
        "photographs",
        "the worst feature's share of traffic whose mix changed, a lower bound; newest report",
        explanation,
        better="down",
        trend=monthly(computed, "at", lambda rows: (100 * float(rows["drift"].max()), len(rows))),
        trend_title="Worst drift of the month",
        trend_unit="%",
    )


@dataclass(frozen=True)
class DamageType:
    """The boxes of one class of damage, in the labels and in the model's answers; shares are None without any boxes."""

    name: str
    labelled: int
    labelled_share: float | None
    answered: int
    answered_share: float | None


def damage_types(
    labels: Mapping[int, int], answers: Mapping[int, int], class_names: Sequence[str]
) -> tuple[DamageType, ...]:
    """The boxes of each class, and their share of all boxes; a class id that has no name is called `class N`."""
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
    return f"None of the {len(answers):,} answers has the values that this needs."
