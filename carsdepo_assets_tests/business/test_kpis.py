"""business/kpis/business.py, business/kpis/base.py: each KPI against numbers worked out by hand, and gaps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from carsdepo_assets.business.kpis.base import Kpi, improvement_pct, ratio, with_verdict
from carsdepo_assets.business.kpis.business import automation, cost_reduction, dispute_reduction, speed_improvement
from carsdepo_assets.business.periods import last_days, monthly, past, split
from carsdepo_assets.policy import BusinessPolicy
from carsdepo_assets_tests.business.business_rows import NOW, complaints, sales, visits

RULES = BusinessPolicy()  # 30 days
BASELINE = "2026-06-30"
NONE = complaints()


def many(month: str, n: int, days: int = 10) -> list[tuple[str, str, str | None]]:
    """n sales of a month, each after so many days."""
    sold = pd.Timestamp(f"{month}-15")
    return [(f"{month}-{i}", str((sold - timedelta(days=days)).date()), str(sold.date())) for i in range(n)]


def test_dispute_reduction_by_hand() -> None:
    """Before: 2 pricing disputes of 10 sales, 20 a hundred. Since: 1 of 20, 5 a hundred. (20 − 5) / 20 = 75 %."""
    sold = sales(*many("2026-05", 10), *many("2026-08", 20))
    dispute_rows = complaints(
        ("2026-05-0", "2026-05-20", "damage"),
        ("2026-05-1", "2026-05-21", "price"),
        ("2026-05-2", "2026-05-21", "other"),  # not about the price
        ("2026-05-3", "2026-07-21", "damage"),  # 67 days after the sale: outside dispute_days
        ("2026-08-0", "2026-09-14", "price"),  # day 30: inside
    )
    kpi = dispute_reduction(sold, dispute_rows, RULES, NOW, BASELINE)
    assert (kpi.value, kpi.n) == (pytest.approx(75.0), 30)
    assert [(p.label, p.value, p.n) for p in kpi.trend] == [
        ("2026-05", 20.0, 10), ("2026-06", None, 0), ("2026-07", None, 0), ("2026-08", 5.0, 20),
    ]  # fmt: skip
    assert "20.0 pricing disputes per 100 sales until 30 Jun 2026 (n = 10), 5.0 since (n = 20)" in kpi.explanation


def test_two_disputes_of_one_sale_are_two() -> None:
    dispute_rows = complaints(("2026-05-0", "2026-05-20", "damage"), ("2026-05-0", "2026-05-22", "price"))
    kpi = dispute_reduction(sales(*many("2026-05", 10), *many("2026-08", 10)), dispute_rows, RULES, NOW, BASELINE)
    assert kpi.trend[0].value == 20.0
    assert kpi.value == 100.0


def test_sales_whose_disputes_may_be_still_to_come_are_left_out() -> None:
    """Counted, November's undisputed sales would flatter the platform: 100 % of nothing."""
    old = many("2026-05", 10)
    dispute_rows = complaints(("2026-05-0", "2026-05-20", "damage"))
    kpi = dispute_reduction(sales(*old, *many("2026-11", 50)), dispute_rows, RULES, NOW, BASELINE)
    assert (kpi.value, kpi.n) == (None, 10)
    assert "no sales that are old enough after 30 Jun 2026" in kpi.explanation
    assert "may be still to come: 50" in kpi.explanation


def test_a_dispute_of_an_unknown_sale_counts_nowhere_and_is_said() -> None:
    dispute_rows = complaints(("2026-05-0", "2026-05-20", "damage"), ("T?", "2026-08-20", "damage"))
    kpi = dispute_reduction(sales(*many("2026-05", 10), *many("2026-08", 10)), dispute_rows, RULES, NOW, BASELINE)
    assert kpi.value == 100.0
    assert "Disputes of a sale that is not in the transactions: 1" in kpi.explanation


def test_more_disputes_than_before_is_below_zero() -> None:
    """Before 1 of 10, since 2 of 10: (10 − 20) / 10 = −100 %."""
    dispute_rows = complaints(
        ("2026-05-0", "2026-05-20", "damage"),
        ("2026-08-0", "2026-08-20", "damage"),
        ("2026-08-1", "2026-08-20", "price"),
    )
    kpi = dispute_reduction(sales(*many("2026-05", 10), *many("2026-08", 10)), dispute_rows, RULES, NOW, BASELINE)
    assert kpi.value == pytest.approx(-100.0)
    assert "it got worse" in kpi.explanation
    assert with_verdict(kpi, RULES.goals).verdict == "missed"


@pytest.mark.parametrize(
    ("sold", "dispute_rows", "why"),
    [
        (sales(), NONE, "There are no sales"),
        (sales(*many("2026-05", 3)), NONE, "no sales that are old enough after 30 Jun 2026 yet"),
        (sales(*many("2026-08", 3)), NONE, "no sales that are old enough until 30 Jun 2026 to compare with"),
        (sales(*many("2026-05", 3), *many("2026-08", 3)), NONE, "a change from 0 has no percentage"),
    ],
)
def test_one_sided_periods_are_explained_gaps(sold: pd.DataFrame, dispute_rows: pd.DataFrame, why: str) -> None:
    kpi = with_verdict(dispute_reduction(sold, dispute_rows, RULES, NOW, BASELINE), RULES.goals)
    assert (kpi.value, kpi.verdict) == (None, "unknown")
    assert why in kpi.explanation


def test_speed_by_hand() -> None:
    """Before: 10, 20, 60 days, median 20. Since: 10 and 20 days, median 15. (20 − 15) / 20 = 25 %."""
    sold = sales(
        ("a", "2026-05-01", "2026-05-11"), ("b", "2026-05-01", "2026-05-21"), ("c", "2026-04-01", "2026-05-31"),
        ("d", "2026-06-25", "2026-07-05"), ("e", "2026-07-01", "2026-07-21"), ("f", "2026-11-20", None),
    )  # fmt: skip
    kpi = speed_improvement(sold, RULES, NOW, BASELINE)
    assert (kpi.value, kpi.n, kpi.trend_unit) == (pytest.approx(25.0), 5, "days")
    assert [(p.label, p.value) for p in kpi.trend] == [("2026-05", 20.0), ("2026-06", None), ("2026-07", 15.0)]
    assert speed_improvement(sales(("f", "2026-11-20", None)), RULES, NOW, BASELINE).value is None


def test_sales_at_once_before_the_platform_give_no_percentage() -> None:
    sold = sales(("a", "2026-05-01", "2026-05-01"), ("b", "2026-07-01", "2026-07-03"))
    kpi = speed_improvement(sold, RULES, NOW, BASELINE)
    assert kpi.value is None
    assert "It was 0 days" in kpi.explanation


def test_what_is_dated_after_now_or_sold_before_it_was_listed_does_not_count() -> None:
    sold = sales(
        ("a", "2026-05-01", "2026-05-21"), ("b", "2026-07-01", "2026-07-11"),
        ("future", "2026-11-01", "2026-11-25"), ("wrong", "2026-07-20", "2026-07-01"),
    )  # fmt: skip
    kpi = speed_improvement(sold, RULES, NOW, BASELINE)
    assert (kpi.value, kpi.n) == (pytest.approx(50.0), 2)
    assert "Dated after 24 Nov 2026: 1 sales" in kpi.explanation


def test_cost_by_hand() -> None:
    """Before: (20 + 30) / 2 = 25. Since: (15 + 25) / 2 = 20. (25 − 20) / 25 = 20 %. A cost of NaN is no cost."""
    rows = visits(
        ("2026-05-01", 8, 0, 20), ("2026-06-30T23:59:59", 8, 0, 30), ("2026-07-01", 8, 8, 15), ("2026-08-01", 8, 8, 25),
        ("2026-08-02", 8, 8, None),
    )  # fmt: skip
    kpi = cost_reduction(rows, RULES, NOW, BASELINE)
    assert (kpi.value, kpi.n, kpi.trend_unit) == (pytest.approx(20.0), 4, "EUR")
    assert "Inspections without a cost in EUR: 1" in kpi.explanation
    dollars = visits(("2026-08-03", 8, 8, 9000), currency="USD")
    assert cost_reduction(pd.concat([rows, dollars]), RULES, NOW, BASELINE).value == pytest.approx(20.0)


def test_free_before_the_platform_gives_no_percentage() -> None:
    kpi = cost_reduction(visits(("2026-05-01", 8, 0, 0), ("2026-07-01", 8, 8, 5)), RULES, NOW, BASELINE)
    assert kpi.value is None
    assert "It was 0 EUR" in kpi.explanation


def test_automation_by_hand() -> None:
    """Of the last 30 days: (5 + 9) of (10 + 10) images = 70 %. By images, not by inspections."""
    rows = visits(
        ("2026-08-01", 10, 0, 1), ("2026-11-01", 10, 5, 1), ("2026-11-20", 10, 9, 1), ("2026-11-21", None, None, 1)
    )
    kpi = automation(rows, RULES, NOW)
    assert (kpi.value, kpi.n) == (pytest.approx(70.0), 20)
    assert "21 Oct 2026 to 20 Nov 2026" in kpi.explanation
    assert [(p.label, p.value) for p in kpi.trend] == [
        ("2026-08", 0.0), ("2026-09", None), ("2026-10", None), ("2026-11", 70.0),
    ]  # fmt: skip


def test_automation_of_files_that_end_long_ago_is_of_their_last_days() -> None:
    kpi = automation(visits(("2026-01-01", 10, 0, 1), ("2026-03-01", 10, 5, 1)), RULES, NOW)
    assert kpi.value == pytest.approx(50.0)
    assert "30 Jan 2026 to 01 Mar 2026" in kpi.explanation


def test_automation_without_images_is_a_gap() -> None:
    assert automation(visits(), RULES, NOW).value is None
    kpi = automation(visits(("2026-11-01", 0, 0, 1)), RULES, NOW)
    assert kpi.value is None
    assert "hold no images" in kpi.explanation
    ahead = automation(visits(("2026-12-01", 10, 10, 1)), RULES, NOW)
    assert ahead.value is None
    assert "Dated after" in ahead.explanation


def test_the_border_between_the_periods_is_midnight_utc() -> None:
    rows = visits(
        ("2026-06-30T23:59:59.999999", 1, 0, 1),
        ("2026-07-01T00:00:00", 1, 0, 1),
        ("2026-07-01T01:30:00+02:00", 1, 0, 1),  # still June in UTC
        ("2026-06-30T23:30:00-01:00", 1, 0, 1),  # July in UTC
    )
    before, after = split(past(rows, "at", NOW), "at", "2026-06-30")
    assert (list(before.index), list(after.index)) == ([0, 2], [1, 3])
    points = monthly(past(rows, "at", NOW), "at", lambda r: (float(len(r)), len(r)))
    assert [(p.label, p.n) for p in points] == [("2026-06", 2), ("2026-07", 2)]


def test_times_without_a_zone_are_utc_and_now_itself_counts() -> None:
    rows = pd.DataFrame({"at": [NOW.replace(tzinfo=None), NOW.replace(tzinfo=None) + timedelta(microseconds=1), None]})
    assert list(past(rows, "at", NOW).index) == [0]


def test_the_last_days_leave_out_their_first_instant() -> None:
    rows = past(
        visits(("2026-10-21T12:00:00", 1, 0, 1), ("2026-10-21T12:00:01", 1, 0, 1), ("2026-11-20T12:00:00", 1, 0, 1)),
        "at",
        NOW,
    )
    window = last_days(rows, "at", 30)
    assert list(window.rows.index) == [1, 2]
    assert last_days(rows.iloc[:0], "at", 30).end is None


def test_over_the_turn_of_the_year_no_month_is_lost() -> None:
    points = monthly(
        past(visits(("2025-11-30", 1, 0, 1), ("2026-02-01", 1, 0, 1)), "at", NOW), "at", lambda r: (1.0, len(r))
    )
    assert [p.label for p in points] == ["2025-11", "2025-12", "2026-01", "2026-02"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [(8, 6, 25.0), (8, 10, -25.0), (8, 8, 0.0), (8, 0, 100.0), (0, 3, None), (0, 0, None), (None, 3, None),
     (8, None, None), (float("nan"), 3, None), (8, float("nan"), None), (float("inf"), 3, None)],
)  # fmt: skip
def test_improvement(old: float | None, new: float | None, expected: float | None) -> None:
    assert improvement_pct(old, new) == expected


def test_ratio() -> None:
    assert (ratio(1, 4), ratio(1, 0), ratio(float("nan"), 1), ratio(0, 5, 100)) == (0.25, None, None, 0.0)


def kpi(value: float | None, better: str = "up") -> Kpi:
    return Kpi("k", "K", "business", value, "%", 1, "sales", "", "", better=better)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "better", "verdict"),
    [(20, "up", "met"), (19.9, "up", "missed"), (-5, "up", "missed"), (20, "down", "met"), (20.1, "down", "missed"),
     (None, "up", "unknown"), (float("nan"), "down", "unknown"), ((8 - 6.4) / 8 * 100, "up", "met")],
)  # fmt: skip
def test_verdicts(value: float | None, better: str, verdict: str) -> None:
    """The last value is 20 but for float's last digit."""
    assert with_verdict(kpi(value, better), {"k": 20.0}).verdict == verdict


def test_without_a_goal_there_is_no_verdict() -> None:
    assert with_verdict(kpi(20), {"other": 1.0}).verdict is None


def test_the_month_of_the_first_model_is_two_points() -> None:
    """One point would stand before the model, with the model's days in it."""
    live = datetime(2026, 11, 10, 12, tzinfo=UTC)
    rows = visits(("2026-10-05", 10, 0, 1), ("2026-11-02", 10, 0, 1), ("2026-11-12", 10, 8, 1))
    trend = automation(rows, RULES, NOW, live).trend
    assert [(p.label, p.value) for p in trend] == [("2026-10", 0.0), ("2026-11, before", 0.0), ("2026-11, since", 80.0)]
    assert trend[0].at == ""
    assert datetime.fromisoformat(trend[1].at) < live < datetime.fromisoformat(trend[2].at)
    whole = automation(visits(("2026-11-12", 10, 8, 1)), RULES, NOW, live).trend
    assert [(p.label, p.value) for p in whole] == [("2026-11", 80.0)]
    month_before = automation(visits(("2026-10-05", 10, 0, 1), ("2026-11-12", 10, 8, 1)), RULES, NOW, live).trend
    assert [p.label for p in month_before] == ["2026-10", "2026-11"]
