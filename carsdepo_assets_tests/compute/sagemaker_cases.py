"""What the tests of SageMaker jobs share: an emulated AWS, and one asset that a job makes."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from carsdepo_assets.compute.pipes.sagemaker_processing import PipesSageMakerProcessingClient
from carsdepo_assets.compute.pipes.sagemaker_training import PipesSageMakerTrainingClient
from deploy.emulators.sagemaker_on_moto import SageMakerOnMoto, environment
from deploy.emulators.sagemaker_runners import ProcessRunner

BUCKET, IMAGE, INSTANCE = "jobs", "123456789012.dkr.ecr.us-east-1.amazonaws.com/worker:1", "ml.g5.xlarge"
ROLE = "arn:aws:iam::123456789012:role/carsdepo-sagemaker"
WORKER = "carsdepo_assets_tests.compute.job_worker"
QUICK: dict[str, Any] = {"poll_interval": 0.2, "poll_interval_max": 0.4}


@contextmanager
def emulated_aws() -> Iterator[SageMakerOnMoto]:
    """An AWS of its own, with the bucket `jobs`, that this process's boto3 talks to."""
    with SageMakerOnMoto(ProcessRunner(missing=("missing:1",))) as emulator, environment(emulator):
        emulator.client("s3").create_bucket(Bucket=BUCKET)
        yield emulator


def params(aws: SageMakerOnMoto, spec: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A request for create_training_job that runs the test's worker."""
    aws.client("s3").put_object(Bucket=BUCKET, Key="spec.json", Body=json.dumps(spec).encode())
    return {
        "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
        "RoleArn": ROLE,
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/output"},
        "ResourceConfig": {"InstanceType": INSTANCE, "InstanceCount": 1, "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
        "HyperParameters": {"module": WORKER, "spec": f"s3://{BUCKET}/spec.json"},
        "Environment": {"CARSDEPO_WORK": "/opt/ml/checkpoints"},
        **more,
    }


def spot(**more: Any) -> dict[str, Any]:
    """What a managed spot job adds to a request."""
    return {
        "EnableManagedSpotTraining": True,
        "StoppingCondition": {"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 900},
        "CheckpointConfig": {"S3Uri": f"s3://{BUCKET}/checkpoints"},
        **more,
    }


class Materialized:
    """One materialization of the asset `model` by a job, and what became of it."""

    def __init__(self, result: dg.ExecuteInProcessResult, instance: dg.DagsterInstance) -> None:
        self.success = result.success
        self.lines = [e.user_message for e in instance.all_logs(result.run_id)]
        events = result.asset_materializations_for_node("model") if result.success else []
        self.count = len(events)
        self.metadata = {k: v.value for e in events for k, v in e.metadata.items()}
        run = instance.get_run_by_id(result.run_id)
        self.run_tags = dict(run.tags) if run is not None else {}
        tags = events[0].tags or {} if events else {}
        self.data_version = tags.get("dagster/data_version")
        failures = [e for e in result.all_node_events if e.is_step_failure]
        data = failures[0].step_failure_data if failures else None
        given = data.user_failure_data if data is not None else None
        self.error = (given.description or "") if given else data.error.to_string() if data and data.error else ""
        self.failure_metadata = {k: v.value for k, v in given.metadata.items()} if given else {}


def train(
    request: dict[str, Any], name: str = "train-1", client: Mapping[str, Any] | None = None, **run: Any
) -> Materialized:
    """Materializes the asset by a training job."""

    @dg.asset
    def model(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        pipes = PipesSageMakerTrainingClient(BUCKET, "pipes", **{**QUICK, **(client or {})})
        return pipes.run(
            context=context, job_name=name, create_training_job_params=request, **run
        ).get_materialize_result()

    return materialized(model)


def process(
    request: dict[str, Any], name: str = "process-1", client: Mapping[str, Any] | None = None, **run: Any
) -> Materialized:
    """Materializes the asset by a processing job."""

    @dg.asset
    def model(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        pipes = PipesSageMakerProcessingClient(BUCKET, "pipes", **{**QUICK, **(client or {})})
        return pipes.run(
            context=context, job_name=name, create_processing_job_params=request, **run
        ).get_materialize_result()

    return materialized(model)


def materialized(asset: dg.AssetsDefinition, home: Path | None = None) -> Materialized:
    """Materializes it in this process.

    Args:
        asset: what is made.
        home: where Dagster's databases are; None: in memory, where two threads at once find them locked.
    """
    kept = dg.DagsterInstance.ephemeral() if home is None else dg.DagsterInstance.local_temp(str(home))
    with kept as instance:
        return Materialized(dg.materialize([asset], instance=instance, raise_on_error=False), instance)
