"""lake/evaluations.py and lake/candidates.py: the tables of evaluations and candidates, and lakes of before them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from carsdepo_assets.lake.candidates import CandidateRecord, candidate_records, record_candidate
from carsdepo_assets.lake.evaluations import (
    EvaluationRecord,
    evaluation_id,
    evaluations,
    newest_evaluation,
    read_evaluation,
    record_evaluation,
)
from carsdepo_assets.lake.lake import Lake

NOW = datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=UTC)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path)


def record(digest: str = "m1", minutes: int = 0, **changes: Any) -> EvaluationRecord:
    at = NOW + timedelta(minutes=minutes)
    fields: dict[str, Any] = {
        "evaluation_id": evaluation_id(digest, "d", changes.get("golden", 1), at), "at": at, "digest": digest,
        "trained_on": "d", "dataset": "d", "golden": 1, "photographs": 5, "boxes": 3, "groups": 2, "tp": 2, "fp": 1,
        "fn": 1, "map50": 0.1 + 0.2, "precision": 2 / 3, "recall": None, "threshold": 0.25, "floor_met": True,
        "classes": ({"name": "dent", "boxes": 3, "ap50": 0.3}, {"name": "scratch", "boxes": 0}),
        "report_key": f"reports/evaluation/{digest}-d-golden1.html",
    }  # fmt: skip
    return EvaluationRecord.model_validate(fields | changes)


def old_report(lake: Lake, digest: str, golden: int, at: datetime, map50: float | None) -> str:
    """An evaluation as it was stored before the table: its JSON alone, with 0 for a figure that was undefined."""
    result = {
        "map50": map50, "map75": 0.2, "map50_95": 0.1, "precision": 0.5, "recall": 0.25, "f1": 1 / 3, "tp": 1, "fp": 1,
        "fn": 3, "threshold": 0.3, "n_images": 4, "n_boxes": 4,
        "per_class": {"dent": {"n_boxes": 4, "ap50": map50, "ap75": None, "ap50_95": None,
                               "counts": {"tp": 1, "fp": 1, "fn": 3, "precision": 0.5, "recall": 0.25, "f1": 1 / 3}}},
    }  # fmt: skip
    stored = {
        "title": f"Evaluation of {digest}", "at": at.isoformat(), "summary": "s", "verdict": "it meets the floor",
        "figures": {"map50": map50 or 0.0, "map50_low": 0.01, "map50_high": 0.9}, "dataset": "d", "golden": golden,
        "candidate": {"digest": digest, "dataset": "d0"}, "photographs": 4, "boxes": 4, "groups": 4,
        "evaluation": result, "comparison": {"champion": "c", "figures": {"map50": 0.4}},
    }  # fmt: skip
    key = f"reports/evaluation/{digest}-d-golden{golden}"
    lake.put(f"{key}.json", json.dumps(stored).encode())
    return f"{key}.html"


def test_a_row_comes_back_as_it_was_and_undefined_stays_undefined(lake: Lake) -> None:
    assert evaluations(lake) == []
    assert newest_evaluation(lake, "m1") is None
    given = record()
    assert record_evaluation(lake, given) == given
    assert evaluations(lake) == [given]
    assert given.figures == {"map50": 0.1 + 0.2, "precision": 2 / 3, "threshold": 0.25}
    (row,) = lake.read("evaluations").to_pylist()
    assert (row["recall"], row["map75"], row["classes"][1]["ap50"]) == (None, None, None)
    assert read_evaluation(lake, "m1", given.evaluation_id) == given
    assert read_evaluation(lake, "m2", given.evaluation_id) is None


def test_the_same_again_is_the_same_row_and_a_change_is_a_new_one(lake: Lake) -> None:
    first = record_evaluation(lake, record())
    assert record_evaluation(lake, record(minutes=1, dagster_run_id="again")) == first
    changed = record_evaluation(lake, record(minutes=2, floor_met=False))
    back = record_evaluation(lake, record(minutes=3))
    other_set = record_evaluation(lake, record(minutes=4, golden=2))
    assert evaluations(lake, "m1") == [first, changed, back, other_set]
    assert newest_evaluation(lake, "m1") == other_set
    record_evaluation(lake, record("m2", minutes=5))
    assert newest_evaluation(lake, "m1") == other_set


def test_a_lake_of_before_is_read_from_its_reports(lake: Lake) -> None:
    page = old_report(lake, "m1", 1, NOW, 0.5)
    old_report(lake, "m1", 2, NOW + timedelta(minutes=1), None)
    lake.put("reports/evaluation/damaged.json", b'{"at": ')
    lake.put("reports/evaluation/another.json", b'{"title": "no evaluation"}')
    lake.put("reports/evaluation/list.json", b"[]")
    before = evaluations(lake)
    assert lake.version("evaluations") == -1  # looking changes nothing
    assert [(e.digest, e.trained_on, e.golden, e.map50, e.map50_low) for e in before] == [
        ("m1", "d0", 1, 0.5, 0.01),
        ("m1", "d0", 2, None, 0.01),
    ]
    assert (before[0].report_key, before[0].champion, before[0].champion_map50) == (page, "c", 0.4)
    assert [(c.name, c.boxes, c.recall) for c in before[0].classes] == [("dent", 4, 0.25)]
    record_evaluation(lake, record("m2", minutes=9))
    assert evaluations(lake, "m1") == before
    for info in list(lake.list("reports")):  # from now on the table alone counts
        lake.delete(info.key)
    record_evaluation(lake, record("m3", minutes=10))
    assert [e.digest for e in evaluations(lake)] == ["m1", "m1", "m2", "m3"]


@pytest.mark.parametrize(
    "change",
    [
        {"golden": 2**40},
        {"evaluation": {"n_images": 2**70, "n_boxes": 4}},
        {"at": "0001-01-01T00:00:00+14:00"},
        {"at": "9999-12-31T23:59:59-14:00"},
        {"candidate": {"digest": "\ud83d"}},
        None,  # nested too deeply to be read
    ],
    ids=str,
)
def test_a_foreign_report_is_left_out_and_named(
    lake: Lake, caplog: pytest.LogCaptureFixture, change: dict[str, Any] | None
) -> None:
    page = old_report(lake, "m1", 1, NOW, 0.5)
    stored = json.loads(lake.get(page.replace(".html", ".json")))
    foreign = b"[" * 100_000 if change is None else json.dumps(stored | change).encode()
    lake.put("reports/evaluation/foreign.json", foreign)
    assert [e.digest for e in evaluations(lake)] == ["m1"]
    assert "reports/evaluation/foreign.json holds no evaluation" in caplog.text
    new = record_evaluation(lake, record("m2", minutes=1))
    assert [e.digest for e in evaluations(lake)] == ["m1", "m2"]
    assert newest_evaluation(lake, "m2") == new


def test_what_is_no_number_was_not_computed(lake: Lake) -> None:
    old_report(lake, "m1", 1, NOW, float("nan"))
    (before,) = evaluations(lake)
    assert (before.map50, before.classes[0].ap50, before.map75) == (None, None, 0.2)
    assert "map50" not in before.figures
    new = record_evaluation(lake, record("m2", map50=float("inf")))
    assert new.map50 is None
    assert record_evaluation(lake, record("m2", minutes=1, map50=float("nan"))) == new
    assert evaluations(lake, "m1") == [before]


def test_a_null_of_an_older_table_is_the_default_and_a_damaged_row_is_left_out(
    lake: Lake, caplog: pytest.LogCaptureFixture
) -> None:
    first = record_evaluation(lake, record())
    old = {"at": NOW, "digest": "m1", "dataset": "d", "golden": 3, "photographs": 1, "boxes": 1, "report_key": "r"}
    lake.append("evaluations", [old | {"evaluation_id": "old"}, old | {"evaluation_id": "torn", "golden": None}], "old")
    read = {e.evaluation_id: e for e in evaluations(lake, "m1")}
    assert read.keys() == {first.evaluation_id, "old"}
    assert (read["old"].verdict, read["old"].classes, read["old"].map50) == ("", (), None)
    assert "row 'torn' holds no evaluation: golden" in caplog.text


def test_false_alarms_by_cause_are_kept_and_rows_of_before_have_none(lake: Lake) -> None:
    causes = (
        {"cause": "reflection", "negatives": 3, "false_alarms": 2, "share": 2 / 3},
        {"cause": None, "negatives": 0, "false_alarms": 1, "share": None},
    )
    given = record_evaluation(lake, record(false_alarm_causes=causes))
    assert [one.model_dump() for one in given.false_alarm_causes] == list(causes)
    assert evaluations(lake) == [given]
    old = record("m2").model_dump(exclude={"false_alarm_causes"})
    lake.append("evaluations", [old], "old")
    (read,) = evaluations(lake, "m2")
    assert read.false_alarm_causes == ()
    assert record_evaluation(lake, record("m2", minutes=1)) == read  # nothing new was found: no second row


def test_a_kill_while_the_old_ones_are_copied_loses_none(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    old_report(lake, "m1", 1, NOW, 0.5)
    append = Lake.append

    def killed(self: Lake, table: str, rows: Any, unit: str) -> bool:
        if len(calls := [*seen, unit]) == kill_at:
            raise KeyboardInterrupt
        seen[:] = calls
        return append(self, table, rows, unit)

    for kill_at in (1, 2):
        seen: list[str] = []
        monkeypatch.setattr(Lake, "append", killed)
        with pytest.raises(KeyboardInterrupt):
            record_evaluation(lake, record(f"new{kill_at}", minutes=kill_at))
        monkeypatch.undo()
        assert [e.map50 for e in evaluations(lake, "m1")] == [0.5]
    record_evaluation(lake, record("new", minutes=3))
    assert [e.map50 for e in evaluations(lake, "m1")] == [0.5]


def test_an_evaluation_that_was_reported_and_then_killed_is_one_row(lake: Lake) -> None:
    page = old_report(lake, "m1", 1, NOW, 0.5)  # its JSON is written, its row is not
    record_evaluation(lake, record("m1", minutes=1, report_key=page))
    assert len(evaluations(lake)) == 1


def test_a_candidate_is_a_row_for_each_state_of_the_labels(lake: Lake) -> None:
    assert candidate_records(lake) == []
    candidate = CandidateRecord(
        digest="m", at=NOW, dataset="d", recipe="r", detector="yolov8n", label_state=7, asked_by="retrain", steps=40
    )
    assert record_candidate(lake, candidate)
    assert not record_candidate(lake, candidate.model_copy(update={"at": NOW + timedelta(hours=1)}))
    later = candidate.model_copy(update={"label_state": 9, "at": NOW + timedelta(hours=2)})
    assert record_candidate(lake, later)
    assert record_candidate(
        lake, by_hand := later.model_copy(update={"asked_by": "person", "at": NOW + timedelta(hours=3)})
    )
    assert candidate_records(lake) == [candidate, later, by_hand]
    assert lake.read("candidates")["val_map50"].to_pylist() == [None, None, None]
