"""compute/mlflow_server.py, training/mlflow_run.py: a job's run is looked for before it starts and by the job."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import pytest

from carsdepo_assets.compute.choice import ComputeChoice
from carsdepo_assets.compute.ecs import EcsCompute
from carsdepo_assets.compute.local import LocalCompute
from carsdepo_assets.compute.mlflow_server import VARIABLE, variables_for_job
from carsdepo_assets.compute.sagemaker import SageMakerCompute
from carsdepo_assets.compute.target import ComputeTarget
from carsdepo_assets.environments import resources
from carsdepo_assets.registry.tracking import Tracking
from carsdepo_assets.settings import Settings
from carsdepo_assets.training.mlflow_run import MlflowError, MlflowSpec, tracked
from carsdepo_assets_tests.compute.contract_targets import TARGETS
from carsdepo_assets_tests.compute.contract_worker import ContractSpec
from carsdepo_assets_tests.compute.sagemaker_cases import materialized
from carsdepo_assets_tests.registry.mlflow_process import mlflow_server

RUN = {"experiment": "carsdepo", "run_id": "427e"}
SERVER = "http://mlflow.example:5000"


def variables(
    place: str = "sagemaker",
    own: str | None = SERVER,
    named: str | None = None,
    defined: dict[str, str | None] | None = None,
    mlflow: dict[str, Any] | None = RUN,
) -> dict[str, str]:
    given = {} if named is None else {VARIABLE: named}
    return variables_for_job(place, mlflow, own, given, defined or {}, pytest.fail)


@pytest.fixture(autouse=True)
def no_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)


def test_a_job_gets_the_server_that_has_its_run() -> None:
    assert variables() == {VARIABLE: SERVER}
    assert variables(own="https://10.0.0.5") == {VARIABLE: "https://10.0.0.5"}
    assert variables(named=f"{SERVER}/") == {}  # the same server, so that nobody need be asked
    assert variables("ecs", defined={VARIABLE: SERVER}) == {}
    assert variables("ecs", defined={VARIABLE: None}) == {}  # a secret of the task definition
    assert variables("ecs", own="https://me:word@mlflow.example", defined={VARIABLE: None}) == {}
    assert variables(mlflow=None, own=None) == {}  # a job that logs nothing
    assert variables(mlflow={"run_id": None}, own=None, named=SERVER) == {}  # it opens a run of its own


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"own": None}, ["427e", "SQLite below CARSDEPO_HOME", "at sagemaker", "export", "compute.place: local"]),
        ({"own": None, "named": SERVER}, [f"{SERVER}, which the job is given, does not have it"]),
        ({"own": None, "place": "ecs", "defined": {VARIABLE: None}}, ["SQLite", "at ecs"]),
        ({"own": "postgresql://db/mlflow"}, ["in postgresql://db/mlflow"]),
        ({"own": "http://mlflow:5000"}, ["does not reach mlflow", r"[sagemaker.variables]", "another URL"]),
        ({"own": "http://localhost:5000"}, ["does not reach localhost"]),
        ({"own": "http://127.0.0.1:5000"}, ["does not reach 127.0.0.1"]),
        ({"own": "https://***@mlflow.example"}, ["password", "subnets"]),
        ({"own": "https://***@mlflow.example", "place": "ecs"}, ["password", "`secrets` of the task definition"]),
        ({"named": "sqlite:///mlflow.db"}, ["'sqlite:///mlflow.db'", "[sagemaker.variables]"]),
        ({"place": "ecs", "defined": {VARIABLE: "/mlruns"}}, ["'/mlruns'", "in the task definition"]),
        ({"mlflow": {"run_id": None}, "own": None}, ["no server is named"]),
    ],
)
def test_a_training_that_would_not_find_its_run_is_refused(wrong: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(dg.Failure) as refused:
        variables(**wrong)
    text = str(refused.value.description)
    assert text.startswith("The training was not started. ")
    for word in words:
        assert word in text


def test_the_address_of_this_machine_is_passed_to_an_emulators_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
    assert variables(own="http://127.0.0.1:5000") == {VARIABLE: "http://127.0.0.1:5000"}


def test_the_resource_knows_the_store_and_no_password(tmp_path: Path) -> None:
    def store(**env: str) -> object:
        return resources(Settings.read(env, home=tmp_path))["compute"].mlflow

    assert store() == ""
    assert store(CARSDEPO_MLFLOW=SERVER) == SERVER
    assert store(CARSDEPO_MLFLOW="https://me:word@mlflow.example") == "https://***@mlflow.example"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("server") / "home") as url:
        yield url


@pytest.mark.slow
def test_another_url_is_asked_for_the_run(server: str) -> None:
    run = {"run_id": Tracking(server).begin(None, "a run")}
    other, warnings = server.replace("127.0.0.1", "localhost"), list[str]()
    assert variables_for_job("ecs", run, server, {VARIABLE: other}, {}, warnings.append) == {}
    assert warnings == []
    with pytest.raises(dg.Failure, match=f"427e was opened at {server}, and {other}, which .* does not have it"):
        variables_for_job("ecs", RUN, server, {VARIABLE: other}, {}, warnings.append)
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        dead = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    assert variables_for_job("ecs", run, server, {VARIABLE: dead}, {}, warnings.append) == {}
    assert "nobody here can see" in warnings[0]


@pytest.mark.slow
def test_the_job_itself_names_what_is_wrong_and_the_remedy(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def log_to(url: str, run_id: str | None) -> None:
        monkeypatch.setenv(VARIABLE, url)
        with tracked(MlflowSpec(run_id=run_id), lambda: "a run"):
            pass

    log_to(server, None)
    with pytest.raises(MlflowError, match=f"{server} has no run 427e: let CARSDEPO_MLFLOW name the same server"):
        log_to(server, "427e")
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        dead = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    began = time.monotonic()
    with pytest.raises(MlflowError, match=f"{dead}.* cannot be used from this job: .*`variables` of this place"):
        log_to(dead, "427e")
    assert time.monotonic() - began < 60


def test_the_launchpad_of_a_run_leaves_the_other_fields_as_they_are() -> None:
    seen: list[str] = []

    @dg.asset
    def model(compute: ComputeTarget) -> None:
        assert isinstance(compute, ComputeChoice)
        seen.append(f"{compute.mlflow} {compute.place}")

    choice = ComputeChoice(place="sagemaker", local=LocalCompute(), mlflow=SERVER)
    defs = dg.Definitions(assets=[model], resources={"compute": choice}, jobs=[dg.define_asset_job("j")])
    for config in ({"place": "ecs"}, {"instance": "ml.m5.xlarge"}):
        launchpad = {"resources": {"compute": {"config": config}}}
        assert defs.resolve_job_def("j").execute_in_process(run_config=launchpad).success
    assert seen == [f"{SERVER} ecs", f"{SERVER} sagemaker"]


def run(choice: ComputeChoice, run_id: str) -> Any:
    """A materialization by a training that is to log to a run."""
    spec = ContractSpec(lake="s3://jobs/lake", does="report", figure=1.0).model_dump(mode="json")

    @dg.asset
    def model(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        told = {**spec, "mlflow": {"run_id": run_id}}
        return choice.run(context, "train", told, module="carsdepo_assets_tests.compute.contract_worker")

    return materialized(model)


@pytest.mark.parametrize("place", ["ecs", "sagemaker"])
def test_no_job_starts_whose_run_is_in_sqlite(place: str) -> None:
    with TARGETS[place]() as target:
        assert isinstance(target, EcsCompute | SageMakerCompute)
        choice = ComputeChoice(place=place, local=LocalCompute(), **{place: target})
        result = run(choice, "427e")
        assert "was opened in SQLite below CARSDEPO_HOME" in result.error
        objects = boto3.client("s3").list_objects_v2(Bucket="jobs").get("Contents", [])
        assert objects == []  # no spec was stored, and no job started


def test_a_task_definitions_own_variables_are_seen() -> None:
    with TARGETS["ecs"]() as target:
        assert isinstance(target, EcsCompute)
        assert target.defined_variables("train") == {}
        ecs = boto3.client("ecs")
        worker = {
            "name": "worker",
            "image": "worker:1",
            "memory": 128,
            "environment": [{"name": "A", "value": "1"}],
            "secrets": [{"name": VARIABLE, "valueFrom": "arn:aws:ssm:eu-west-1:123456789012:parameter/mlflow"}],
        }
        ecs.register_task_definition(family="train", containerDefinitions=[worker])
        assert target.defined_variables("train") == {"A": "1", VARIABLE: None}
        assert target.model_copy(update={"task_definitions": {"others": "nowhere"}}).defined_variables("train") == {}
