"""monitoring/reference.py, window.py, profiles.py, drift_schedule.py: what is compared, and when."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from carsdepo_assets.lake import queues
from carsdepo_assets.lake.datasets import read_manifest
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.schemas import INFERENCES
from carsdepo_assets.monitoring import profiles
from carsdepo_assets.monitoring.drift_schedule import DriftScheduleInputs, drift_schedule_inputs, window_to_measure
from carsdepo_assets.monitoring.features import IMAGE, answered
from carsdepo_assets.monitoring.reference import (
    UNSEEN,
    NoReference,
    answers_of,
    build_reference,
    is_current,
    read_reference,
    reference_key,
)
from carsdepo_assets.monitoring.window import answering, read_window
from carsdepo_assets.policy import MonitoringPolicy
from carsdepo_assets.quality import profiles as lake_profiles
from carsdepo_assets_tests.detectors.rectangles import DarkestRectangle
from carsdepo_assets_tests.monitoring import monitored_lake
from carsdepo_assets_tests.monitoring.monitored_lake import CLASSES, NOW, RULES, drawn_answers, photographs
from carsdepo_assets_tests.training.tiny_dataset import tiny_dataset

DAY = timedelta(days=1)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


@pytest.fixture
def digest(lake: Lake) -> str:
    return monitored_lake.put_model(lake)


def test_a_reference_is_ordinary_intake_and_answers_on_unseen_photographs(lake: Lake, digest: str) -> None:
    rows = photographs("r", 120, 1)
    chosen = {r["image_id"]: "drift-x" for r in rows[:7]}
    monitored_lake.put_dataset(lake, rows, chosen)
    reference = build_reference(lake, digest, RULES, drawn_answers)
    results = reference.rows.to_pylist()
    assert len(results) == 113
    assert reference.left_out == {"selected by a labelling queue": 7}
    assert not chosen.keys() & {r["image_id"] for r in results}
    for row in results:
        assert row["asked"] == (row["split"] in ("val", "test"))
        assert (row["boxes"] is not None) == row["asked"]
    sample = reference.sample(0.6)
    asked = np.array([r["asked"] for r in results])
    assert 0 < reference.asked == asked.sum() < 113
    np.testing.assert_array_equal(np.isnan(sample.features["max_score"]), ~asked)
    assert [v is None for v in sample.features["classes"]] == (~asked).tolist()
    assert list(sample.groups) == [r["group_id"] for r in results]
    assert sample.problem("reference") is None
    again = read_reference(lake, digest)
    assert again is not None
    assert again.rows.equals(reference.rows)
    assert again.left_out == reference.left_out


def test_a_reference_is_made_anew_when_the_policy_changes(lake: Lake, digest: str) -> None:
    assert not is_current(lake, digest, RULES)
    monitored_lake.put_dataset(lake, photographs("r", 120, 1))
    build_reference(lake, digest, RULES, drawn_answers)
    assert is_current(lake, digest, RULES)
    other = RULES.model_copy(update={"monitoring": MonitoringPolicy(reference_answers=60)})
    assert not is_current(lake, digest, other)


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("inference", {"unsure_share": 0.1}),
        ("inference", {"max_pixels": 1_000_000}),
        ("inference", {"max_photograph_bytes": 100_000}),
        ("inference", {"runtime": "torch"}),
        ("data", {"min_side_px": 64}),
    ],
)
def test_a_reference_whose_answers_would_differ_is_made_anew(lake: Lake, section: str, change: dict[str, Any]) -> None:
    digest = monitored_lake.put_model(lake, threshold=0.05)  # its capture floor follows unsure_share
    monitored_lake.put_dataset(lake, photographs("r", 120, 1))
    build_reference(lake, digest, RULES, drawn_answers)
    assert is_current(lake, digest, RULES)
    other = RULES.model_copy(update={section: getattr(RULES, section).model_copy(update=change)})
    assert not is_current(lake, digest, other)
    build_reference(lake, digest, other, drawn_answers)
    assert is_current(lake, digest, other)


def test_a_setting_that_changes_no_answer_keeps_the_reference(lake: Lake, digest: str) -> None:
    monitored_lake.put_dataset(lake, photographs("r", 120, 1))
    build_reference(lake, digest, RULES, drawn_answers)
    for change in ({"unsure_share": 0.5}, {"max_photographs": 3}):  # at a threshold of 0.4 the floor stays 0.05
        other = RULES.model_copy(update={"inference": RULES.inference.model_copy(update=change)})
        assert is_current(lake, digest, other)


@pytest.mark.parametrize("kept", [0, 3000, -30])
def test_a_truncated_reference_is_made_anew(lake: Lake, digest: str, kept: int) -> None:
    monitored_lake.put_dataset(lake, photographs("r", 120, 1))
    reference = build_reference(lake, digest, RULES, drawn_answers)
    lake.put(reference_key(digest), lake.get(reference_key(digest))[:kept])
    assert not is_current(lake, digest, RULES)
    with pytest.raises(LakeError, match=r"is damaged .* materialize `reference_profile`"):
        read_reference(lake, digest)
    build_reference(lake, digest, RULES, drawn_answers)
    again = read_reference(lake, digest)
    assert again is not None
    assert again.rows.equals(reference.rows)


def test_answers_are_asked_of_whole_cars_up_to_the_limit(lake: Lake, digest: str) -> None:
    monitored_lake.put_dataset(lake, photographs("r", 600, 1))
    policy = RULES.model_copy(update={"monitoring": MonitoringPolicy(reference_answers=60)})
    rows = build_reference(lake, digest, policy, drawn_answers).rows.to_pylist()
    asked = [r for r in rows if r["asked"]]
    assert 50 < len(asked) <= 60
    cars = {r["group_id"] for r in asked}
    assert all(r["asked"] for r in rows if r["group_id"] in cars)


def test_a_queue_may_weigh_what_its_report_measured(lake: Lake, digest: str) -> None:
    """A fifth of the traffic had drifted; ten photographs of its queue then stand for a fifth of the reference."""
    rows = photographs("r", 210, 1)
    monitored_lake.put_dataset(lake, rows, {r["image_id"]: "drift-x" for r in rows[:10]})
    lake.append("drift", [{"report_id": "x", "at": NOW, "drift": 0.2}], "x")
    lake.put(queues.queue_key("drift-x"), queues.Queue("drift-x", NOW, "x", "", ()).to_json())
    policy = RULES.model_copy(update={"monitoring": MonitoringPolicy(queue_in_reference="weighted")})
    results = build_reference(lake, digest, policy, drawn_answers).rows.to_pylist()
    weights = {r["image_id"]: r["weight"] for r in results}
    queued = sum(weights[r["image_id"]] for r in rows[:10])
    assert queued / sum(weights.values()) == pytest.approx(0.2)
    assert all(weights[r["image_id"]] == 1 for r in rows[10:])


def test_a_models_answers_are_boxes_on_originals(lake: Lake) -> None:
    rows = [r for r in read_manifest(lake, tiny_dataset(lake)).to_pylist() if r["split"] in UNSEEN]
    results = [boxes for boxes in answers_of(lake, rows, DarkestRectangle(score=0.8), 0.5, RULES) if boxes is not None]
    assert [len(boxes) for boxes in results] == [len(r["boxes"]) for r in rows]
    for row, boxes in zip(rows, results, strict=True):
        for box, true in zip(boxes, row["boxes"], strict=True):
            assert box["score"] == pytest.approx(0.8)
            assert [box[k] for k in ("x1", "x2")] == pytest.approx([true[k] for k in ("x1", "x2")], abs=1)


def test_a_model_that_is_not_there_has_no_reference(lake: Lake) -> None:
    with pytest.raises(NoReference, match="not in"):
        build_reference(lake, "0" * 16, RULES, drawn_answers)
    assert read_reference(lake, "0" * 16) is None


def test_a_window_is_half_open_and_of_production(lake: Lake) -> None:
    rows = photographs("w", 30, 2)
    monitored_lake.put_answers(lake, "d1", rows, start=NOW)
    monitored_lake.put_answers(lake, "d1", photographs("s", 9, 3), unit="staging", start=NOW, stage="staging")
    window = read_window(lake, NOW, NOW + timedelta(seconds=100))
    assert window.rows.num_rows == 10
    assert window.rows["image_id"].to_pylist() == [r["image_id"] for r in rows[:10]]
    assert window.digest == "d1"
    assert window.others == {}
    assert read_window(lake, NOW - DAY, NOW).digest is None
    with pytest.raises(ValueError, match="not after"):
        read_window(lake, NOW, NOW)


def test_of_two_models_the_newest_is_reported_and_the_other_named(lake: Lake) -> None:
    monitored_lake.put_answers(lake, "old", photographs("a", 40, 2), unit="old", start=NOW - timedelta(hours=3))
    monitored_lake.put_answers(lake, "new", photographs("b", 12, 3), unit="new", start=NOW - timedelta(hours=1))
    window = read_window(lake, NOW - DAY, NOW)
    assert (window.digest, window.rows.num_rows, window.others) == ("new", 12, {"old": 40})
    assert answering(lake) == "new"


def test_a_listing_is_a_car_and_a_photograph_without_one_stands_alone(lake: Lake) -> None:
    rows = photographs("w", 4, 2)
    for row, listing in zip(rows, ("L1", "L1", None, " "), strict=True):
        row["listing"] = listing
    monitored_lake.put_answers(lake, "d1", rows, start=NOW - timedelta(hours=1))
    sample = read_window(lake, NOW - DAY, NOW).sample(CLASSES, 0.6)
    assert sample.groups == ["L1", "L1", rows[2]["image_id"], rows[3]["image_id"]]


def test_answers_as_features() -> None:
    def box(class_id: int, score: float) -> dict[str, float]:
        return {"class_id": class_id, "x1": 0.0, "y1": 0.0, "x2": 1.0, "y2": 1.0, "score": score}

    boxes = [[], [box(0, 0.9), box(1, 0.5), box(0, 0.1)], [box(1, 0.39)], [box(1, 0.2)], None]
    best = [0.0, 0.9, 0.39, 0.2, None]
    table = pa.table(
        {
            "threshold": [0.4] * 5,
            "max_score": pa.array(best, pa.float64()),
            "boxes": pa.array(boxes, INFERENCES.field("boxes").type),
        }
    )
    results = answered(table, CLASSES, 0.6)
    assert results["n_boxes"].tolist() == [0, 2, 0, 0, 0]
    assert results["max_score"].tolist() == [0.0, 0.9, 0.39, 0.2, 0.0]
    assert results["unsure"].tolist() == [0, 0, 1, 0, 0]  # 0.24 .. 0.4
    assert results["classes"].tolist() == ["none", "scratch+dent", "none", "none", "none"]


def test_a_pixel_more_is_no_other_format(lake: Lake) -> None:
    rows = photographs("w", 3, 2)
    for row, (aspect, size) in zip(rows, ((4 / 3, 12.192768), (1.3336, 12.0), (0.75, 1.23)), strict=True):
        row["aspect"], row["megapixels"] = aspect, size
    monitored_lake.put_answers(lake, "d1", rows, start=NOW - timedelta(hours=1))
    features = read_window(lake, NOW - DAY, NOW).sample(CLASSES, 0.6).features
    assert features["aspect"].tolist() == [1.33, 1.33, 0.75]
    np.testing.assert_allclose(features["megapixels"], [12, 12, 1.2])


def test_profiles_of_days_merge_as_if_they_were_one(lake: Lake) -> None:
    first, second = NOW - DAY, NOW
    monitored_lake.put_answers(lake, "d1", photographs("a", 40, 2), unit="a", start=first)
    monitored_lake.put_answers(lake, "d1", photographs("b", 70, 3), unit="b", start=second)
    for at in (first, second):
        answers = profiles.day_of(lake, at.date())
        profiles.write_day(lake, at.date(), answers)
    merged = profiles.days(lake, first.date(), second.date())
    assert merged is not None
    both = read_window(lake, NOW - 2 * DAY, NOW + DAY).rows.to_pandas()
    figures = lake_profiles.merged([merged])
    assert figures.loc["luma_p95", "count"] == 110
    for name in IMAGE:
        assert figures.loc[name, "mean"] == pytest.approx(both[name].mean())
        assert figures.loc[name, "max"] == pytest.approx(both[name].max())
    assert profiles.days(lake, NOW.date() + 5 * DAY, NOW.date() + 6 * DAY) is None


def test_the_profile_of_a_reference_is_stored(lake: Lake, digest: str) -> None:
    monitored_lake.put_dataset(lake, photographs("r", 120, 1))
    build_reference(lake, digest, RULES, drawn_answers)
    figures = lake_profiles.merged([lake.get(f"{lake_profiles.REFERENCE}/{digest}.bin")])
    assert figures.loc["sharpness", "count"] == 120


def idle(inputs: DriftScheduleInputs, policy: MonitoringPolicy) -> str:
    """Why nothing is measured."""
    decision = window_to_measure(inputs, policy)
    assert decision.action is None
    return decision.message


def test_when_a_report_is_due(lake: Lake) -> None:
    policy = MonitoringPolicy()
    assert window_to_measure(drift_schedule_inputs(lake, policy, NOW), policy).action is None
    monitored_lake.put_answers(lake, "d1", photographs("a", 30, 2), unit="a", start=NOW - timedelta(hours=2))
    inputs = drift_schedule_inputs(lake, policy, NOW)
    assert (inputs.new, inputs.in_window, inputs.days) == (30, 30, ((NOW.date(), 30),))
    assert "50 are needed" in idle(inputs, policy)
    # The window closes with too few: it is measured, and will say that it is unknown.
    late = NOW + timedelta(hours=23)
    assert window_to_measure(drift_schedule_inputs(lake, policy, late), policy).action == (
        NOW - timedelta(hours=2),
        NOW + timedelta(hours=22),
    )
    monitored_lake.put_answers(lake, "d1", photographs("b", 30, 3), unit="b", start=NOW - timedelta(hours=1))
    assert window_to_measure(drift_schedule_inputs(lake, policy, NOW), policy).action == (NOW - DAY, NOW)


def test_no_report_before_its_time_nor_without_anything_new(lake: Lake) -> None:
    policy = MonitoringPolicy()
    monitored_lake.put_answers(lake, "d1", photographs("a", 60, 2), unit="a", start=NOW - timedelta(hours=2))
    lake.append("drift", [{"report_id": "x", "at": NOW, "window_to": NOW}], "x")
    assert "nothing since" in idle(drift_schedule_inputs(lake, policy, NOW + timedelta(minutes=10)), policy)
    monitored_lake.put_answers(lake, "d1", photographs("b", 5, 3), unit="b", start=NOW + timedelta(minutes=1))
    soon = NOW + timedelta(minutes=10)
    assert "600 s old" in idle(drift_schedule_inputs(lake, policy, soon), policy)
    hour = NOW + timedelta(hours=1)
    assert window_to_measure(drift_schedule_inputs(lake, policy, hour), policy).action == (hour - DAY, hour)


def test_answers_of_a_replaced_model_do_not_fill_the_window(lake: Lake) -> None:
    policy = MonitoringPolicy()
    monitored_lake.put_answers(lake, "old", photographs("a", 80, 2), unit="a", start=NOW - timedelta(hours=2))
    monitored_lake.put_answers(lake, "new", photographs("b", 10, 3), unit="b", start=NOW - timedelta(hours=1))
    assert "10 answers" in idle(drift_schedule_inputs(lake, policy, NOW), policy)


def test_a_model_that_is_never_sure_has_its_answers_below_the_usual_floor(lake: Lake) -> None:
    rows = read_manifest(lake, tiny_dataset(lake)).to_pylist()[:1]
    asked = []

    class Asked(DarkestRectangle):
        def predict(self, images: Any, min_score: float = 0.001) -> Any:
            asked.append(min_score)
            return super().predict(images, min_score)

    for threshold in (0.5, 0.01):
        answers_of(lake, rows, Asked(score=0.8), threshold, RULES)
    assert asked == pytest.approx([0.05, 0.01 * RULES.inference.unsure_share])
