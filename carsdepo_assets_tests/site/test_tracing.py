"""site/tracing.py, site/answers.py: from an answer back to its photographs, labels, code and people."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from carsdepo_assets.commands.lineage import lineage_of
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.registry import ledger
from carsdepo_assets.registry.lineage import ancestors
from carsdepo_assets.registry.tracking import Tracking
from carsdepo_assets.settings import Settings
from carsdepo_assets.site import answers, tracing
from carsdepo_assets_tests.site import example_lake

PLACES = tracing.Places("http://site", "http://mlflow", "http://dagster")


def test_an_answer_is_traced_to_the_photograph_the_labels_and_the_person(filled: example_lake.Filled) -> None:
    lineage = tracing.prediction_lineage(filled.lake, filled.tracking, "p0001", PLACES)
    sent = filled.records[1]
    assert lineage["photograph"]["image_id"] == sent.sent.image_id
    assert filled.lake.get(lineage["photograph"]["key"]) == example_lake.shots()[1].data
    assert lineage["prediction"]["decision"] == "damage"
    assert lineage["prediction"]["boxes"][0]["class"] == "dent"
    assert lineage["prediction"]["boxes"][0]["score"] == pytest.approx(0.7)
    assert lineage["served_by"]["action"] == "promote"
    assert lineage["served_by"]["url"] == "http://dagster/runs/dagster-release"
    model = lineage["model"]
    assert (model["digest"], model["version"]) == (filled.first, 1)
    assert model["dataset"]["version"] == filled.dataset
    assert model["dataset"]["revisions_by_origin"] == {"yolo": 12}
    assert model["approved_by"]["actor"] == "auto:0a1b2c3d4e5f"
    assert [g["verdict"] for g in model["gates"]] == ["promote"]
    assert model["code"]["version"]
    experiment = filled.tracking.experiment_id()
    assert model["mlflow"]["url"] == f"http://mlflow/#/experiments/{experiment}/runs/{model['mlflow']['run_id']}"
    for url in (model["evaluation"]["url"], model["gates"][0]["url"]):
        assert filled.lake.exists(url.removeprefix("http://site/"))


def test_a_model_names_the_one_it_started_from(filled: example_lake.Filled) -> None:
    lineage = tracing.model_lineage(filled.lake, filled.tracking, filled.second, PLACES)
    assert [a["digest"] for a in lineage["initialised_from"]] == [filled.first]
    assert lineage["approved_by"] is None
    assert tracing.model_lineage(filled.lake, None, filled.first)["initialised_from"] == []


def test_ancestors_end_where_the_lake_has_no_more_and_at_a_circle(filled: example_lake.Filled, home: Path) -> None:
    lake = Lake.open(home / "lake")
    text = filled.lake.get(f"models/{filled.second}/lineage.json")
    for digest, parent in (("a", "b"), ("b", "c"), ("c", "b"), ("d", "gone")):
        values = text.replace(filled.second.encode(), digest.encode()).replace(filled.first.encode(), parent.encode())
        lake.put(f"models/{digest}/lineage.json", values)
    assert [a.digest for a in ancestors(lake, "a")] == ["b", "c"]
    assert ancestors(lake, "d") == []


def test_without_mlflow_the_lineage_is_still_there(filled: example_lake.Filled) -> None:
    lineage = tracing.prediction_lineage(filled.lake, None, "p0001")
    assert lineage["model"]["version"] is None
    assert lineage["model"]["mlflow"]["run_id"]
    assert lineage["model"]["mlflow"]["url"] is None


def test_an_mlflow_server_that_is_away_costs_seconds_and_the_versions_alone(
    filled: example_lake.Filled, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tracking, "client", property(lambda own: pytest.fail("MLflow's client tries for minutes")))
    settings = Settings.read({"CARSDEPO_MLFLOW": "http://127.0.0.1:1"}, home=Path(filled.lake.url).parent)
    lineage = lineage_of(settings, prediction="p0001")
    assert "Versions of models are not shown: the MLflow server http://127.0.0.1:1 does not answer" in caplog.text
    assert lineage["model"]["version"] is None
    assert lineage["model"]["mlflow"]["run_id"]
    assert lineage_of(settings, model=filled.first)["version"] is None
    with pytest.raises(LookupError, match="'1' may be a version of a model, which MLflow knows: the MLflow server"):
        lineage_of(settings, model="1")


def test_answers_not_ingested_yet_are_found_in_open_and_closed_segments(
    filled: example_lake.Filled, home: Path
) -> None:
    lake = Lake.open(home / "lake")
    records = example_lake.answered(lake, example_lake.shots(3), "d" * 16, 1, prefix="fresh")
    key = example_lake.capture(lake, records[:2], torn=b'{"captureData":')
    example_lake.capture(lake, records[2:], name="i-2.jsonl")
    assert answers.find(lake, "fresh0001") is not None
    lineage = tracing.prediction_lineage(lake, None, "fresh0001")
    assert lineage["prediction"]["captured_in"] == key
    assert lineage["prediction"]["boxes"][0]["box"] == [10, 12, 40, 50]
    assert lineage["served_by"] is None
    assert "There is no model" in lineage["model"]["missing"]
    assert [r["prediction_id"] for r in answers.newest(lake, 9)][-1] == "fresh0000"
    assert {r["prediction_id"] for r in answers.newest(lake, 9)} == {"fresh0000", "fresh0001", "fresh0002"}


def test_the_newest_answers_of_a_copied_lake_are_those_of_the_last_hour(home: Path) -> None:
    """Times of files are those of the copy there: the hour in a segment's name counts first."""
    lake = Lake.open(home / "lake")
    records = example_lake.answered(lake, example_lake.shots(1), "d" * 16, 1)
    newest = Path(lake.root or "", example_lake.capture(lake, records))
    for n in range(answers._WAITING_SEGMENTS):
        lake.put(f"capture/production/2020/01/01/00/i-{n}.jsonl", b"")
    os.utime(newest, (0, 0))
    assert [r["prediction_id"] for r in answers.newest(lake, 9)] == ["p0000"]


def test_the_newest_answers_cost_as_many_rows_as_are_shown(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five files of 60 answers each wait to be ingested; the third one is of another model."""
    lake = Lake.open(home / "lake")
    (record,) = example_lake.answered(lake, example_lake.shots(1), "d" * 16, 1)
    start = datetime(2026, 1, 1, 12, tzinfo=UTC)
    for file in range(5):
        of_file = record.model_copy(
            update={"answer": record.answer.model_copy(update={"digest": ("e" if file == 2 else "d") * 16})}
        )
        lines = [
            of_file.model_copy(update={"prediction_id": f"f{file}n{n}"}).line(
                "e", start + timedelta(seconds=5 * n + file)
            )
            for n in range(60)
        ]
        lake.put(f"capture/production/2026/01/01/12/i-{file}.jsonl", b"".join(lines))
    made, row_of = [], answers._row
    monkeypatch.setattr(answers, "_row", lambda line, key: made.append(key) or row_of(line, key))
    newest = answers.newest(lake, 7)
    assert [r["prediction_id"] for r in newest] == ["f4n59", "f3n59", "f2n59", "f1n59", "f0n59", "f4n58", "f3n58"]
    assert len(made) == 7
    assert [r["prediction_id"] for r in answers.newest(lake, 2, "e" * 16)] == ["f2n59", "f2n58"]


def test_a_segments_line_and_its_row_in_the_table_say_the_same(home: Path) -> None:
    lake = Lake.open(home / "lake")
    records = example_lake.answered(lake, example_lake.shots(1), "d" * 16, 7)
    example_lake.capture(lake, records, name="i.jsonl")
    waiting = answers.find(lake, "p0000")
    example_lake.ingest(lake, records)
    ingested = answers.find(lake, "p0000")
    assert waiting is not None
    assert ingested is not None
    differing = {k for k in ingested if ingested[k] != waiting[k]}
    assert differing == {"at", "segment"}
    assert len(answers.newest(lake, 9)) == 1


@pytest.mark.parametrize("asked", ["nope", "p0001' OR '1'='1", "", "../p0001", "x" * 500, "p0001\n"])
def test_an_unknown_answer_says_which_there_are(filled: example_lake.Filled, asked: str) -> None:
    with pytest.raises(tracing.TraceError, match="The last ones: p0003, p0002"):
        tracing.prediction_lineage(filled.lake, filled.tracking, asked)


def test_unknown_models_and_stages_say_which_there_are(filled: example_lake.Filled, home: Path) -> None:
    with pytest.raises(tracing.TraceError, match=filled.second):
        tracing.model_lineage(filled.lake, filled.tracking, "absent")
    with pytest.raises(tracing.TraceError, match="Stages: staging, production"):
        tracing.production_lineage(filled.lake, filled.tracking, "canary")
    with pytest.raises(tracing.TraceError, match="Nothing has been deployed to staging"):
        tracing.production_lineage(Lake.open(home / "lake"), None, "staging")


def test_a_stage_says_what_it_serves_and_its_history(home: Path) -> None:
    lake = Lake.open(home / "lake")
    filled = example_lake.fill(home, example_lake.shots(1))
    ledger.record(
        lake, "production", "promote", digest=filled.second, version=2, actor="ada@desk", reason="Better at night"
    )
    lineage = tracing.production_lineage(lake, filled.tracking, "production", PLACES)
    assert lineage["event"]["actor"] == "ada@desk"
    assert [e["digest"] for e in lineage["history"]] == [filled.second, filled.first]
    assert lineage["model"]["digest"] == filled.second
    # Rolled back: an old answer keeps the event under which it was given.
    ledger.record(lake, "production", "rollback", digest=filled.first, version=1, actor="ada@desk", reason="Worse")
    old = tracing.prediction_lineage(lake, filled.tracking, "p0000", PLACES)
    assert old["served_by"]["action"] == "promote"
    assert old["model"]["approved_by"]["action"] == "rollback"


def test_a_hundred_thousand_answers_are_searched_in_little_time(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    count, start = 100_000, datetime(2026, 1, 1, tzinfo=UTC)
    rows = pa.table(
        {
            "prediction_id": [f"p{n}" for n in range(count)],
            "at": [start + timedelta(seconds=n) for n in range(count)],
            "digest": ["d"] * count,
            "image_id": [f"{n:064x}" for n in range(count)],
            "segment": [f"s{n // 500}" for n in range(count)],
        }
    )
    lake.append("inferences", rows, "many")
    started = time.monotonic()
    lineage = answers.find(lake, "p50000")
    newest = answers.newest(lake, 50)
    assert time.monotonic() - started < 2  # 0.2 s measured on two cores
    assert lineage is not None
    assert lineage["image_id"] == f"{50000:064x}"
    assert newest[0]["prediction_id"] == f"p{count - 1}"
