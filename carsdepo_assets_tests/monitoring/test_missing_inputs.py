"""monitoring/missing_inputs.py: inputs that stop coming are noticed although no stated value changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import fisher_exact

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.monitoring.missing_inputs import compare_missing, fisher_greater, missing_inputs, sentence
from carsdepo_assets.policy import MonitoringPolicy

POLICY = MonitoringPolicy()
START = datetime(2026, 11, 20, tzinfo=UTC)


def answers(n: int, missing: int, *, shots: int = 1, camera: str = "phone") -> list[dict[str, Any]]:
    """n cars of `shots` photographs each; the first `missing` cars come without a camera."""
    return [
        {"image_id": f"{camera}{car}-{shot}", "listing": f"L{car}", "camera": None if car < missing else camera}
        for car in range(n)
        for shot in range(shots)
    ]


@pytest.mark.parametrize(
    ("now", "before", "risen"),
    [
        (answers(100, 40), answers(100, 2), True),
        (answers(100, 2), answers(100, 2), False),
        (answers(100, 2), answers(100, 40), False),  # fewer is no fault
        (answers(1000, 60), answers(1000, 5), False),  # significant, and less than the policy's rise
        (answers(12, 3), answers(12, 1), False),  # by chance
        (answers(5, 5), answers(100, 0), False),  # too few cars
        (answers(100, 40), [], False),  # nothing to compare with
        (answers(8, 4, shots=20), answers(100, 2), False),  # 160 photographs of 8 cars are 8 cars
        ([], answers(100, 2), False),
    ],
)
def test_a_rise_is_significant_and_large_on_whole_cars(
    now: list[dict[str, Any]], before: list[dict[str, Any]], risen: bool
) -> None:
    result = compare_missing("answers", "camera", now, before, POLICY, 7)
    assert result.risen is risen
    if risen:
        assert "camera is missing on 40 % of 100 answers, before on 2 % of 100." in sentence([result])


def test_a_blank_text_is_missing() -> None:
    rows = [{"image_id": "a", "listing": None, "camera": "  "}, {"image_id": "b", "listing": None, "camera": "x"}]
    assert compare_missing("answers", "camera", rows, [], POLICY, 7).share == 0.5


@pytest.mark.parametrize("table", [(40, 100, 2, 100), (0, 10, 0, 10), (3, 12, 1, 12), (10, 10, 0, 5)])
def test_fishers_test_equals_scipys(table: tuple[int, int, int, int]) -> None:
    hits, n, hits_before, n_before = table
    expected = fisher_exact([[hits, n - hits], [hits_before, n_before - hits_before]], alternative="greater").pvalue
    assert fisher_greater(*table) == pytest.approx(expected)


def test_answers_and_photographs_are_read_from_the_lake(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    rows = []
    for i in range(80):
        old = i < 40
        rows.append(
            {
                "prediction_id": f"p{i}",
                "at": START + (timedelta(days=-2) if old else timedelta(hours=2)),
                "stage": "production" if i % 40 < 36 else "staging",
                "image_id": f"i{i}",
                "source": "web",
                "camera": "phone" if old else None,
            }
        )
    lake.append("inferences", rows, "unit")
    inputs = {(m.what, m.name): m for m in missing_inputs(lake, START, START + timedelta(days=1), POLICY)}
    camera = inputs["answers", "camera"]
    assert (camera.photographs, camera.share, camera.photographs_before, camera.share_before) == (36, 1.0, 36, 0.0)
    assert camera.risen
    assert not inputs["answers", "source"].risen
    assert inputs["photographs", "captured_at"].photographs == 0
    assert inputs["photographs", "captured_at"].share is None
