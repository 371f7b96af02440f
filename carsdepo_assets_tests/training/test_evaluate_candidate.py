"""training/evaluate_candidate.py: champion and challenger on the same golden photographs, and when the set grows."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from carsdepo_assets.detectors import catalogue
from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.evaluation.comparison import compare
from carsdepo_assets.evaluation.slices import LIGHT, UNSAID_BRIGHT, UNSAID_DARK, lights
from carsdepo_assets.lake import golden
from carsdepo_assets.lake.datasets import manifest_key, read_manifest
from carsdepo_assets.lake.evaluations import evaluations
from carsdepo_assets.lake.golden import Golden
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import ModelCard, read_card
from carsdepo_assets.lake.pointers import EvaluationPointer
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.ledger import record
from carsdepo_assets.scoring.boxes import Detections
from carsdepo_assets.training.candidates import Candidate, NotReady
from carsdepo_assets.training.evaluate_candidate import basis_now, evaluate_candidate, read_figures
from carsdepo_assets_tests.detectors.rectangles import DarkestRectangle, made_up_model
from carsdepo_assets_tests.training.tiny_dataset import tiny_dataset

pytestmark = pytest.mark.slow

SPLITS = {"train": 4, "val": 2, "test": 3, "test_pool": 4}


class BlindToScratches(DarkestRectangle):
    """Finds class 1 only."""

    def predict(self, images: Sequence[np.ndarray], min_score: float = 0.001) -> list[Detections]:
        detections = super().predict(images, min_score)
        return [Detections(*(a[d.classes == 1] for a in (d.xyxy, d.scores, d.classes))) for d in detections]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake.open(str(tmp_path))
    names = [f"{split}{i}" for split, n in SPLITS.items() for i in range(n)]
    rows = [{"image_id": n, "light": "day" if n.startswith("test") and n[-1] == "0" else None} for n in names]
    dark = {"test1": 20.0, "test2": 140.0, "test_pool1": 20.0}
    lake.append("images", [r | {"luma_mean": dark.get(r["image_id"] or "")} for r in rows], "u")
    return lake


@pytest.fixture
def models(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> dict[str, DarkestRectangle]:
    """{digest: what it predicts with}; the first is blind to scratches, the second finds all."""
    predictors = {
        made_up_model(lake, b"blind"): BlindToScratches(),
        made_up_model(lake, b"exact"): DarkestRectangle(score=0.9),
    }

    def load_model(lake: Lake, digest: str, device: str = "cpu") -> tuple[DarkestRectangle, ModelCard]:
        return predictors[digest], read_card(lake, digest)

    monkeypatch.setattr(catalogue, "load_model", load_model)
    return predictors


def candidate(digest: str, dataset: str) -> Candidate:
    return Candidate(digest=digest, dataset=dataset, recipe=Recipe(), label_state=1)


def promote(lake: Lake, digest: str) -> None:
    record(lake, "production", "promote", digest=digest, version=7, actor="ann", reason="first")


def written(lake: Lake, key: str) -> dict[str, Any]:
    return dict(json.loads(lake.get(key.replace(".html", ".json"))))


def test_without_a_champion_it_says_so(lake: Lake, models: dict[str, DarkestRectangle]) -> None:
    dataset, (blind, _) = tiny_dataset(lake, splits=SPLITS), models
    judged = evaluate_candidate(lake, candidate(blind, dataset), Policy())
    assert judged.comparison is None
    assert (judged.photographs, judged.boxes, judged.golden, judged.dataset) == (3, 2, 0, dataset)
    assert judged.figures["map50"] == pytest.approx(0.5)  # one of two classes
    assert "Production serves no model yet" in lake.get(judged.report_key).decode()
    promote(lake, blind)
    again = evaluate_candidate(lake, candidate(blind, dataset), Policy())
    assert again.comparison is None
    assert "This is the model in production" in lake.get(again.report_key).decode()


def test_champion_and_challenger_on_the_same_photographs(lake: Lake, models: dict[str, DarkestRectangle]) -> None:
    dataset, (blind, exact) = tiny_dataset(lake, splits=SPLITS), models
    golden.write(lake, Golden(1, ("test0", "test1", "test2")))
    promote(lake, blind)
    judged = evaluate_candidate(lake, candidate(exact, dataset), Policy())
    comparison = judged.comparison
    assert comparison is not None
    assert (comparison.champion, comparison.version) == (blind, 7)
    assert (comparison.figures["map50"], judged.figures["map50"]) == (pytest.approx(0.5), pytest.approx(1.0))
    rows = {r.what: r for r in comparison.rows}
    assert [r.what for r in comparison.rows] == [
        "all",
        "scratch",
        "dent",
        "light: day",
        f"light: {UNSAID_BRIGHT}",
        f"light: {UNSAID_DARK}",
    ]
    assert (rows["scratch"].champion_ap50, rows["scratch"].candidate_ap50) == (0.0, pytest.approx(1.0))
    assert rows["dent"].gain == pytest.approx(0.0)
    assert (rows["all"].champion_recall, rows["all"].candidate_recall) == (0.5, 1.0)
    bright = rows[f"light: {UNSAID_BRIGHT}"]  # its one photograph has no damage
    assert (bright.boxes, bright.champion_ap50, bright.gain) == (0, None, None)
    assert rows[f"light: {UNSAID_DARK}"].boxes == 1
    page = lake.get(judged.report_key).decode()
    assert "golden set 1" in page
    assert f"Champion {blind} (version 7)" in page
    assert "+1.000" in page


def test_a_longer_golden_set_gives_new_figures_of_both(lake: Lake, models: dict[str, DarkestRectangle]) -> None:
    dataset, (blind, exact) = tiny_dataset(lake, splits=SPLITS), models
    promote(lake, blind)
    golden.write(lake, Golden(1, ("test0", "test1", "test2")))
    first = evaluate_candidate(lake, candidate(exact, dataset), Policy())
    golden.write(lake, Golden(2, (*golden.read(lake, 1).images, *(f"test_pool{i}" for i in range(4)))))
    second = evaluate_candidate(lake, candidate(exact, dataset), Policy())
    assert (first.golden, first.photographs, second.golden, second.photographs) == (1, 3, 2, 7)
    assert first.data_version != second.data_version
    assert first.report_key != second.report_key
    assert lake.exists(first.report_key)
    # Each photograph was predicted once by each model.
    assert [len(m.sizes) for m in models.values()] == [7, 7]
    assert second.comparison is not None
    assert second.comparison.rows[0].boxes == second.boxes == 5
    assert read_figures(lake, candidate(exact, dataset)) == second.figures


def test_false_alarms_are_told_by_cause_where_hard_negatives_are_labelled(
    lake: Lake, models: dict[str, DarkestRectangle]
) -> None:
    """DarkestRectangle finds one box a photograph; its labels are taken away, so that each box is a false alarm."""
    _, exact = models
    golden.write(lake, Golden(1, ("test0", "test1", "test2")))
    whole = {"cause": "reflection", "x1": 0.0, "y1": 0.0, "x2": 200.0, "y2": 120.0}
    edge = {"cause": "dirt", "x1": 190.0, "y1": 110.0, "x2": 200.0, "y2": 120.0}
    marked = tiny_dataset(lake, "f" * 16, SPLITS, {"test0": [whole, edge], "test2": [edge], "train0": [whole]})
    without_boxes(lake, marked)
    judged = evaluate_candidate(lake, candidate(exact, marked), Policy())
    assert judged.by_cause == [
        {"cause": "dirt", "labelled": 2, "false alarms": 0, "share": "0.000"},
        {"cause": "reflection", "labelled": 1, "false alarms": 1, "share": "0.500"},
        {"cause": "none named", "labelled": 0, "false alarms": 1, "share": "0.500"},
    ]
    row = evaluations(lake)[-1]
    assert [(c.cause, c.false_alarms) for c in row.false_alarm_causes] == [("dirt", 0), ("reflection", 1), (None, 1)]
    assert row.fp == sum(c.false_alarms for c in row.false_alarm_causes)
    page = lake.get(judged.report_key).decode()
    assert "<tr><td>reflection</td><td>1</td><td>1</td><td>50.0 %</td></tr>" in page
    assert "<tr><td>none named</td><td>–</td><td>1</td><td>50.0 %</td></tr>" in page
    stored = written(lake, judged.report_key)["evaluation"]["false_alarm_causes"]
    assert [one["share"] for one in stored] == [0.0, 0.5, 0.5]


def without_boxes(lake: Lake, version: str) -> None:
    """Writes the manifest anew with every photograph clean."""
    manifest = read_manifest(lake, version)
    clean = pa.array([[]] * len(manifest), manifest.schema.field("boxes").type)
    sink = io.BytesIO()
    pq.write_table(manifest.set_column(manifest.column_names.index("boxes"), "boxes", clean), sink)
    lake.put(manifest_key(version), sink.getvalue())


def test_what_is_written_is_what_a_list_of_reports_needs(lake: Lake, models: dict[str, DarkestRectangle]) -> None:
    dataset, (blind, exact) = tiny_dataset(lake, splits=SPLITS), models
    promote(lake, blind)
    judged = evaluate_candidate(lake, candidate(exact, dataset), Policy())
    stored = written(lake, judged.report_key)
    assert judged.report_key.startswith("reports/evaluation/")
    assert exact in stored["title"]
    assert datetime.fromisoformat(stored["at"]).tzinfo is not None
    assert stored["summary"].startswith("mAP@.5 1.000 meets the floor")
    assert "production: 0.500" in stored["summary"]
    assert stored["figures"] == judged.figures
    assert all(isinstance(v, float) for v in stored["figures"].values())
    assert stored["comparison"]["champion"] == blind
    assert "False alarms by cause" not in lake.get(judged.report_key).decode()  # no hard negative is labelled
    assert (judged.by_cause, evaluations(lake)[-1].false_alarm_causes) == ([], ())


def test_figures_are_those_of_this_candidate(lake: Lake, models: dict[str, DarkestRectangle]) -> None:
    dataset, (blind, exact) = tiny_dataset(lake, splits=SPLITS), models
    with pytest.raises(NotReady, match="materialize `evaluation`"):
        read_figures(lake, candidate(blind, dataset))
    evaluate_candidate(lake, candidate(blind, dataset), Policy())
    assert read_figures(lake, candidate(blind, dataset))["recall"] == 0.5
    for other in (candidate(exact, dataset), candidate(blind, "another")):
        with pytest.raises(NotReady):
            read_figures(lake, other)


def test_a_figure_that_cannot_be_computed_is_absent(lake: Lake, models: dict[str, DarkestRectangle]) -> None:
    dataset, (blind, exact) = tiny_dataset(lake, splits=SPLITS), models
    golden.write(lake, Golden(1, ("test2",)))  # no damage on it
    promote(lake, blind)
    evaluated = evaluate_candidate(lake, candidate(exact, dataset), Policy())
    assert not {"map50", "map75", "map50_95", "recall"} & set(evaluated.figures)
    assert evaluated.comparison is not None
    assert "map50" not in evaluated.comparison.figures
    assert evaluated.verdict.startswith("mAP@.5 cannot be computed")
    assert read_figures(lake, candidate(exact, dataset)) == evaluated.figures
    (row,) = lake.read("evaluations").to_pylist()
    assert (row["map50"], row["recall"], row["champion_map50"], row["floor_met"]) == (None, None, None, False)
    assert (row["boxes"], row["photographs"], row["threshold"]) == (0, 1, evaluated.figures["threshold"])


@pytest.mark.slow
def test_a_kill_leaves_the_evaluation_before_and_a_repetition_a_single_row(
    lake: Lake, models: dict[str, DarkestRectangle], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, (blind, exact) = tiny_dataset(lake, splits=SPLITS), models
    first = evaluate_candidate(lake, candidate(blind, dataset), Policy())

    def killed(self: EvaluationPointer, lake: Lake) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(EvaluationPointer, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            evaluate_candidate(lake, candidate(exact, dataset), Policy(), "run-1")
    assert read_figures(lake, candidate(blind, dataset)) == first.figures
    second = evaluate_candidate(lake, candidate(exact, dataset), Policy(), "run-2")
    assert read_figures(lake, candidate(exact, dataset)) == second.figures
    assert [(r.digest, r.dagster_run_id) for r in evaluations(lake)] == [(blind, None), (exact, "run-1")]


def test_the_newest_labels_are_the_truth(lake: Lake, models: dict[str, DarkestRectangle]) -> None:
    """A candidate is judged by what is known now, not when its dataset was made."""
    old, (_, exact) = tiny_dataset(lake, splits=SPLITS), models
    new = tiny_dataset(lake, version="fedcba9876543210", splits=SPLITS | {"test": 6})
    golden.write(lake, Golden(1, tuple(f"test{i}" for i in range(6))))
    judged = evaluate_candidate(lake, candidate(exact, old), Policy())
    assert (judged.dataset, judged.photographs) == (new, 6)


def test_different_photographs_are_not_compared(lake: Lake, models: dict[str, DarkestRectangle]) -> None:
    from carsdepo_assets.evaluation.golden import evaluate_on_golden

    dataset, (_, exact) = tiny_dataset(lake, splits=SPLITS), models
    one, two = (
        evaluate_on_golden(lake, exact, dataset, Policy(), of=Golden(n, tuple(f"test{i}" for i in range(n))))
        for n in (2, 3)
    )
    with pytest.raises(ValueError, match="different photographs"):
        compare(one, two, ["day"] * 3)


def test_light_is_as_said_else_as_measured(lake: Lake) -> None:
    lake.append("images", [{"image_id": "q", "light": "unknown", "luma_mean": 12.0}], "v")
    rows = [{"image_id": i} for i in ("test0", "test1", "test2", "q", "train0", "absent")]
    assert lights(lake, rows) == ["day", UNSAID_DARK, UNSAID_BRIGHT, UNSAID_DARK, "unknown", "unknown"]
    asked = lake.query(f"select image_id, {LIGHT} as said from i", i=lake.read("images")).to_pylist()
    by_id = {row["image_id"]: row["said"] for row in asked}
    assert lights(lake, asked) == list(by_id.values())
    assert by_id["q"] == UNSAID_DARK


def test_what_changes_after_the_choice_is_not_scored(lake: Lake, models: dict[str, DarkestRectangle]) -> None:
    """The worker has predicted for the models and photographs that were chosen: no others may be needed afterwards."""
    dataset, (blind, exact) = tiny_dataset(lake, splits=SPLITS), models
    golden.write(lake, Golden(1, ("test0", "test1", "test2")))
    promote(lake, blind)
    basis = basis_now(lake, candidate(exact, dataset))
    assert basis.digests == (exact, blind)
    golden.write(lake, Golden(2, ("test0", "test1")))
    record(lake, "production", "promote", digest=exact, version=8, actor="ann", reason="second")
    judged = evaluate_candidate(lake, candidate(exact, dataset), Policy(), basis=basis)
    assert (judged.golden, judged.photographs) == (1, 3)
    assert judged.comparison is not None
    assert judged.comparison.champion == blind
    assert basis_now(lake, candidate(exact, dataset)).digests == (exact,)
