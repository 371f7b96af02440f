"""training/worker.py, compute/worker/events.py: the worker as ECS or SageMaker start it, without Dagster."""

import json
import os
import subprocess
import sys
import threading
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from carsdepo_assets.compute.local import LocalCompute
from carsdepo_assets.compute.worker.events import open_events
from carsdepo_assets.compute.worker.process import SpecError, read_spec, spec_json
from carsdepo_assets.compute.worker.trial import TrialTerms
from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.detectors.catalogue import retraining_recipe
from carsdepo_assets.detectors.checkpoints import DetectorError, read_weights, write_weights
from carsdepo_assets.detectors.weights_for_workers import keep_initial_weights
from carsdepo_assets.detectors.yolov8.detector import build_model
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import digest_of, is_complete, read_card, read_result, weights_path
from carsdepo_assets.lake.training_findings import read_diagnosis
from carsdepo_assets.lake.training_progress import read_progress, training_status
from carsdepo_assets.policy import Policy, TrainingPolicy
from carsdepo_assets.policy_augmentation import AugmentationSettings
from carsdepo_assets.policy_diagnosis import DiagnosisPolicy
from carsdepo_assets.registry.lineage import read_lineage
from carsdepo_assets.registry.preprocessing import describe_preprocessing
from carsdepo_assets.registry.resources import MlflowTracking
from carsdepo_assets.registry.tracking import Tracking
from carsdepo_assets.training.hopeless import stopped
from carsdepo_assets.training.worker import TrainingSpec, alone, resolve_init, run
from carsdepo_assets_tests.detectors.rectangles import made_up_model
from carsdepo_assets_tests.training.tiny_dataset import tiny_dataset

VARIED = AugmentationSettings(flip=0.5, translate=0.1, min_visible=0.2)


def spec_for(tmp_path: Path, **changes: Any) -> TrainingSpec:
    lake = Lake.open(str(tmp_path / "lake"))
    recipe = Recipe(
        detector="yolov8n", image_size=64, epochs=changes.pop("epochs", 2), batch=4, seed=1, augmentation=VARIED
    )
    fields = {
        "lake": str(tmp_path / "lake"),
        "dataset_version": tiny_dataset(lake),
        "recipe": recipe,
    }
    return TrainingSpec(**(fields | changes))


def start(spec: TrainingSpec, tmp_path: Path) -> subprocess.Popen[str]:
    path = tmp_path / "spec.json"
    path.write_text(spec.model_dump_json())
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "carsdepo_assets.training.worker", "--spec", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "CARSDEPO_WORK": str(tmp_path / "work"), "CARSDEPO_HOME": str(tmp_path)},
    )


def finish(process: subprocess.Popen[str]) -> tuple[list[str], dict[str, Any]]:
    """Its lines, and the report among them."""
    out, _ = process.communicate(timeout=180)
    assert process.returncode == 0, out
    [report] = [json.loads(line) for line in out.splitlines() if line.startswith('{"data_version"')]
    return out.splitlines(), report


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_without_dagster_it_leaves_a_whole_model(tmp_path: Path) -> None:
    spec = spec_for(tmp_path, mlflow={})
    lines, report = finish(start(spec, tmp_path))
    assert [line.split(":")[0] for line in lines if line.startswith("epoch ")] == ["epoch 1/2", "epoch 2/2"]
    lake = Lake.open(spec.lake)
    digest = report["digest"]
    assert is_complete(lake, digest)
    card = read_card(lake, digest)
    assert digest == report["data_version"] == digest_of(weights_path(lake, card).read_bytes())
    assert card.class_names == ("scratch", "dent")
    assert 0 <= card.threshold <= 1
    assert card.threshold_from.endswith(" on 3 val photographs with 2 boxes")  # a match or not: it trained four steps
    assert len(read_result(lake, digest)["history"]) == 2
    lineage = read_lineage(lake, digest)
    assert lineage.data.version == spec.dataset_version
    assert lineage.recipe_digest == spec.recipe.digest()
    assert Recipe.model_validate(lineage.recipe) == spec.recipe
    assert lineage.preprocessing == describe_preprocessing("yolov8n", 64, VARIED, Policy())
    assert not (tmp_path / "work" / "training" / spec.key()).exists()

    tracking = Tracking.at_home(tmp_path)
    run_id = report["mlflow_run_id"]
    assert lineage.mlflow_run_id == run_id
    assert tracking.status(run_id) == "FINISHED"
    assert [m.step for m in tracking.client.get_metric_history(run_id, "loss")] == [2, 4]  # optimizer steps
    logged = tracking.client.get_run(run_id).data
    assert logged.tags["carsdepo.augmentation"] == VARIED.version
    assert logged.tags["carsdepo.normalisation"] == "levels divided by 255"
    assert (logged.params["recipe.augmentation.flip"], logged.params["recipe.augmentation.noise"]) == ("0.5", "0.0")
    assert "boxes_dropped" in logged.metrics
    name = tracking.client.get_run(run_id).info.run_name
    assert name == "YOLOv8n, 14 photographs, dataset 0123, from scratch"
    progress = read_progress(lake)
    assert progress is not None
    assert (progress.state, progress.steps, progress.detail) == ("finished", 4, "all 4 planned steps")
    assert card.training == lineage.training == "all 4 planned steps"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_while_it_trains_it_goes_on(tmp_path: Path) -> None:
    spec = spec_for(tmp_path, epochs=4)
    first = start(spec, tmp_path)
    assert first.stdout is not None
    for line in first.stdout:
        if line.startswith("epoch 2/"):
            break
    first.kill()
    first.communicate()
    assert first.returncode == -9
    lake = Lake.open(spec.lake)
    assert list(lake.list("models/")) == []
    killed = read_progress(lake)
    assert killed is not None
    assert killed.state == "running" or killed.state == "evaluating"  # it could not say that it was killed
    seen = training_status(lake, 60.0, killed.updated_at + timedelta(seconds=61))
    assert seen is not None
    assert "no sign of life since" in seen.text

    lines, report = finish(start(spec, tmp_path))
    assert any("Going on from the checkpoint" in line for line in lines)
    epochs = [int(line.removeprefix("epoch ").split("/")[0]) for line in lines if line.startswith("epoch ")]
    assert epochs[-1] == 4
    assert epochs[0] in (2, 3)  # epoch 2 may have been said before its checkpoint was written
    assert [int(row["epoch"]) for row in report["history"]] == [1, 2, 3, 4]
    assert (report["steps"], report["planned_steps"], report["stopped_by_time"]) == (8, 8, False)
    after = read_progress(lake)
    assert after is not None
    assert (after.state, after.steps) == ("finished", 8)
    assert after.seconds > killed.seconds


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_hopeless_training_ends_early_and_says_why(tmp_path: Path) -> None:
    """A learning rate that is none: no model, findings in the lake and in MLflow, nothing for a rerun to go on from."""
    recipe = Recipe(detector="yolov8n", image_size=64, epochs=100, batch=4, seed=1, lr=1e-12, extra={"threads": 1})
    rules = DiagnosisPolicy(window=10, samples=2, loss_patience=20, gradients_every=2)
    policy = Policy(training=TrainingPolicy(diagnosis=rules))
    spec = spec_for(tmp_path, recipe=recipe, policy=policy, mlflow={}, dagster_run_id="run-1")
    process = start(spec, tmp_path)
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 1
    assert "HopelessTraining: hopeless, loss_not_falling since step" in out
    lake = Lake.open(spec.lake)
    assert list(lake.list("models/")) == []
    diagnosis = read_diagnosis(lake, spec.key())
    assert diagnosis is not None
    assert (diagnosis.stopped, diagnosis.run_id) == (True, "run-1")
    assert {f.name for f in diagnosis.findings} == {"lr_out_of_range", "loss_not_falling"}
    assert stopped(lake, spec.key(), "run-1") == diagnosis
    assert stopped(lake, spec.key(), "run-2") is None  # another run's failure is another matter
    progress = read_progress(lake)
    assert progress is not None
    assert progress.state == "failed"
    assert progress.detail.startswith("hopeless, loss_not_falling")
    assert progress.findings == diagnosis.findings
    assert progress.planned_steps == 200
    assert progress.steps < 150
    tracking = Tracking.at_home(tmp_path)
    [logged] = tracking.client.search_runs([tracking.experiment_id()])
    assert logged.info.status == "FAILED"
    assert logged.data.tags["carsdepo.finding.loss_not_falling"].startswith("hopeless: loss_not_falling since step")
    assert not (tmp_path / "work" / "training" / spec.key()).exists()


def test_a_trial_that_has_its_result_ends_well_though_it_has_no_work_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where its report was lost with the machine, and where a hopeless trial has removed the folder itself."""
    monkeypatch.setenv("CARSDEPO_WORK", str(tmp_path / "work"))
    spec = spec_for(tmp_path, trial=TrialTerms(study="s", number=1))
    assert spec.trial is not None
    spec.trial.leave(Lake.open(spec.lake), {"state": "failed", "why": "hopeless, nan", "curve": {}})
    with ExitStack() as after, open_events() as events:
        run(spec, events, after)
    assert not (tmp_path / "work" / "training" / spec.key()).exists()


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "Invalid JSON"),
        ("{}", "dataset_version: Field required"),
        ('{"lake": "x", "dataset_version": "d", "recipe": {"epochs": 0}}', "recipe.epochs"),
        ('{"lake": "x", "dataset_version": "d", "recipe": {}, "colour": 1}', "colour: Extra inputs"),
    ],
)
def test_a_wrong_spec_is_refused(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    path.write_text(text)
    with pytest.raises(SpecError, match=says):
        read_spec(path, TrainingSpec)


def test_the_worker_knows_nothing_of_dagster_but_its_pipes() -> None:
    code = (
        "import sys, carsdepo_assets.training.worker;"
        "print([m for m in ('dagster', 'torch', 'ultralytics', 'mlflow', 'cv2') if m in sys.modules])"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert process.stdout.strip() == "[]"


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_with_dagster_it_reports_its_history_once(tmp_path: Path) -> None:
    mlflow = MlflowTracking(home=str(tmp_path))
    tracking = mlflow.tracking()
    compute = LocalCompute(
        grace_s=2, variables={"CARSDEPO_HOME": str(tmp_path), "CARSDEPO_WORK": str(tmp_path / "work")}
    )

    @dg.asset
    def model(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with mlflow.during(context, last=True) as run_id:
            told = {"run_id": run_id}
            recipe = Recipe(detector="yolov8n", image_size=64, epochs=1, batch=4, seed=1, minutes=0.0001)
            spec = spec_for(tmp_path, recipe=recipe, mlflow=told, dagster_run_id=context.run.run_id)
            return compute.run(context, "train", spec_json(spec), module="carsdepo_assets.training.worker")

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([model], instance=instance)
        logged = [r.message for r in instance.all_logs(result.run_id)]
        mlflow.reconcile(instance)
    assert any(line.startswith("epoch 1/1: ") for line in logged)
    [materialization] = result.asset_materializations_for_node("model")
    history = materialization.metadata["history"]
    assert isinstance(history, dg.TableMetadataValue)
    assert [record.data["epoch"] for record in history.records] == [1.0]
    digest = materialization.metadata["digest"].value
    assert isinstance(digest, str)
    lineage = read_lineage(Lake.open(str(tmp_path / "lake")), digest)
    assert (lineage.dagster_run_id, lineage.mlflow_run_id) == (result.run_id, mlflow.find(result.run_id))
    assert tracking.status(str(lineage.mlflow_run_id)) == "FINISHED"
    assert tracking.client.get_run(str(lineage.mlflow_run_id)).data.tags["model_digest"] == digest

    # Its minutes were over before it began: one step, measured and kept, and everyone is told.
    ended = "stopped by time after 1 of 2 steps"
    assert f"The training ended: {ended}." in logged
    told = {
        name: materialization.metadata[name].value for name in ("training", "steps", "planned_steps", "stopped_by_time")
    }
    assert told == {"training": ended, "steps": 1, "planned_steps": 2, "stopped_by_time": True}
    lake = Lake.open(str(tmp_path / "lake"))
    assert lineage.training == read_card(lake, digest).training == read_result(lake, digest)["training"] == ended
    progress = read_progress(lake)
    assert progress is not None
    assert (progress.run_id, progress.state, progress.detail) == (result.run_id, "stopped_by_time", ended)


def test_no_spec_is_exit_code_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "carsdepo_assets.training.worker", "--spec", str(tmp_path / "absent.json")]
    process = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert process.returncode == 2
    assert "absent.json" in process.stderr


def test_work_folders_differ_by_dataset_recipe_and_start() -> None:
    base = TrainingSpec(lake="x", dataset_version="d1", recipe=Recipe())
    others = [
        base.model_copy(update={"dataset_version": "d2"}),
        base.model_copy(update={"recipe": Recipe(epochs=11)}),
        base.model_copy(update={"recipe": Recipe(init="champion", champion="aaaa")}),
        base.model_copy(update={"recipe": Recipe(init="champion", champion="bbbb")}),
    ]
    assert len({s.key() for s in [base, *others]}) == 5
    assert base.model_copy(update={"dagster_run_id": "another"}).key() == base.key()


def test_a_file_of_initial_weights_travels_in_the_lake(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "yolov8n.pt").write_bytes(b"pretrained")

    def resolved(init: str) -> tuple[str | None, str]:
        recipe = Recipe(init=init)
        key = keep_initial_weights(lake, recipe, tmp_path)
        spec = TrainingSpec(lake=lake.url, dataset_version="d", recipe=recipe, initial_weights=key)
        assert str(tmp_path / "weights") not in json.dumps(spec_json(spec).get("initial_weights"))
        return key, resolve_init(spec, lake).init

    key, path = resolved("weights/yolov8n.pt")
    assert key is not None
    assert (Path(path).read_bytes(), Path(path).name) == (b"pretrained", "yolov8n.pt")
    assert resolved(str(tmp_path / "weights" / "yolov8n.pt")) == (key, path)  # the same bytes are kept once
    assert resolved("scratch") == (None, "scratch")
    with pytest.raises(DetectorError, match=r"mine\.pt, from which the recipe starts, is not there"):
        resolved("elsewhere/mine.pt")


def test_init_champion_becomes_its_weights(tmp_path: Path) -> None:
    lake = Lake.open(str(tmp_path))
    digest = made_up_model(lake, b"weights")

    def resolved(**changes: Any) -> Recipe:
        recipe = Recipe.model_validate({"init": "champion", "champion": digest, **changes})
        return resolve_init(TrainingSpec(lake=lake.url, dataset_version="d", recipe=recipe), lake)

    assert Path(resolved().init).read_bytes() == b"weights"
    assert resolved(init="scratch").init == "scratch"
    with pytest.raises(SpecError, match="names none"):
        resolved(champion=None)
    with pytest.raises(SpecError, match="cannot start from it"):
        resolved(detector="faster_rcnn")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_retraining_goes_on_from_the_champion_and_says_so(tmp_path: Path) -> None:
    import torch

    torch.manual_seed(99)
    weights = tmp_path / "champion.pt"
    write_weights(weights, "yolov8n", build_model(2).state_dict(), ("scratch", "dent"), 64)
    lake = Lake.open(str(tmp_path / "lake"))
    champion = made_up_model(lake, weights.read_bytes())
    kept = Recipe(detector="yolov8n", image_size=64, epochs=1, batch=4, seed=1)
    # So small a rate that the weights stay nearly where they were: it can only have started from the champion's.
    recipe = retraining_recipe(kept, champion).model_copy(update={"lr": 1e-7})
    _, second = finish(start(spec_for(tmp_path, recipe=recipe), tmp_path))
    lineage = read_lineage(lake, second["digest"])
    assert lineage.initialised_from == champion
    assert (lineage.recipe["init"], lineage.recipe["champion"]) == ("champion", champion)
    assert second["digest"] != champion

    def convolutions(digest: str) -> dict[str, Any]:
        state = read_weights(weights_path(lake, read_card(lake, digest)), "yolov8n")["state"]
        return {k: v for k, v in state.items() if k.endswith("conv.weight") and v.ndim == 4}

    before, after = convolutions(champion), convolutions(second["digest"])
    assert max(float((after[k] - before[k]).abs().max()) for k in before) < 1e-4


def test_two_trainings_of_one_thing_take_turns(tmp_path: Path) -> None:
    class Heard:
        def __init__(self) -> None:
            self.lines: list[str] = []
            self.waits = threading.Event()

        def log(self, line: str) -> None:
            self.lines.append(line)
            self.waits.set()

        def report(self, result: Any, data_version: str) -> None:
            raise AssertionError("nothing to report")

    order: list[str] = []
    heard = Heard()

    def second() -> None:
        with alone(tmp_path / "work", heard):
            order.append("second")

    with alone(tmp_path / "work", Heard()):
        thread = threading.Thread(target=second)
        thread.start()
        assert heard.waits.wait(10)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    assert "waiting for its end" in heard.lines[0]
