"""monitoring/live_quality.py: answers against the labels that came later, counted by hand."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.monitoring.live_quality import labelled_days, measure_day, store
from carsdepo_assets.policy import Policy
from carsdepo_assets_tests.monitoring.monitored_lake import NOW, image_id

DAY = NOW.date()
A, B, C, D = (image_id(x) for x in "abcd")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


def box(class_id: int, x: float, score: float | None = None) -> dict[str, Any]:
    """10 x 10 pixels at x."""
    drawn_box = {"class_id": class_id, "x1": x, "y1": 0.0, "x2": x + 10, "y2": 10.0}
    return drawn_box if score is None else drawn_box | {"score": score}


def answer(lake: Lake, image: str, boxes: list[dict[str, Any]], *, hour: int = 0, **more: Any) -> None:
    row = {
        "prediction_id": f"{image[0]}{hour}{more.get('stage', '')}",
        "at": NOW - timedelta(hours=hour),
        "stage": "production",
        "digest": "d1",
        "image_id": image,
        "threshold": 0.5,
        "boxes": boxes,
        **more,
    }
    lake.append("inferences", [row], str(row["prediction_id"]))


def label(lake: Lake, image: str, boxes: list[dict[str, Any]], sequence: int) -> None:
    row = {
        "revision_id": f"{image[0]}-{sequence}",
        "image_id": image,
        "boxes": boxes,
        "sequence": sequence,
        "created_at": NOW + timedelta(hours=sequence),
    }
    lake.append("annotations", [row], f"l{sequence}")


def test_hits_misses_and_false_alarms_by_hand(lake: Lake) -> None:
    # Found, an offset that leaves an IoU of 8 / 12, a false alarm; one under the threshold does not count.
    answer(lake, A, [box(0, 0, 0.9), box(1, 52, 0.8), box(0, 200, 0.7), box(0, 300, 0.4)])
    answer(lake, B, [box(1, 0, 0.9)])  # names the wrong class: a false alarm and a miss
    answer(lake, C, [])
    answer(lake, D, [box(0, 0, 0.9)])  # nobody has labelled it
    label(lake, A, [box(0, 0), box(1, 50), box(0, 300)], 1)
    label(lake, B, [box(0, 0)], 2)
    label(lake, C, [], 3)
    (quality,) = measure_day(lake, DAY, Policy())
    counts = quality.counts
    assert (quality.answered, quality.photographs, quality.boxes) == (4, 3, 4)
    assert (counts.tp, counts.fp, counts.fn) == (2, 2, 2)
    assert counts.precision == pytest.approx(0.5)
    assert counts.recall == pytest.approx(0.5)
    assert counts.f1 == pytest.approx(0.5)


def test_the_latest_revision_and_the_last_answer_count(lake: Lake) -> None:
    answer(lake, A, [box(0, 200, 0.9)], hour=3)
    answer(lake, A, [box(0, 0, 0.9)], hour=1)
    label(lake, A, [], 1)
    label(lake, A, [box(0, 0)], 2)
    (quality,) = measure_day(lake, DAY, Policy())
    assert (quality.answered, quality.counts.tp, quality.counts.fp, quality.counts.fn) == (1, 1, 0, 0)


def test_models_and_stages_are_kept_apart(lake: Lake) -> None:
    answer(lake, A, [box(0, 0, 0.9)])
    answer(lake, B, [], digest="d2")
    answer(lake, C, [], stage="staging")
    for sequence, image in enumerate((A, B, C), 1):
        label(lake, image, [box(0, 0)], sequence)
    quality = {q.digest: (q.counts.tp, q.counts.fn) for q in measure_day(lake, DAY, Policy())}
    assert quality == {"d1": (1, 0), "d2": (0, 1)}


def test_a_day_without_labels_is_no_row_and_one_without_answers_nothing(lake: Lake) -> None:
    answer(lake, A, [box(0, 0, 0.9)])
    quality = measure_day(lake, DAY, Policy())
    assert [(q.answered, q.photographs) for q in quality] == [(1, 0)]
    assert store(lake, quality, NOW) == 0
    assert measure_day(lake, DAY - timedelta(days=1), Policy()) == []


def test_a_row_is_written_once_and_again_when_labels_change(lake: Lake) -> None:
    answer(lake, A, [box(0, 0, 0.9)])
    label(lake, A, [box(0, 0)], 1)
    for _ in range(2):
        store(lake, measure_day(lake, DAY, Policy()), NOW)
    assert lake.read("live_quality").num_rows == 1
    label(lake, A, [], 2)
    store(lake, measure_day(lake, DAY, Policy()), NOW + timedelta(hours=5))
    rows = lake.read("live_quality").sort_by("at").to_pylist()
    assert [(r["tp"], r["fp"], r["recall"]) for r in rows] == [(1, 0, 1.0), (0, 1, None)]
    assert rows[0]["day"] == DAY.isoformat()


def test_days_change_when_their_photographs_get_labels(lake: Lake) -> None:
    answer(lake, A, [box(0, 0, 0.9)])
    answer(lake, B, [], hour=24)
    answer(lake, C, [], stage="staging")
    since = date(2026, 1, 1)
    assert labelled_days(lake, since) == {}
    label(lake, A, [], 1)
    label(lake, C, [], 2)
    first = labelled_days(lake, since)
    assert list(first) == [DAY]
    label(lake, A, [box(0, 0)], 3)
    assert labelled_days(lake, since)[DAY] != first[DAY]
    assert labelled_days(lake, DAY + timedelta(days=1)) == {}
