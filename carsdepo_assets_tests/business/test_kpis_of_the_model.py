"""business/kpis/model.py: the KPIs of the model and the service against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from carsdepo_assets.business.kpis import model as m
from carsdepo_assets.business.kpis.model import ProductionEvaluation
from carsdepo_assets.policy import BusinessPolicy
from carsdepo_assets_tests.business.business_rows import NOW, answers, evaluation

RULES = BusinessPolicy()
V1, V2 = ProductionEvaluation("d1", "v1", evaluation(map50=0.5)), ProductionEvaluation("d2", "v2", evaluation())


def live(*rows: tuple[str, str, int, int, int]) -> pd.DataFrame:
    """(day, digest, tp, fp, fn)."""
    return pd.DataFrame(rows, columns=["day", "digest", "tp", "fp", "fn"]).assign(photographs=10)


def drifts(*rows: tuple[str, bool, float | None]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["at", "computed", "drift"])
    frame["at"] = pd.to_datetime(frame["at"], utc=True)
    return frame.assign(band="low", worst_feature="luma_p95", photographs=80)


def test_quality_is_that_of_the_model_served_now() -> None:
    values = {k.name: k for k in m.quality([V1, V2])}
    assert {n: k.value for n, k in values.items()} == {
        "precision": 0.8, "recall": 0.6, "f1": 0.686, "map50": 0.7, "map50_95": 0.4,
    }  # fmt: skip
    assert (values["precision"].n, values["recall"].n) == (75, 100)
    assert [(p.label, p.value) for p in values["map50"].trend] == [("v1", 0.5), ("v2", 0.7)]


@pytest.mark.parametrize(
    ("models", "why"),
    [
        ([], "No model is in production"),
        ([V1, ProductionEvaluation("d2", "v2", None, "Model v2 has no evaluation.")], "Model v2 has no evaluation."),
        ([ProductionEvaluation("d2", "v2", evaluation(precision=None, tp=0, fp=0))], "has no boxes to compute it from"),
    ],
)
def test_without_an_evaluation_quality_is_a_gap(models: list[ProductionEvaluation], why: str) -> None:
    precision = m.quality(models)[0]
    assert precision.value is None
    assert why in precision.explanation


def test_live_quality_by_hand() -> None:
    """v2: tp 30 + 10, fp 10 + 0, fn 10 + 30: precision 40/50, recall 40/80, F1 80/(80 + 10 + 40)."""
    rows = live(("2026-10-01", "d1", 99, 0, 0), ("2026-11-01", "d2", 30, 10, 10), ("2026-11-02", "d2", 10, 0, 30))
    values = {k.name: k for k in m.live_quality(rows, [V1, V2])}
    assert values["precision_live"].value == pytest.approx(0.8)
    assert values["recall_live"].value == pytest.approx(0.5)
    assert values["f1_live"].value == pytest.approx(80 / 130)
    assert (values["precision_live"].n, values["recall_live"].n) == (50, 80)
    assert [(p.label, p.value) for p in values["recall_live"].trend] == [("2026-10", 1.0), ("2026-11", 0.5)]


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (live(), "None of the present model's answers has a label yet"),
        (live(("2026-11-01", "d1", 5, 1, 1)), "None of the present model's answers has a label yet"),
        (live(("2026-11-01", "d2", 0, 0, 5)), "without boxes to compute it from"),
    ],
)
def test_live_precision_without_a_box_is_a_gap_and_not_zero(rows: pd.DataFrame, why: str) -> None:
    precision = m.live_quality(rows, [V1, V2])[0]
    assert precision.value is None
    assert why in precision.explanation


def test_the_gap_to_live_use_is_in_points() -> None:
    both = [*m.quality([V2]), *m.live_quality(live(("2026-11-01", "d2", 33, 0, 34)), [V2])]  # F1 66 / 100
    assert m.live_gap(both).value == pytest.approx(2.6)
    assert m.live_gap([*m.quality([V2]), *m.live_quality(live(), [V2])]).value is None


def test_latency_by_hand() -> None:
    """1 … 101 ms: rank 1 + p of 100 is p50 51, p95 96, p99 100. NaN, the future and older days are left out."""
    rows = answers(
        *[("2026-11-20T10:00:00", "clear", float(i)) for i in range(1, 102)],
        ("2026-11-20T10:00:00", "clear", None),
        ("2026-11-25T10:00:00", "clear", 9e9),
        ("2026-10-01T10:00:00", "clear", 9e9),
    )
    values = {k.name: k for k in m.latency(rows, RULES, NOW)}
    assert {n: k.value for n, k in values.items()} == {
        "latency_p50_ms": 51.0, "latency_p95_ms": pytest.approx(96.0), "latency_p99_ms": pytest.approx(100.0),
    }  # fmt: skip
    assert all(k.n == 101 and k.better == "down" for k in values.values())
    assert [p.label for p in values["latency_p50_ms"].trend] == ["2026-10", "2026-11"]


def test_throughput_is_the_busiest_minute() -> None:
    rows = answers(
        *[("2026-11-20T10:00:59.9", "clear", 1.0)] * 5,
        *[("2026-11-20T10:01:00", "clear", 1.0)] * 20,
        *[("2026-11-20T10:01:59.9", "clear", 1.0)] * 10,
        *[("2026-11-20T10:02:00", "clear", 1.0)] * 25,
    )
    kpi = m.throughput(rows, RULES, NOW)
    assert (kpi.value, kpi.n) == (0.5, 30)


def test_automation_of_answers_by_hand() -> None:
    rows = answers(
        ("2026-11-20", "clear", 1.0), ("2026-11-20", "damage", 1.0), ("2026-11-20", "needs_person", None),
        ("2026-11-20", "damage", 1.0),
    )  # fmt: skip
    kpi = m.automation_of_answers(rows, RULES, NOW)
    assert (kpi.value, kpi.n) == (75.0, 4)


@pytest.mark.parametrize("rows", [answers(), answers(("2026-11-25", "clear", 1.0))])
def test_a_service_without_answers_is_a_gap(rows: pd.DataFrame) -> None:
    values = [*m.latency(rows, RULES, NOW), m.throughput(rows, RULES, NOW), m.automation_of_answers(rows, RULES, NOW)]
    assert [k.value for k in values] == [None] * 5
    assert all(k.explanation for k in values)


def frame(column: str, *rows: tuple[str, str]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["image_id", column])
    return table.assign(**{column: pd.to_datetime(table[column], utc=True, format="ISO8601")})


def test_labelled_by_hand() -> None:
    """October: 1 of 2. November: 3 of 4. A label of a photograph that is not there does not count."""
    images = frame(
        "ingested_at", ("a", "2026-10-01"), ("b", "2026-10-31T23:59:59"), ("c", "2026-11-01"), ("d", "2026-11-02")
    )
    labels = frame(
        "created_at", ("a", "2026-10-02"), ("b", "2026-11-01"), ("c", "2026-11-03"), ("erased", "2026-11-03")
    )
    kpi = m.labelled(images, labels, NOW)
    assert (kpi.value, kpi.n) == (75.0, 4)
    assert [(p.label, p.value) for p in kpi.trend] == [("2026-10", 50.0), ("2026-11", 75.0)]


def test_labels_in_a_later_month_than_the_photographs_show() -> None:
    kpi = m.labelled(frame("ingested_at", ("a", "2026-09-01")), frame("created_at", ("a", "2026-11-01")), NOW)
    assert [(p.label, p.value) for p in kpi.trend] == [("2026-09", 0.0), ("2026-10", 0.0), ("2026-11", 100.0)]


def test_no_images_is_a_gap() -> None:
    kpi = m.labelled(frame("ingested_at"), frame("created_at"), NOW)
    assert (kpi.value, kpi.trend) == (None, ())


def test_drift_is_the_newest_reports_and_the_trend_the_worst() -> None:
    rows = drifts(("2026-10-01", True, 0.09), ("2026-10-02", True, 0.02), ("2026-11-20", True, 0.04))
    kpi = m.drift(rows.iloc[::-1], NOW)
    assert kpi.value == pytest.approx(4.0)
    assert [(p.label, p.value) for p in kpi.trend] == [("2026-10", pytest.approx(9.0)), ("2026-11", pytest.approx(4.0))]


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (drifts(), "no drift report"),
        (drifts(("2026-11-01", True, 0.0), ("2026-11-02", False, None)), "not the same as no drift"),
        (drifts(("2026-11-02", True, float("nan"))), "not the same as no drift"),
    ],
)
def test_drift_that_was_not_computed_is_a_gap(rows: pd.DataFrame, why: str) -> None:
    kpi = m.drift(rows, NOW)
    assert kpi.value is None
    assert why in kpi.explanation


@pytest.mark.parametrize(
    ("labels", "answers", "expected"),
    [
        ({0: 3, 1: 1}, {0: 2}, [("scratch", 3, 0.75, 2, 1.0), ("dent", 1, 0.25, 0, 0.0)]),
        ({}, {}, [("scratch", 0, None, 0, None), ("dent", 0, None, 0, None)]),
        ({7: 1}, {}, [("scratch", 0, 0.0, 0, None), ("dent", 0, 0.0, 0, None), ("class 7", 1, 1.0, 0, None)]),
    ],
)
def test_damage_types(labels: dict[int, int], answers: dict[int, int], expected: list[tuple[Any, ...]]) -> None:
    values = m.damage_types(labels, answers, ("scratch", "dent"))
    assert [(t.name, t.labelled, t.labelled_share, t.answered, t.answered_share) for t in values] == expected
