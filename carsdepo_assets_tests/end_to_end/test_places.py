"""compute/choice.py: the asset graph trains the sample on this machine, on ECS and on SageMaker, to one model.

ECS and SageMaker are emulated: their tasks and jobs are processes of this machine that run the worker's entrypoint.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import pytest

from carsdepo_assets.commands.import_questions import ImportOptions
from carsdepo_assets.commands.loop_steps import Loop, bring_in
from carsdepo_assets.commands.pipeline import Pipeline
from carsdepo_assets.demo.train_loop import render_sample
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.model_files import folder
from carsdepo_assets.settings import Settings
from carsdepo_assets_tests.compute.contract_targets import LAKE, TARGETS
from carsdepo_assets_tests.compute.sagemaker_cases import BUCKET, IMAGE, ROLE
from carsdepo_assets_tests.registry.mlflow_process import mlflow_server

PHOTOGRAPHS, STEPS = 60, 10
# Machines like this one, so that the recipe is the same: no GPU, two cores. SageMaker's jobs get the server from this
# machine's CARSDEPO_MLFLOW.
PLACES = f"""
[sagemaker]
image = "{IMAGE}"
role = "{ROLE}"
bucket = "{BUCKET}"
region = "us-east-1"
instance_types = {{others = "ml.m5.large"}}
variables = {{OMP_NUM_THREADS = "1"}}
check_first = false
poll_s = 0.2
poll_max_s = 0.4

[ecs]
cluster = "c"
bucket = "{BUCKET}"
task_definitions = {{others = "train"}}
capacity = [{{name = "FARGATE"}}]
vcpus = {{train = 1.0}}
memory_gb = {{train = 2.0}}
variables = {{OMP_NUM_THREADS = "1", CARSDEPO_MLFLOW = "MLFLOW"}}
check_first = false
poll_s = 0.2
poll_max_s = 0.4
"""
# What a place may change in a model's lineage; `at` and the runs' ids are of every training.
OF_THE_RUN = ("created_at", "dagster_run_id", "mlflow_run_id")


@contextmanager
def account(place: str, objects: dict[str, bytes]) -> Iterator[dict[str, bytes]]:
    """The emulated account of a place, with these objects in its bucket; afterwards they are those of the account."""
    with TARGETS[place]():
        s3 = boto3.client("s3")
        for key, body in objects.items():
            s3.put_object(Bucket=BUCKET, Key=key, Body=body)
        yield objects
        objects.clear()
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
            for entry in page.get("Contents", []):
                objects[entry["Key"]] = s3.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read()


def materialized(pipeline: Pipeline, assets: list[str], **config: Any) -> dg.ExecuteInProcessResult:
    """A run of the job `train` for some of its assets, configured as in the launchpad."""
    result = pipeline.definitions.resolve_job_def("train").execute_in_process(
        instance=pipeline.instance,
        asset_selection=[dg.AssetKey(name) for name in assets],
        run_config={**config, "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )
    assert result.success
    return result


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1500)
def test_the_sample_is_trained_to_one_model_at_each_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "compute.toml"
    monkeypatch.setenv("CARSDEPO_COMPUTE", str(file))
    monkeypatch.setenv("CARSDEPO_LAKE", LAKE)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # sums of floats depend on the number of threads
    sample, _ = render_sample(tmp_path / "sample", PHOTOGRAPHS)
    with mlflow_server(tmp_path / "mlflow") as url:
        file.write_text(PLACES.replace('MLFLOW"', f'{url}"'))
        monkeypatch.setenv("CARSDEPO_MLFLOW", url)
        objects: dict[str, bytes] = {}
        with account("local", objects), Pipeline.open(Settings.read(home=tmp_path / "home")) as pipeline:
            bring_in(pipeline, Loop(), sample, ImportOptions(), "sample", lambda line: None)
            ops = {"recipe": {"config": {"steps": STEPS}}}
            materialized(pipeline, ["dataset", "recipe"], ops=ops)
        lineages: dict[str, dict[str, Any]] = {}
        reported: dict[str, dict[str, Any]] = {}
        for place in TARGETS:
            # Each place begins with the same lake, in which nothing was trained.
            with account(place, dict(objects)), Pipeline.open(Settings.read(home=tmp_path / "home")) as pipeline:
                result = materialized(
                    pipeline, ["candidate_model"], resources={"compute": {"config": {"place": place}}}
                )
                [event] = result.asset_materializations_for_node("candidate_model")
                reported[place] = {name: value.value for name, value in event.metadata.items()}
                lineages[place] = json.loads(Lake.open(LAKE).get(f"{folder(reported[place]['digest'])}/lineage.json"))
    here = lineages["local"]
    for place in TARGETS:
        assert reported[place]["digest"] == reported["local"]["digest"]
        assert reported[place].get("place", "local") == place
        assert "reused" not in reported[place]
        assert lineages[place]["environment"].get("place", "local") == place
        assert without_place(lineages[place]) == without_place(here)
        shown = ("place", "instance", "seconds", "billable_seconds", "money", "currency", "digest")
        print(place, {name: reported[place][name] for name in shown if name in reported[place]})


def without_place(lineage: dict[str, Any]) -> dict[str, Any]:
    """All but what belongs to a run, the place, and `git describe`, which a file written meanwhile makes dirty."""
    environment = {k: v for k, v in lineage["environment"].items() if k != "place"}
    rest = {k: v for k, v in lineage.items() if k not in OF_THE_RUN}
    return {**rest, "environment": environment, "code": lineage["code"]["source_digest"]}
