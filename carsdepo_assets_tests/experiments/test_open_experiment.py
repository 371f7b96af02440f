"""experiments/open_experiment.py, experiments/queue_assets.py: the experiment of a drift report, and its queue."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from carsdepo_assets.experiments.jobs import cut_queue_job
from carsdepo_assets.experiments.open_experiment import EXPERIMENT_TAG, NOTE_TAG, ExperimentError, open_experiment
from carsdepo_assets.experiments.queue_assets import labelling_queue
from carsdepo_assets.experiments.recipes import choose_recipe
from carsdepo_assets.lake import queues
from carsdepo_assets.lake.datasets import read_manifest
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import digest_of, write_model
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry import ledger
from carsdepo_assets.registry.resources import MlflowTracking
from carsdepo_assets.registry.tracking import Tracking
from carsdepo_assets.resources import LakeResource, PolicyResource
from carsdepo_assets_tests.data.photograph_files import photograph
from carsdepo_assets_tests.data.small_lake import dataset, label, upload
from carsdepo_assets_tests.detectors.rectangles import card
from carsdepo_assets_tests.experiments.answers import DIGEST, NOW, answer, dark, report

pytestmark = pytest.mark.slow


@pytest.fixture
def lake(home: Path) -> Lake:
    return Lake.open(home / "lake")


@pytest.fixture
def tracking(home: Path) -> Tracking:
    return Tracking.at_home(home)


def test_the_file_and_the_run_say_what_drifted_and_what_to_answer(lake: Lake, tracking: Tracking) -> None:
    report(lake, "r1")
    ledger.record(lake, "production", "promote", digest="e" * 12, version=3, actor="a", reason="b")
    experiment = open_experiment(lake, tracking, "r1", "half the photographs are dark", "drift-r1", now=NOW)
    assert json.loads(lake.get("experiments/r1.json")) == experiment
    assert "30.0 %" in experiment["question"]
    assert "luma_mean" in experiment["question"]
    assert experiment["queue"] == {"queue_id": "drift-r1", "key": "queues/drift-r1/queue.json"}
    assert experiment["champion"] == {"answered": DIGEST, "serves_now": "e" * 12}
    assert experiment["drifted"]["features"] == [{"name": "luma_mean", "drift": 0.3}]
    run = tracking.client.get_run(experiment["mlflow"]["run_id"])
    assert run.info.run_name == "experiment: drift r1"
    assert run.info.status == "FINISHED"
    assert run.data.tags[EXPERIMENT_TAG] == "r1"
    assert run.data.tags[NOTE_TAG].startswith(experiment["question"])
    assert run.data.metrics == {"drift": 0.3}


def test_opened_again_it_is_the_same_and_one_run(lake: Lake, tracking: Tracking) -> None:
    report(lake, "r1")
    first = open_experiment(lake, tracking, "r1", "dark", None, now=NOW)
    assert open_experiment(lake, tracking, "r1", "another reason", "q") == first
    lake.delete("experiments/r1.json")  # as if killed between the run and the file
    again = open_experiment(lake, tracking, "r1", "dark", None, now=NOW)
    assert again == first
    assert len(tracking.client.search_runs([tracking.experiment_id()])) == 1


def test_the_suggested_recipes_are_configurations_that_training_takes(lake: Lake, tracking: Tracking) -> None:
    upload(lake, {f"a/{i}.jpg": photograph(i) for i in range(9)})
    label(lake, {f"a/{i}.txt": "0 0.5 0.5 0.2 0.2\n" for i in range(9)})
    manifest = read_manifest(lake, dataset(lake).version)
    report(lake, "r1")
    experiment = open_experiment(lake, tracking, "r1", "dark", None, now=NOW)
    configs = [r["train"]["ops"]["recipe"]["config"] for r in experiment["recipes"]]
    recipes = [choose_recipe(Policy(), manifest, Path("none"), **config).recipe for config in configs]
    assert len({recipe.digest() for recipe in recipes}) > 1
    assert f"{manifest['split'].to_pylist().count('train')} training photographs" in experiment["recipes"][0]["why"]


@pytest.mark.parametrize(("serves", "proposed"), [("yolov8n", ["faster_rcnn"]), ("faster_rcnn", ["yolov8n"])])
def test_another_family_than_productions_is_proposed(
    lake: Lake, tracking: Tracking, serves: str, proposed: list[str]
) -> None:
    champion = card(digest_of(b"champion")).model_copy(update={"detector": serves})
    write_model(lake, b"champion", champion, {"history": []}, b"{}")
    ledger.record(lake, "production", "promote", digest=champion.digest, version=1, actor="a", reason="b")
    report(lake, "r1")
    experiment = open_experiment(lake, tracking, "r1", "dark", None, now=NOW)
    configs = [r["train"]["ops"]["recipe"]["config"] for r in experiment["recipes"]]
    assert [c["detector"] for c in configs if "detector" in c] == proposed


@pytest.mark.parametrize("report_id", ["r9", "../r1", "a'b"])
def test_an_unknown_report_opens_nothing(lake: Lake, tracking: Tracking, report_id: str) -> None:
    report(lake, "r1")
    with pytest.raises(ExperimentError, match="no drift report"):
        open_experiment(lake, tracking, report_id, "why", None)
    assert list(lake.list("experiments/")) == []


def _materialize(home: Path, report_id: str | None) -> dg.ExecuteInProcessResult:
    upstream = [dg.AssetSpec(key) for key in ("images", "labels", "drift_report")]
    resources = {
        "lake": LakeResource(url=str(home / "lake"), home=str(home)),
        "policy": PolicyResource(files=[str(home / "carsdepo.toml")]),
        "tracking": MlflowTracking(home=str(home)),
    }
    defs = dg.Definitions(assets=[labelling_queue, *upstream], jobs=[cut_queue_job], resources=resources)
    config = {"ops": {"labelling_queue": {"config": {"report_id": report_id}}}} if report_id else {}
    return defs.resolve_job_def("cut_queue").execute_in_process(run_config=config, raise_on_error=False)


def _answers(lake: Lake) -> None:
    at = datetime.now(UTC) - timedelta(hours=1)
    rows = [answer(lake, dark(i) if i % 2 else photograph(i), at=at) for i in range(6)]
    lake.append("inferences", rows, "answers")
    for name, band in (("calm", "low"), ("storm", "high")):
        report(lake, name, band=band, window_from=at - timedelta(hours=1), window_to=at + timedelta(minutes=1))


def test_high_drift_cuts_a_queue_and_opens_an_experiment(home: Path, lake: Lake) -> None:
    _answers(lake)
    result = _materialize(home, "storm")
    assert result.success
    (event,) = result.asset_materializations_for_node("labelling_queue")
    assert event.metadata["photographs"].value == 6
    assert event.metadata["experiment"].value == f"{home}/lake/experiments/storm.json"
    sheet = str(event.metadata["contact_sheet"].value)
    assert sheet.startswith("![contact sheet](data:image/png;base64,")
    assert len(sheet) < 140_000
    assert json.loads(lake.get("experiments/storm.json"))["queue"]["queue_id"] == "drift-storm"
    assert queues.read(lake, "drift-storm").report_id == "storm"


@pytest.mark.parametrize("report_id", ["calm", None])
def test_less_drift_or_none_opens_no_experiment(home: Path, lake: Lake, report_id: str | None) -> None:
    _answers(lake)
    result = _materialize(home, report_id)
    assert result.success
    (event,) = result.asset_materializations_for_node("labelling_queue")
    assert event.metadata["photographs"].value == 6
    assert "experiment" not in event.metadata
    assert list(lake.list("experiments/")) == []


def test_an_unknown_report_fails_the_run(home: Path, lake: Lake) -> None:
    assert not _materialize(home, "r9").success
