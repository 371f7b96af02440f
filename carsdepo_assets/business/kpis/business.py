"""The KPIs from the business's own tables: disputes, speed of sales, cost of inspections, automation.

The functions take frames with the columns of the tables, one row for each id, with times in UTC. `baseline_until` (ISO
date) is the last day before the platform. Rows that are dated after `now` are left out. `live_since` is when
production served its first model; trends have two points in that month.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime

import pandas as pd

from carsdepo_assets.business.kpis.base import Kpi, improvement_pct, ratio
from carsdepo_assets.business.periods import last_days, left_out, monthly, past, split
from carsdepo_assets.policy import BusinessPolicy

PRICING_CAUSES = ("damage", "price")  # what photographs could have settled


def dispute_reduction(
    transactions: pd.DataFrame,
    disputes: pd.DataFrame,
    policy: BusinessPolicy,
    now: datetime,
    baseline_until: str,
    live_since: datetime | None = None,
) -> Kpi:
    """By how many percent pricing disputes per sale fell since the platform.

    rate = disputes of cause damage or price within dispute_days of the sale / sales × 100; the KPI is
    (old rate − new rate) / old rate × 100. A sale belongs to the period of its sold_at. Sales younger than dispute_days
    are left out, since their disputes may be still to come. A dispute of a sale that is not in `transactions` is not
    counted.
    """
    sold = past(transactions, "sold_at", now)
    ripe = sold[sold["sold_at"] <= pd.Timestamp(now) - pd.Timedelta(days=policy.dispute_days)]
    pricing_disputes = past(disputes[disputes["cause"].isin(PRICING_CAUSES)], "opened_at", now)
    joined = pricing_disputes.merge(ripe[["transaction_id", "sold_at"]], on="transaction_id")
    in_time = joined["opened_at"] - joined["sold_at"] <= pd.Timedelta(days=policy.dispute_days)
    counted = joined[in_time]["transaction_id"].value_counts()
    ripe = ripe.assign(disputes=ripe["transaction_id"].map(counted).fillna(0))

    def rate(rows: pd.DataFrame) -> tuple[float | None, int]:
        return ratio(float(rows["disputes"].sum()), len(rows), 100.0), len(rows)

    orphans = len(pricing_disputes) - int(pricing_disputes["transaction_id"].isin(transactions["transaction_id"]).sum())
    notes = [_future(transactions, "sold_at", now, "sales")]
    if waiting := len(sold) - len(ripe):
        notes.append(
            f"Sales of the last {policy.dispute_days} days, whose disputes may be still to come: {waiting:,}, "
            "not counted."
        )
    if orphans:
        notes.append(f"Disputes of a sale that is not in the transactions: {orphans:,}, not counted.")
    return _compared(
        Kpi(
            "dispute_reduction_pct",
            "Reduction in pricing disputes",
            "business",
            None,
            "%",
            len(ripe),
            "sales",
            "rate = disputes of cause damage or price within "
            f"{policy.dispute_days} days of the sale / sales × 100; (old rate − new rate) / old rate × 100",
            "",
            trend=monthly(ripe, "sold_at", rate, live_since),
            trend_title="Pricing disputes per 100 sales",
        ),
        *(rate(part) for part in split(ripe, "sold_at", baseline_until)),
        what="sales that are old enough",
        figure="pricing disputes per 100 sales",
        baseline_until=baseline_until,
        notes=notes,
    )


def speed_improvement(
    transactions: pd.DataFrame,
    policy: BusinessPolicy,
    now: datetime,
    baseline_until: str,
    live_since: datetime | None = None,
) -> Kpi:
    """By how many percent the time from listing to sale fell since the platform.

    days = median of (sold_at − listed_at); the KPI is (old days − new days) / old days × 100. A sale belongs to the
    period of its sold_at and not of its listed_at: of the newest listings only the quickest are sold yet.
    """
    sold = past(transactions, "sold_at", now)
    days = (sold["sold_at"] - pd.to_datetime(sold["listed_at"], utc=True)).dt.total_seconds() / 86400
    sold = sold.assign(days=days)[days >= 0]

    def median(rows: pd.DataFrame) -> tuple[float | None, int]:
        return (float(rows["days"].median()), len(rows)) if len(rows) else (None, 0)

    return _compared(
        Kpi(
            "speed_improvement_pct",
            "Faster sales",
            "business",
            None,
            "%",
            len(sold),
            "sales",
            "days = median(sold_at − listed_at); (old days − new days) / old days × 100",
            "",
            trend=monthly(sold, "sold_at", median, live_since),
            trend_title="Median days from listing to sale",
            trend_unit="days",
        ),
        *(median(part) for part in split(sold, "sold_at", baseline_until)),
        what="sales",
        figure="days from listing to sale",
        baseline_until=baseline_until,
        notes=[_future(transactions, "sold_at", now, "sales")],
    )


def cost_reduction(
    inspections: pd.DataFrame,
    policy: BusinessPolicy,
    now: datetime,
    baseline_until: str,
    live_since: datetime | None = None,
) -> Kpi:
    """By how many percent the mean cost of an inspection, in policy.currency, fell since the platform."""
    inspected = past(inspections, "at", now)
    priced = inspected[inspected["cost"].notna() & (inspected["currency"] == policy.currency)]

    def mean(rows: pd.DataFrame) -> tuple[float | None, int]:
        return (float(rows["cost"].mean()), len(rows)) if len(rows) else (None, 0)

    notes = [_future(inspections, "at", now, "inspections")]
    if unknown := len(inspected) - len(priced):
        notes.append(f"Inspections without a cost in {policy.currency}: {unknown:,}, not counted.")
    return _compared(
        Kpi(
            "cost_reduction_pct",
            "Reduction in inspection cost",
            "business",
            None,
            "%",
            len(priced),
            "inspections",
            "cost = mean cost of an inspection; (old cost − new cost) / old cost × 100",
            "",
            trend=monthly(priced, "at", mean, live_since),
            trend_title="Cost of an inspection",
            trend_unit=policy.currency,
        ),
        *(mean(part) for part in split(priced, "at", baseline_until)),
        what="inspections with a cost",
        figure=f"{policy.currency} for an inspection",
        baseline_until=baseline_until,
        notes=notes,
    )


def automation(
    inspections: pd.DataFrame, policy: BusinessPolicy, now: datetime, live_since: datetime | None = None
) -> Kpi:
    """images_by_ml / images × 100, over the last window_days before the newest inspection."""
    counted = past(inspections, "at", now)
    counted = counted[counted["images"].notna() & counted["images_by_ml"].notna()]

    def share(rows: pd.DataFrame) -> tuple[float | None, int]:
        images = float(rows["images"].sum())
        return ratio(float(rows["images_by_ml"].sum()), images, 100.0), int(images)

    window = last_days(counted, "at", policy.window_days)
    value, n = share(window.rows)
    if value is not None:
        explanation = f"{n:,} images of {len(window.rows):,} inspections, {window.dates()}."
    elif counted.empty:
        explanation = "There are no inspections: drop files into raw/business/inspections."
    else:
        explanation = f"The inspections of {window.dates()} hold no images."
    return Kpi(
        "automation_pct",
        "Images inspected by ML",
        "business",
        value,
        "%",
        n,
        "images",
        "images that ML decided without a person / all images × 100, by the inspections table",
        " ".join(filter(None, [explanation, _future(inspections, "at", now, "inspections")])),
        trend=monthly(counted, "at", share, live_since),
        trend_title="Images inspected by ML",
        trend_unit="%",
    )


def _future(rows: pd.DataFrame, column: str, now: datetime, what: str) -> str:
    ahead = left_out(rows, column, now)
    return f"Dated after {now:%d %b %Y}: {ahead:,} {what}, not counted." if ahead else ""


def _compared(
    kpi: Kpi,
    old: tuple[float | None, int],
    new: tuple[float | None, int],
    *,
    what: str,
    figure: str,
    baseline_until: str,
    notes: list[str],
) -> Kpi:
    """The KPI with its value and its explanation: both figures, or why there is nothing to compare."""
    (before, n_before), (after, n_after) = old, new
    value = improvement_pct(before, after)
    until = f"{date.fromisoformat(baseline_until):%d %b %Y}"
    if value is not None:
        explanation = (
            f"{before:,.1f} {figure} until {until} (n = {n_before:,}), {after:,.1f} since (n = {n_after:,})"
            f"{'' if value >= 0 else ': it got worse'}."
        )
    elif n_before == 0 and n_after == 0:
        explanation = f"There are no {what} yet: drop files into raw/business."
    elif n_before == 0:
        explanation = f"There are no {what} until {until} to compare with: bring older files in, or set baseline_until."
    elif n_after == 0:
        explanation = f"There are no {what} after {until} yet."
    else:
        explanation = f"It was 0 {figure} until {until} (n = {n_before:,}), and a change from 0 has no percentage."
    return replace(kpi, value=value, explanation=" ".join(filter(None, [explanation, *notes])))
