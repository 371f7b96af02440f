"""compute/ecs.py with real containers, which ministack's ECS runs by podman: exit codes and reports come through.

The image is Debian with its own Python 3.11; the worker's packages are mounted from this environment, not installed.
"""

import json
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from carsdepo_assets.compute.ecs import EcsCompute
from carsdepo_assets_tests.compute.ecs_tests import (
    BUCKET,
    ENTRYPOINT,
    ON_DEMAND,
    QUICK,
    WORKER,
    facts,
    failure,
    task_params,
)
from deploy.emulators.ecs_on_ministack import EcsOnMinistack
from deploy.emulators.podman import Podman, missing_tools

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]
REPOSITORY = Path(__file__).parents[2]


def lacking() -> list[str]:
    import shutil

    return (
        missing_tools()
        + [t for t in ("mmdebstrap",) if shutil.which(t) is None]
        + ([] if sys.version_info[:2] == (3, 11) else ["Python 3.11"])
    )


@pytest.fixture(scope="module")
def podman(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    if lacking():
        pytest.skip(f"Containers need {', '.join(lacking())}, which this machine lacks.")
    print("Containers: podman; the worker's packages are mounted from this environment.")
    assert request.config.cache is not None
    kept = request.config.cache.mkdir("debian-with-python")
    image = kept / "rootfs.tar"
    if not image.exists():
        part = kept / "part.tar"
        packages = "--include=python3,ca-certificates"
        subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", packages, "bookworm", str(part)], check=True)
        part.rename(image)
    (kept / "Dockerfile").write_text("FROM scratch\nADD rootfs.tar /\n")
    # Not below pytest's folder, which could not be removed after a test that was killed.
    with (
        tempfile.TemporaryDirectory(prefix="podman-", ignore_cleanup_errors=True) as place,
        Podman(Path(place)) as engine,
    ):
        engine.build(kept, "localhost/base")
        for image, script in {"entrypoint": ENTRYPOINT, "worker": WORKER[1]}.items():
            folder = tmp_path_factory.mktemp(image)
            (folder / "Dockerfile").write_text(f'FROM localhost/base\nENTRYPOINT ["python3", "{script}"]\n')
            engine.build(folder, f"localhost/{image}")
        yield engine


@pytest.fixture(scope="module")
def ecs(podman: Podman, request: pytest.FixtureRequest) -> Iterator[EcsOnMinistack]:
    assert request.config.cache is not None
    with EcsOnMinistack(Path(request.config.cache.mkdir("ministack")), podman) as emulated:
        s3 = client(emulated, "s3")
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        client(emulated, "ecs").create_cluster(clusterName="c")
        yield emulated


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def client(ecs: EcsOnMinistack, service: str) -> Any:
    import boto3

    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "eu-west-1"}
    return boto3.client(service, endpoint_url=ecs.url, **keys)


def define(ecs: EcsOnMinistack, family: str, image: str) -> None:
    """A task definition whose container has this environment's packages and the repository."""
    packages = sysconfig.get_path("purelib")
    mounts = {"packages": packages, "repository": str(REPOSITORY)}
    variables = {
        "PYTHONPATH": f"{REPOSITORY}:{packages}",
        "AWS_ENDPOINT_URL": ecs.url,
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }
    client(ecs, "ecs").register_task_definition(
        family=family,
        networkMode="host",
        volumes=[{"name": name, "host": {"sourcePath": str(Path(path).resolve())}} for name, path in mounts.items()],
        containerDefinitions=[
            {
                "name": "worker",
                "image": image,
                "essential": True,
                "memory": 1024,
                "environment": [{"name": name, "value": value} for name, value in variables.items()],
                "mountPoints": [{"sourceVolume": name, "containerPath": path} for name, path in mounts.items()],
            }
        ],
    )


def test_a_module_in_a_container_reports(
    ecs: EcsOnMinistack, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    define(ecs, "module", "localhost/entrypoint")
    environment = {"AWS_ENDPOINT_URL": ecs.url, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    target = EcsCompute(
        cluster="c",
        task_definitions={"others": "module"},
        bucket=BUCKET,
        region="eu-west-1",
        poll_s=0.5,
        check_first=False,
    )

    @dg.asset
    def model(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        return target.run(context, "train", {}, module="carsdepo_assets_tests.compute.events_worker")

    told = facts(dg.materialize([model], instance=instance, raise_on_error=False))
    assert (told["digest"], told["place"]) == ("abc", "ecs")
    assert told["seconds"] > 0


def run(ecs: EcsOnMinistack, instance: dg.DagsterInstance, family: str, does: str, **options: Any) -> Any:
    from carsdepo_assets.compute.pipes.ecs_task import PipesECSTaskClient

    runner = PipesECSTaskClient(BUCKET, "pipes", client(ecs, "ecs"), client(ecs, "s3"), client(ecs, "logs"), QUICK)
    params = task_params(does) | {"taskDefinition": family}

    @dg.asset
    def model(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        invocation = runner.run(
            context=context, job_name=f"{family}-{does}", run_task_params=params, providers=(ON_DEMAND,), **options
        )
        return invocation.get_materialize_result(implicit_materialization=False)

    return dg.materialize([model], instance=instance, raise_on_error=False)


def test_a_container_that_fails_has_its_exit_code_and_its_words(
    ecs: EcsOnMinistack, instance: dg.DagsterInstance
) -> None:
    define(ecs, "failing", "localhost/worker")
    text = failure(run(ecs, instance, "failing", "fail"))
    assert "exit code 1" in text
    assert "ValueError: the worker's own words" in text


def test_a_stopped_container_gets_sigterm(ecs: EcsOnMinistack, instance: dg.DagsterInstance) -> None:
    define(ecs, "hanging", "localhost/worker")
    text = failure(run(ecs, instance, "hanging", "hang", max_runtime_s=4))
    assert "it ran longer than its limit of 4 s and was stopped" in text
    record = client(ecs, "s3").get_object(Bucket=BUCKET, Key="pipes/hanging-hang/tasks.json")["Body"].read()
    [entry] = json.loads(record)["tasks"]
    [task] = client(ecs, "ecs").describe_tasks(cluster="c", tasks=[entry["arn"]])["tasks"]
    assert task["containers"][0]["exitCode"] == 143


def test_an_image_that_is_not_there_is_named(ecs: EcsOnMinistack, instance: dg.DagsterInstance) -> None:
    define(ecs, "missing", "localhost/none:1")
    assert "it did not start" in failure(run(ecs, instance, "missing", "report"))
