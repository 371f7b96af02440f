"""compute/ecs.py: the worker's module and spec become an ECS task, whose figures come back with its report."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from carsdepo_assets.compute.ecs import Capacity, EcsCompute
from carsdepo_assets.orchestration.run_states import was_interrupted
from carsdepo_assets.policy import ComputePolicy, Policy
from carsdepo_assets_tests.compute.ecs_tests import BUCKET, ENTRYPOINT, Account, account, define, failure
from deploy.emulators.ecs_on_moto import error

pytestmark = pytest.mark.slow

MODULE = "carsdepo_assets_tests.compute.events_worker"


@pytest.fixture
def aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    with account(tmp_path) as made:
        for name, value in made.ecs.variables.items():
            monkeypatch.setenv(name, value)
        made.ecs.runner.images["worker:1"] = [sys.executable, "-W", "ignore", ENTRYPOINT]
        yield made


def compute(**more: Any) -> EcsCompute:
    settings: dict[str, Any] = {
        "cluster": "c",
        "task_definitions": {"others": "train"},
        "bucket": BUCKET,
        "poll_s": 0.05,
        "poll_max_s": 0.1,
        "check_first": False,
    }
    return EcsCompute(**(settings | more))


def test_a_module_runs_as_a_task_and_its_report_comes_back_with_place_time_and_money(aws: Account) -> None:
    target = compute(
        vcpus={"train": 4},
        memory_gb={"train": 16},
        capacity=[Capacity(name="FARGATE_SPOT", spot=True, price_share=0.5), Capacity(name="FARGATE")],
        variables={"TZ": "UTC"},
        tags={"team": "ml"},
    )
    prices = ComputePolicy(prices_per_hour={"fargate-vcpu": 0.04, "fargate-gb": 0.005}, currency="EUR")
    spec = {"policy": Policy(compute=prices).model_dump(mode="json"), "lake": "s3://lake"}

    @dg.asset
    def model(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        return target.run(context, "train", spec, module=MODULE)

    result = dg.materialize([model], instance=aws.instance, raise_on_error=False)
    assert result.success, [aws.ecs.runner.output(t) for t in aws.ecs.tasks()]
    [event] = result.asset_materializations_for_node("model")
    told = {name: value.value for name, value in event.metadata.items()}
    assert told["digest"] == "abc"
    assert (told["place"], told["instance"], told["currency"], told["interruptions"]) == ("ecs", "Fargate", "EUR", 0)
    assert told["money"] == pytest.approx((4 * 0.04 + 16 * 0.005) / 2 / 60, rel=0.01)  # a minute at half the price
    [task] = aws.ecs.tasks()
    overrides = task.request["overrides"]
    assert (overrides["cpu"], overrides["memory"]) == ("4096", "16384")
    [override] = overrides["containerOverrides"]
    url = f"s3://{BUCKET}/carsdepo-jobs/{told['job']}/spec.json"
    assert override["command"] == ["train", "--module", MODULE, "--spec", url]
    variables = {v["name"]: v["value"] for v in override["environment"]}
    assert variables["CARSDEPO_PIPES_CHANNEL"] == "s3"
    assert variables["CARSDEPO_COMPUTE_PLACE"] == "ecs"
    assert variables["CARSDEPO_MAX_RUNTIME_S"] == "21600"
    assert variables["TZ"] == "UTC"
    body = aws.ecs.client("s3").get_object(Bucket=BUCKET, Key=url.removeprefix(f"s3://{BUCKET}/"))["Body"].read()
    assert json.loads(body) == spec
    assert {"key": "team", "value": "ml"} in task.request["tags"]


def test_a_verb_with_gpus_asks_its_own_capacity_providers_and_trains_on_cuda() -> None:
    target = compute(gpus={"train": 2}, machines={"train": "g5.12xlarge"}, gpu_capacity=[Capacity(name="gpu")])
    train, evaluate = target.hardware("train"), target.hardware("evaluate")
    assert (train.name, train.device, train.gpus) == ("g5.12xlarge", "cuda:0", 2)
    assert (evaluate.name, evaluate.device, evaluate.gpus) == ("Fargate", "cpu", 0)
    prices = ComputePolicy(prices_per_hour={"g5.12xlarge": 5.7})
    [gpu] = target.providers("train", prices)
    assert (gpu.name, gpu.price_per_hour) == ("gpu", 5.7)
    assert [p.name for p in target.providers("evaluate", prices)] == ["FARGATE_SPOT", "FARGATE"]
    [override] = target.request("train", MODULE, "s3://b/k")["overrides"]["containerOverrides"]
    assert override["resourceRequirements"] == [{"type": "GPU", "value": "2"}]
    [override] = target.request("evaluate", MODULE, "s3://b/k")["overrides"]["containerOverrides"]
    assert "resourceRequirements" not in override


@pytest.mark.slow
def test_a_run_that_cannot_watch_its_task_any_more_counts_as_interrupted(aws: Account) -> None:
    target = compute()
    aws.ecs.answer("describe_tasks", error("AccessDeniedException", "not any more"))

    @dg.asset
    def model(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        return target.run(context, "train", {}, module=MODULE)

    result = dg.materialize([model], instance=aws.instance, raise_on_error=False)
    assert "The task goes on" in failure(result)
    run = aws.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert was_interrupted(run)


def test_a_secret_is_no_variable_of_a_task(aws: Account) -> None:
    target = compute(variables={"CARSDEPO_API_KEY": "k"})

    @dg.asset
    def model(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        return target.run(context, "train", {}, module=MODULE)

    with pytest.raises(dg.Failure, match="variables: CARSDEPO_API_KEY: a secret must not be a variable here"):
        dg.materialize([model], instance=aws.instance)
    assert not aws.ecs.tasks()


def refusal(aws: Account, target: EcsCompute) -> str:
    @dg.asset
    def model(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        return target.run(context, "train", {}, module=MODULE)

    with pytest.raises(dg.Failure) as caught:
        dg.materialize([model], instance=aws.instance)
    assert not aws.ecs.tasks()
    return str(caught.value.description)


def test_all_that_a_task_needs_is_asked_for_before_it_starts(aws: Account) -> None:
    ecs, s3 = aws.ecs.client("ecs"), aws.ecs.client("s3", region_name="us-east-1")
    ecr_image = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/carsdepo-worker:9"
    define(ecs, image=ecr_image, family="from-ecr")
    s3.create_bucket(Bucket="far-away")
    text = refusal(
        aws, compute(check_first=True, task_definitions={"train": "from-ecr"}, bucket="far-away", container="worker")
    )
    assert "The cluster c has no capacity provider FARGATE_SPOT, FARGATE; it has none" in text
    assert "put-cluster-capacity-providers" in text
    assert f"The image {ecr_image} is not in ECR (RepositoryNotFoundException)." in text
    assert "The bucket far-away is in us-east-1 and the ECS task runs in eu-west-1" in text


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"cluster": "nowhere"}, "There is no active ECS cluster nowhere in eu-west-1: make it"),
        ({"task_definitions": {"train": "none"}}, "There is no task definition none in eu-west-1: register it"),
        ({"task_definitions": {"train": "old:1"}}, "The task definition old:1 is INACTIVE: register a new revision"),
        ({"container": "trainer"}, "has no container trainer, but worker: correct `container`"),
        ({"bucket": "nowhere"}, "There is no bucket nowhere: make it in eu-west-1"),
    ],
)
def test_what_is_missing_is_named_with_what_to_do(settings: dict[str, Any], says: str, aws: Account) -> None:
    ecs = aws.ecs.client("ecs")
    define(ecs, family="old")
    ecs.deregister_task_definition(taskDefinition="old:1")
    assert says in refusal(aws, compute(**({"check_first": True} | settings)))


def test_gpus_on_fargate_and_what_may_not_be_looked_at_are_warnings(aws: Account) -> None:
    from carsdepo_assets.compute.ecs_preflight import preflight

    ecs = aws.ecs.client("ecs")
    ecs.put_cluster_capacity_providers(
        cluster="c", capacityProviders=["FARGATE_SPOT", "FARGATE"], defaultCapacityProviderStrategy=[]
    )
    lines: list[str] = []
    needs = compute(gpus={"train": 1}).needs("train", "eu-west-1")
    preflight(needs, aws.ecs.client, lines.append)
    assert any("The task asks for 1 GPUs, which FARGATE_SPOT, FARGATE does not have" in line for line in lines)
    assert any("The image worker:1 is not in ECR, so that it cannot be looked at" in line for line in lines)


def test_a_spec_that_cannot_be_stored_starts_nothing_and_says_why(aws: Account) -> None:
    text = refusal(aws, compute(bucket="nowhere"))
    assert "Could not store s3://nowhere/carsdepo-jobs/" in text
    assert "NoSuchBucket" in text
    assert not aws.ecs.tasks()
