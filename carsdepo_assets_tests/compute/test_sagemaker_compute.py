"""compute/sagemaker.py, compute/job_names.py: what is asked of AWS for a verb, and which job belongs to which work."""

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from carsdepo_assets.compute.job_names import job_name_of
from carsdepo_assets.compute.local import LocalCompute
from carsdepo_assets.compute.sagemaker import SageMakerCompute
from carsdepo_assets.compute.settings_file import read_compute
from carsdepo_assets.orchestration.run_states import INTERRUPTED, INTERRUPTED_TAG
from carsdepo_assets_tests.compute.contract_worker import ContractSpec
from carsdepo_assets_tests.compute.sagemaker_cases import BUCKET, IMAGE, INSTANCE, ROLE, emulated_aws, materialized
from deploy.emulators.request_limits import violations
from deploy.emulators.sagemaker_on_moto import SageMakerOnMoto

WORKER = "carsdepo_assets_tests.compute.contract_worker"
SPEC = ContractSpec(lake=f"s3://{BUCKET}/lake", does="report", figure=1.0).model_dump(mode="json")


@pytest.fixture(scope="module")
def aws() -> Iterator[SageMakerOnMoto]:
    with emulated_aws() as emulator:
        yield emulator


def compute(**more: Any) -> SageMakerCompute:
    base = {"image": IMAGE, "role": ROLE, "bucket": BUCKET, "region": "us-east-1", "check_first": False}
    return SageMakerCompute(**{**base, "poll_s": 0.2, "poll_max_s": 0.4, **more})


def test_a_training_request_has_spot_checkpoints_network_and_limits() -> None:
    target = compute(subnets=["subnet-1234"], security_groups=["sg-1234"], keep_alive_s=600, tags={"cost": "a"})
    request = target.training_request("job", WORKER, "s3://jobs/spec.json")
    assert violations("CreateTrainingJob", {"TrainingJobName": "job", **request}) == []
    assert request["EnableManagedSpotTraining"] is True
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 21600, "MaxWaitTimeInSeconds": 28800}
    assert request["CheckpointConfig"]["LocalPath"] == request["Environment"]["CARSDEPO_WORK"]
    assert request["Environment"]["CARSDEPO_PIPES_CHANNEL"] == "s3"
    assert request["Environment"]["CARSDEPO_COMPUTE_PLACE"] == "sagemaker"
    assert request["ResourceConfig"]["KeepAlivePeriodInSeconds"] == 600
    assert request["VpcConfig"] == {"Subnets": ["subnet-1234"], "SecurityGroupIds": ["sg-1234"]}
    assert (
        "MaxWaitTimeInSeconds" not in compute(spot=False).training_request("job", WORKER, "s3://x")["StoppingCondition"]
    )


def test_a_processing_request_runs_the_module_with_its_spec() -> None:
    request = compute(subnets=["subnet-1"], security_groups=["sg-1"]).processing_request(
        "evaluate", WORKER, "s3://jobs/spec.json"
    )
    assert violations("CreateProcessingJob", {"ProcessingJobName": "job", **request}) == []
    arguments = request["AppSpecification"]["ContainerArguments"]
    assert arguments == ["process", "--module", WORKER, "--spec", "s3://jobs/spec.json"]
    assert request["ProcessingResources"]["ClusterConfig"]["InstanceType"] == "ml.m5.xlarge"


def test_a_recipe_is_made_for_the_gpu_that_will_train_it() -> None:
    target = compute()
    assert (target.hardware("train").device, target.hardware("train").name) == ("cuda:0", INSTANCE)
    assert target.hardware("evaluate").device == "cpu"
    with pytest.raises(ValueError, match="neither 'export' nor 'others'"):
        compute(instance_types={"train": INSTANCE}).hardware("export")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"variables": {"CARSDEPO_API_KEY": "x"}}, ["CARSDEPO_API_KEY", "secret"]),
        ({"variables": {"DATABASE": "postgresql://user:word@host/db"}}, ["DATABASE", "secret"]),
        ({"variables": {"LONG": "x" * 257}}, ["LONG", "256 characters"]),
        ({"subnets": ["subnet-1"]}, ["security_groups"]),
    ],
)
def test_configuration_that_must_not_or_cannot_be_passed_is_refused(
    wrong: dict[str, Any], words: list[str], aws: SageMakerOnMoto
) -> None:
    before = set(aws.jobs)
    result = run(compute(**wrong))
    for word in words:
        assert word in result.error
    assert set(aws.jobs) == before


@pytest.mark.parametrize(("place", "number"), [("sagemaker", 1), ("ecs", 2)])
def test_the_documented_configurations_are_taken(place: str, number: int, tmp_path: Path) -> None:
    """docs/aws.md shows a file for each place; both must pass the checks."""
    page = (Path(__file__).parents[2] / "docs" / "aws.md").read_text()
    file = tmp_path / "compute.toml"
    file.write_text(textwrap.dedent(page.split("```toml\n")[number].partition("```")[0]))
    compute = read_compute(file, LocalCompute())
    assert compute.place_of("candidate_model") == place
    assert compute.place_of("evaluation") == "local"
    assert compute.target(place).mistakes() == []


@pytest.mark.slow
def test_variables_reach_the_job(aws: SageMakerOnMoto) -> None:
    assert run(compute(variables={"CARSDEPO_MLFLOW": "http://mlflow.internal:5000"})).success
    [job] = [j for j in aws.jobs.values() if "CARSDEPO_MLFLOW" in j.request["Environment"]]
    assert job.request["Environment"]["CARSDEPO_MLFLOW"] == "http://mlflow.internal:5000"


def run(target: SageMakerCompute, spec: dict[str, Any] = SPEC) -> Any:
    @dg.asset
    def model(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        return target.run(context, "train", spec, module=WORKER)

    return materialized(model)


def test_nothing_starts_where_something_is_missing(aws: SageMakerOnMoto) -> None:
    before = set(aws.jobs)
    aws.faults.quotas = {f"{INSTANCE} for spot training job usage": 0}
    result = run(compute(check_first=True))
    for word in ("is 0 in us-east-1", "RepositoryNotFoundException", "no role carsdepo-sagemaker"):
        assert word in result.error
    assert set(aws.jobs) == before


def test_a_run_that_cannot_watch_its_job_counts_as_interrupted(aws: SageMakerOnMoto) -> None:
    aws.faults.fail("DescribeTrainingJob", "AccessDeniedException", "You may not look.")
    result = run(compute(), {**SPEC, "figure": 3.0})
    assert "You may not look" in result.error
    assert "started no training job" in result.error
    assert result.run_tags[INTERRUPTED_TAG] == INTERRUPTED


def name_in_a_run(instance: dg.DagsterInstance, spec: dict[str, Any], dies: bool = False) -> str:
    """The job's name in a run of its own, whose step succeeds unless it dies."""
    heard: list[str] = []

    @dg.asset
    def model(context: dg.AssetExecutionContext) -> None:
        heard.append(job_name_of(context, "train", WORKER, spec))
        assert job_name_of(context, "train", WORKER, spec) == heard[0]  # a retry of the step
        if dies:
            raise ValueError("its process dies")

    job = dg.Definitions(assets=[model], jobs=[dg.define_asset_job("j", [model])]).resolve_job_def("j")
    run = job.execute_in_process(instance=instance, raise_on_error=False)
    assert run.success != dies
    return heard[0]


def test_a_run_takes_up_the_job_of_one_that_died_whoever_asks_for_it() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        name = name_in_a_run(instance, {**SPEC, "dagster_run_id": "1", "mlflow": {"run_id": "a"}}, dies=True)
        assert name.startswith("carsdepo-train-")
        assert len(name) <= 60
        assert name_in_a_run(instance, {**SPEC, "figure": 2.0}, dies=True) != name  # other work
        again = {**SPEC, "dagster_run_id": "2", "mlflow": {"run_id": "b"}}
        assert name_in_a_run(instance, again, dies=True) == name
        assert name_in_a_run(instance, again) == name


def test_work_that_succeeded_is_done_anew_when_it_is_asked_for_again() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        first = name_in_a_run(instance, SPEC)
        second = name_in_a_run(instance, SPEC, dies=True)
        assert second != first
        assert name_in_a_run(instance, SPEC) == second
        assert name_in_a_run(instance, SPEC) not in (first, second)


@pytest.mark.slow
def test_a_job_has_its_spec_on_s3_and_its_figures_in_the_platforms_words(aws: SageMakerOnMoto) -> None:
    result = run(compute(), {**SPEC, "policy": {"compute": {"prices_per_hour": {INSTANCE: 7200.0}, "currency": "EUR"}}})
    assert result.success, result.error
    job = aws.jobs[result.metadata["job"]]
    assert job.request["HyperParameters"]["spec"].endswith(f"{job.name}/spec.json")
    assert result.metadata["place"] == "sagemaker"
    assert result.metadata["instance"] == INSTANCE
    assert result.metadata["money"] == 2 * result.metadata["billable_seconds"]
    assert result.metadata["currency"] == "EUR"


def test_a_spec_that_cannot_be_stored_starts_nothing_and_says_why(aws: SageMakerOnMoto) -> None:
    before = set(aws.jobs)
    result = run(compute(bucket="nowhere"))
    assert re.match(r"Could not store s3://nowhere/carsdepo-jobs/\S+/spec.json: NoSuchBucket", result.error)
    assert "This call started no job" in result.error
    assert set(aws.jobs) == before


def test_processing_jobs_are_asked_for_no_longer_than_aws_takes() -> None:
    request = compute(max_runtime_s=2_000_000).processing_request("export", WORKER, "s3://jobs/spec.json")
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 777600}
