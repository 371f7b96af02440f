"""experiments/study_assets.py, study_jobs.py: what a study's run records in Dagster, MLflow and the lake."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from carsdepo_assets.compute.target import ComputeTarget, Hardware, Verb
from carsdepo_assets.experiments.assets import recipe
from carsdepo_assets.experiments.study_assets import trials as trials_asset
from carsdepo_assets.experiments.study_jobs import pin_recipe
from carsdepo_assets.lake import queues, trials
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.pointers import RecipePointer
from carsdepo_assets.lake.queues import Queue, QueuedPhotograph
from carsdepo_assets.registry.ledger import LedgerHistory
from carsdepo_assets.registry.resources import MlflowTracking
from carsdepo_assets.resources import LakeResource, PolicyResource, StudyStorage
from carsdepo_assets.training.worker import TrainingSpec
from carsdepo_assets_tests.experiments.study.studied_lake import NOW, _empty_storage
from carsdepo_assets_tests.training.tiny_dataset import tiny_dataset

pytestmark = pytest.mark.slow  # each runs assets, and asks MLflow
POLICY = """
[training]
detector = "yolov8n"
[study]
families = ["yolov8n"]
trials = 3
trial_steps = 10
tolerance_points = 0
"""


RAN: list[TrainingSpec] = []


class Formula(ComputeTarget):
    """Stands for a place whose worker leaves a score: the higher the learning rate, the better."""

    named: str = "a machine"  # Dagster takes no resource without a field

    def run(self, context: Any, verb: Verb, spec: Mapping[str, Any], *, module: str) -> dg.MaterializeResult[Any]:
        read = TrainingSpec.model_validate(spec)  # the spec is what the worker takes
        assert (verb, module) == ("train", "carsdepo_assets.training.worker")
        assert read.trial is not None
        RAN.append(read)
        value = min(1.0, 100 * read.recipe.lr)
        result = {"state": "complete", "why": "all 10 planned steps", "value": value, "low": value, "high": value}
        result |= {"groups": 3, "curve": {"10": value}, "steps": 10, "seconds": 4.0, "digest": f"m{read.trial.number}"}
        read.trial.leave(Lake.open(read.lake), result)
        return dg.MaterializeResult(metadata={"place": "sagemaker", "money": 0.5})

    def hardware(self, verb: Verb) -> Hardware:
        return Hardware(place="a place", name=self.named, device="cpu")


def run(home: Path, lake: Lake, **config: Any) -> dg.ExecuteInProcessResult:
    resources = {
        "lake": LakeResource(url=lake.url, home=str(home)),
        "policy": PolicyResource(files=[str(home / "carsdepo.toml")]),
        "tracking": MlflowTracking(home=str(home)),
        "studies": StudyStorage(home=str(home)),
        "compute": Formula(),
    }
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            [trials_asset, recipe],
            resources=resources,
            instance=instance,
            run_config={"ops": {"trials": {"config": config}}},
        )


@pytest.fixture
def lake(home: Path) -> Lake:
    RAN.clear()
    (home / "carsdepo.toml").write_text(POLICY)
    (home / "optuna.db").write_bytes(_empty_storage())
    lake = Lake.open(home / "lake")
    tiny_dataset(lake)
    return lake


def test_a_study_is_recorded_once_and_its_winner_is_the_recipe(home: Path, lake: Lake) -> None:
    result = run(home, lake)
    [event] = result.asset_materializations_for_node("trials")
    study = event.metadata["study"].value
    ledger = trials.trials(trials.events(lake, str(study)))
    best = max(ledger, key=lambda t: t.value or 0)
    assert event.metadata["winner"].value == best.number
    assert [t.ended.money for t in ledger if t.ended] == [0.5] * 3
    assert all(len(str(event.metadata[name].value)) < 140_000 for name in ("history", "importance"))  # base64 of 100 kB
    assert [s.recipe.seed for s in RAN] == [0] * 3
    pointer = RecipePointer.read(lake)
    assert pointer is not None
    assert any(f"Study {study} is followed, trial {best.number}" in line for line in pointer.why)

    again = run(home, lake)
    assert len(RAN) == 3  # concluded: nothing is trained again
    [repeated] = again.asset_materializations_for_node("trials")
    assert (repeated.metadata["study"].value, repeated.metadata["winner"].value) == (study, best.number)
    client = MlflowTracking(home=str(home)).tracking().client
    [parent] = client.search_runs(["1"], f"tags.carsdepo_study = '{study}'")
    runs = client.search_runs(["1"], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert len(runs) == 3
    assert {r.info.status for r in [parent, *runs]} == {"FINISHED"}
    scores = {int(r.data.tags["carsdepo_trial"].partition(":")[2]): r.data.metrics["trial_val_map50"] for r in runs}
    assert scores == {t.number: pytest.approx(t.value) for t in ledger}
    assert all(r.data.params["recipe.steps"] == "10" for r in runs)
    assert LedgerHistory.read(lake).promotion_hold is None


def test_after_high_drift_a_person_is_needed(home: Path, lake: Lake) -> None:
    queue_id = queues.queue_id_of("r1")
    listed = tuple(QueuedPhotograph(f"train{i}", "k", "u", i + 1, "why") for i in range(3))
    lake.put(queues.queue_key(queue_id), Queue(queue_id, NOW, "r1", "why", listed).to_json())
    run(home, lake, report_id="r1")
    hold = LedgerHistory.read(lake).promotion_hold
    assert hold is not None
    assert "report r1" in hold.reason
    [concluded] = [e for e in trials.events(lake) if e.state == "concluded"]
    assert concluded.report_id == "r1"
    plan = json.loads(lake.get(trials.plan_key(concluded.study)))
    assert "No photograph of queue drift-r1 is in val" in plan["data"]["warnings"][0]


def test_a_pin_from_the_ui_names_who_and_why(home: Path, lake: Lake) -> None:
    study = str(run(home, lake).asset_materializations_for_node("trials")[0].metadata["study"].value)
    config = {"study": study, "trial": 0, "reason": "today's is known", "actor": "ann@desk"}
    resources = {"lake": LakeResource(url=lake.url, home=str(home))}
    done = pin_recipe.execute_in_process(run_config={"ops": {"pin": {"config": config}}}, resources=resources)
    assert done.success
    pin = trials.pin(trials.events(lake, study))
    assert pin is not None
    assert (pin.number, pin.actor, pin.message) == (0, "ann@desk", "today's is known")
    refused = pin_recipe.execute_in_process(resources=resources, raise_on_error=False)  # the launchpad's example
    assert not refused.success
