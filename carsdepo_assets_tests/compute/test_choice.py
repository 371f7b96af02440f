"""compute/choice.py, compute/settings_file.py: configuration, an asset or a launchpad decides where a job runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from carsdepo_assets import definitions
from carsdepo_assets.compute.choice import ComputeChoice
from carsdepo_assets.compute.local import LocalCompute
from carsdepo_assets.compute.sagemaker import SageMakerCompute
from carsdepo_assets.compute.settings_file import ComputeSettingsError, read_compute
from carsdepo_assets.compute.target import ComputeTarget, Verb
from carsdepo_assets.environments import resources
from carsdepo_assets.experiments.study_assets import trial_place
from carsdepo_assets.policy import ComputePolicy, Policy
from carsdepo_assets.settings import Settings

SAGEMAKER = """
[sagemaker]
image = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/carsdepo-worker:1"
role = "arn:aws:iam::123456789012:role/carsdepo-jobs"
bucket = "carsdepo-jobs"
region = "eu-west-1"
instance_types = { train = "ml.g5.xlarge", others = "ml.m5.xlarge" }
"""

ECS = """
[ecs]
cluster = "jobs"
task_definitions = { others = "worker" }
bucket = "carsdepo-jobs"
"""


@dg.asset
def candidate_model(context: dg.AssetExecutionContext, compute: ComputeTarget) -> dg.MaterializeResult:
    return compute.run(context, "train", {"lake": "s3://bucket/lake"}, module="a.worker")


@dg.asset
def evaluation(context: dg.AssetExecutionContext, compute: ComputeTarget) -> dg.MaterializeResult:
    return compute.run(context, "evaluate", {"lake": "s3://bucket/lake"}, module="a.worker")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "compute.toml"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """(place, verb, instance type) of each job, none of which runs."""
    jobs: list[tuple[str, str, str]] = []

    def answering(place: str) -> Any:
        def run(
            target: ComputeTarget,
            context: dg.AssetExecutionContext,
            verb: Verb,
            spec: Mapping[str, Any],
            *,
            module: str,
        ) -> dg.MaterializeResult[Any]:
            instance = target.instance_type(verb) if isinstance(target, SageMakerCompute) else ""
            jobs.append((place, verb, instance))
            return dg.MaterializeResult(metadata={"place": place})

        return run

    monkeypatch.setattr(LocalCompute, "run", answering("local"))
    monkeypatch.setattr(SageMakerCompute, "run", answering("sagemaker"))
    return jobs


def materialize(compute: ComputeChoice, **launchpad: Any) -> dg.ExecuteInProcessResult:
    job = dg.define_asset_job("both", selection=["candidate_model", "evaluation"])
    definitions = dg.Definitions(
        assets=[candidate_model, evaluation],
        jobs=[job],
        resources={"compute": compute},
        executor=dg.in_process_executor,
    )
    config = {"resources": {"compute": {"config": launchpad}}} if launchpad else {}
    return definitions.resolve_job_def("both").execute_in_process(run_config=config, raise_on_error=False)


def test_without_a_file_all_runs_on_this_machine(asked: list[tuple[str, str, str]]) -> None:
    assert materialize(read_compute(None, LocalCompute())).success
    assert sorted(asked) == [("local", "evaluate", ""), ("local", "train", "")]


def test_an_asset_has_a_place_of_its_own(file: Path, asked: list[tuple[str, str, str]]) -> None:
    file.write_text(f'by_asset = {{ candidate_model = "sagemaker" }}\n{SAGEMAKER}')
    compute = read_compute(file, LocalCompute())
    assert materialize(compute).success
    assert sorted(asked) == [("local", "evaluate", ""), ("sagemaker", "train", "ml.g5.xlarge")]
    assert compute.hardware("train").device == "cuda:0"  # of the instance, whatever this machine has


@pytest.mark.parametrize(
    ("by_asset", "device", "slots", "price"),
    [
        ('candidate_model = "sagemaker"', "cuda:0", 3, 1.5),  # a study's trials are trained where models are
        ('candidate_model = "sagemaker", trials = "ecs"', "cpu", 2, 0.1),  # unless they have a place of their own
        ('trials = "sagemaker"', "cuda:0", 3, 1.5),
        ('evaluation = "sagemaker"', None, 1, 0.0),
    ],
)
def test_a_studys_place_says_what_its_trials_have(
    by_asset: str, device: str | None, slots: int, price: float, file: Path
) -> None:
    ecs = f"{ECS}vcpus = {{ train = 2 }}\nmemory_gb = {{ train = 4 }}\ntrial_slots = 2\n"
    file.write_text(f"by_asset = {{ {by_asset} }}\n{SAGEMAKER}trial_slots = 3\n{ecs}")
    compute = read_compute(file, LocalCompute())
    prices = {"ml.g5.xlarge": 1.5, "fargate-vcpu": 0.04, "fargate-gb": 0.005}
    place = trial_place(compute, Policy(compute=ComputePolicy(prices_per_hour=prices)))
    assert (place.slots, place.per_hour) == (slots, pytest.approx(price))
    if device is not None:
        assert place.device == device
    unpriced = trial_place(compute, Policy())
    assert unpriced.per_hour == (0.0 if slots == 1 else None)  # this machine costs nothing unless it is listed


def test_the_launchpad_decides_for_one_run(file: Path, asked: list[tuple[str, str, str]]) -> None:
    file.write_text(SAGEMAKER)
    compute = read_compute(file, LocalCompute())
    assert materialize(compute, place="sagemaker", instance="ml.p4d.24xlarge").success
    assert {(place, instance) for place, _, instance in asked} == {("sagemaker", "ml.p4d.24xlarge")}
    asked.clear()
    assert materialize(compute).success
    assert {place for place, _, _ in asked} == {"local"}


@pytest.mark.parametrize(
    ("launchpad", "says"),
    [
        ({"place": "ecs"}, "not configured"),
        ({"place": "the moon"}, "must be one of local, ecs, sagemaker"),
    ],
)
def test_a_place_that_is_not_there_is_refused(launchpad: dict[str, str], says: str) -> None:
    result = materialize(ComputeChoice(local=LocalCompute()), **launchpad)
    failures = [e for e in result.all_node_events if e.is_step_failure]
    assert failures
    assert all(says in str(e.step_failure_data.error) for e in failures if e.step_failure_data.error)


@pytest.mark.parametrize("lake", ["/home/me/lake", "file:///home/me/lake"])
def test_a_lake_in_a_folder_is_not_sent_away(lake: str, file: Path) -> None:
    file.write_text(f'place = "sagemaker"\n{SAGEMAKER}')

    @dg.asset
    def weights(context: dg.AssetExecutionContext, compute: ComputeTarget) -> dg.MaterializeResult:
        return compute.run(context, "train", {"lake": lake}, module="a.worker")

    compute = read_compute(file, LocalCompute())
    result = dg.materialize([weights], resources={"compute": compute}, raise_on_error=False)
    [failure] = [e for e in result.all_node_events if e.is_step_failure]
    assert failure.step_failure_data.error is not None
    assert "which sagemaker cannot read: set CARSDEPO_LAKE" in failure.step_failure_data.error.to_string()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("place = ", "not TOML"),
        ('where = "ecs"', "where: no such key"),
        ('place = "moon"', "place: 'moon' is no place"),
        ('place = "ecs"', r"the section \[ecs\] is missing"),
        ('by_asset = { evaluation = "sagemaker" }', r"by_asset.evaluation is sagemaker, and the section \[sagemaker\]"),
        ("[sagemaker]\nimage = 'x'", "sagemaker.role: is missing: ARN of the role"),
        (f"{SAGEMAKER}colour = 1", "sagemaker.colour: no such key"),
        ("sagemaker = 1", "sagemaker: must be a section"),
        ("a = " + "[" * 5000, "nested too deeply"),
        (f"{SAGEMAKER}max_runtime_s = 99999999999", "sagemaker.max_runtime_s: .* less than or equal to 2419200"),
        (f"{SAGEMAKER}poll_s = inf", "sagemaker.poll_s: .* less than or equal to 3600"),
        (f"{SAGEMAKER}variables = {{ CARSDEPO_API_KEY = 'x' }}", "sagemaker.variables: CARSDEPO_API_KEY: a secret"),
        (f"{SAGEMAKER}prefix = '/jobs/'", "sagemaker.prefix: '/jobs/' must be names"),
        (f"{SAGEMAKER}subnets = ['subnet-1']", "sagemaker.subnets: jobs in a VPC need both"),
        (SAGEMAKER.replace("train =", "trian ="), "sagemaker.instance_types.trian: no such verb; there are train,"),
        (SAGEMAKER.replace('"carsdepo-jobs"', '"s3://jobs"'), "sagemaker.bucket: 's3://jobs' is no name of an S3"),
        (f"{ECS}max_runtime_s = 99999999999", "ecs.max_runtime_s: .* less than or equal to 2419200"),
        (f"{ECS}gpus = {{ train = -1 }}", "ecs.gpus.train: -1 is no number that a machine has"),
        (f"{ECS}vcpus = {{ tarin = 1.0 }}", "ecs.vcpus.tarin: no such verb; there are train,"),
        (f"{ECS}capacity = [{{ name = 'FARGATE_SPOT', sopt = true }}]", "ecs.capacity.0.sopt: Extra inputs are not"),
        (f"{ECS}variables = {{ CARSDEPO_API_KEY = 'x' }}", "ecs.variables: CARSDEPO_API_KEY: a secret"),
    ],
)
def test_a_wrong_file_names_the_key(file: Path, text: str, says: str) -> None:
    file.write_text(text)
    with pytest.raises(ComputeSettingsError, match=says):
        read_compute(file, LocalCompute())


def test_the_mark_with_which_notepad_begins_files_is_taken(file: Path) -> None:
    file.write_text(f'place = "sagemaker"\n{SAGEMAKER}', encoding="utf-8-sig")
    assert read_compute(file, LocalCompute()).place == "sagemaker"


def test_an_asset_that_is_misspelt_is_refused_when_the_graph_is_loaded(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARSDEPO_COMPUTE", str(file))
    monkeypatch.setenv("CARSDEPO_HOME", str(tmp_path))
    file.write_text(f'by_asset = {{ candidate_model = "sagemaker" }}\n{SAGEMAKER}')
    assert definitions.defs().resolve_all_asset_keys()
    file.write_text(f'by_asset = {{ candidate_modle = "sagemaker" }}\n{SAGEMAKER}')
    with pytest.raises(ComputeSettingsError, match=r"by_asset\.candidate_modle: .* is candidate_model meant\?"):
        definitions.defs()
    file.write_text(f'by_asset = {{ zzz = "sagemaker" }}\n{SAGEMAKER}')
    with pytest.raises(ComputeSettingsError, match=r"by_asset\.zzz: there is no such asset: Dagster's page"):
        definitions.defs()


def test_settings_name_the_file(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ComputeSettingsError, match="CARSDEPO_COMPUTE names: No such file"):
        resources(Settings.read({"CARSDEPO_COMPUTE": str(file)}, home=tmp_path))
    file.write_text(f'place = "sagemaker"\n{SAGEMAKER}')
    compute = resources(Settings.read({"CARSDEPO_COMPUTE": str(file)}, home=tmp_path))["compute"]
    assert compute.place == "sagemaker"
    assert isinstance(compute.target("sagemaker"), SageMakerCompute)
