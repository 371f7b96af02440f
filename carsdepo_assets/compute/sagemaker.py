"""Runs workers on SageMaker: `train` as a training job, the other verbs as processing jobs.

The image's contract: `train` reads /opt/ml/input/config/hyperparameters.json and runs `python -m MODULE --spec URL`
with its `module` and `spec`; a processing job runs `process --module MODULE --spec URL`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._core.pipes.client import PipesClientCompletedInvocation
from pydantic import Field

from carsdepo_assets.compute import instances, settings_checks
from carsdepo_assets.compute.job_names import job_name_of
from carsdepo_assets.compute.job_spec import store_spec
from carsdepo_assets.compute.pipes.aws_calls import JobUnobserved
from carsdepo_assets.compute.pipes.job_requests import PROCESSING_VALUE
from carsdepo_assets.compute.pipes.sagemaker_job import Context
from carsdepo_assets.compute.pipes.sagemaker_processing import PipesSageMakerProcessingClient
from carsdepo_assets.compute.pipes.sagemaker_training import PipesSageMakerTrainingClient
from carsdepo_assets.compute.preflight import Kind, Needs, preflight
from carsdepo_assets.compute.target import OTHER_VERBS, PLACE_VARIABLE, ComputeTarget, Hardware, Verb, by_verb
from carsdepo_assets.compute.worker.events import CHANNEL_VARIABLE, S3
from carsdepo_assets.compute.worker.process import WORK_VARIABLE
from carsdepo_assets.orchestration.run_states import INTERRUPTED, INTERRUPTED_TAG
from carsdepo_assets.policy import ComputePolicy

PLACE = "sagemaker"
TRAINING_WORK = "/opt/ml/checkpoints"  # what SageMaker copies to S3 and back
PROCESSING_WORK = "/opt/ml/processing/work"
MOST_PROCESSING_S = 777600  # API reference, ProcessingStoppingCondition
# What AWS calls a figure, and what the platform does.
_FIGURES = {
    "sagemaker_job": "job",
    "instance_type": "instance",
    "training_seconds": "seconds",
    "processing_seconds": "seconds",
    "billable_seconds": "billable_seconds",
    "interruptions": "interruptions",
    "spot": "spot",
    "instances": "instances",
    "sagemaker_console": "console",
}


class SageMakerCompute(ComputeTarget):
    """Runs the worker as a SageMaker job. Credentials come from boto3's own chain; the job has those of `role`."""

    image: str = Field(description="the worker's image in ECR")
    role: str = Field(description="ARN of the role that SageMaker assumes for a job")
    bucket: str = Field(description="S3 bucket for specs, messages, checkpoints and outputs, in the jobs' region")
    prefix: str = Field(default="carsdepo-jobs", description="key prefix in the bucket")
    region: str | None = Field(default=None, description="of the jobs; None: boto3's own")
    instance_types: dict[str, str] = Field(
        default={"train": "ml.g5.xlarge", OTHER_VERBS: "ml.m5.xlarge"},
        description="instance type by verb; `others` stands for every verb that is not named",
    )
    instances: int = Field(default=1, ge=1, description="instances of a training job")
    trial_slots: int = Field(default=1, ge=1, description="trainings at once of one study, within the account's quota")
    spot: bool = Field(default=True, description="train on managed spot instances")
    on_demand_fallback: bool = Field(default=True, description="train on demand when there is no spot instance")
    max_runtime_s: int = Field(
        default=6 * 3600,
        ge=60,
        le=settings_checks.MOST_RUNTIME_S,
        description="seconds after which a job is stopped",
    )
    max_wait_s: int = Field(
        default=8 * 3600,
        ge=60,
        le=settings_checks.MOST_RUNTIME_S,
        description="seconds for a spot job with its waiting; at least max_runtime_s",
    )
    volume_gb: int = Field(default=50, ge=1, description="disk of an instance")
    keep_alive_s: int = Field(default=0, ge=0, le=21600, description="warm pool: seconds that instances are kept")
    subnets: list[str] = Field(default=[], description="of the VPC that jobs connect to")
    security_groups: list[str] = Field(default=[], description="of the jobs in that VPC")
    variables: dict[str, str] = Field(
        default={}, description="environment variables for the worker; none that is secret: AWS's console shows them"
    )
    tags: dict[str, str] = Field(default={}, description="tags of the jobs, for example for costs")
    check_first: bool = Field(default=True, description="look at quota, image, role and bucket before a job starts")
    poll_s: float = Field(
        default=5.0, gt=0, le=3600, description="seconds between two questions to SageMaker, at least"
    )
    poll_max_s: float = Field(default=30.0, gt=0, le=3600, description="what they grow to while nothing changes")
    stop_timeout_s: float = Field(default=300.0, gt=0, le=86400, description="seconds to wait for a job to stop")

    def run(
        self,
        context: dg.AssetExecutionContext | dg.OpExecutionContext,
        verb: Verb,
        spec: Mapping[str, Any],
        *,
        module: str,
    ) -> dg.MaterializeResult[Any]:
        """Runs the worker to its end; see ComputeTarget.run."""
        settings_checks.refuse(self.mistakes())
        name = job_name_of(context, verb, module, spec)
        session = self._session()
        if self.check_first:
            preflight(self.needs(verb, session.region_name), session.client, context.log.warning)
        url = store_spec(context, self._session, self.bucket, f"{self.prefix}/{name}/spec.json", spec)
        prices = ComputePolicy.model_validate(spec.get("policy", {}).get("compute", {}))
        pricing: dict[str, Any] = {
            "price_per_hour": prices.price_per_hour(self.instance_type(verb)),
            "currency": prices.currency,
        }
        try:
            invocation = self._run_job(context, verb, module, name, url, pricing)
        except JobUnobserved:  # the work itself goes on: the next run of it takes the job up
            context.instance.add_run_tags(context.run.run_id, {INTERRUPTED_TAG: INTERRUPTED})
            raise
        figures = {_FIGURES[k]: v for k, v in invocation.metadata.items() if k in _FIGURES}
        money = {k: v for k, v in invocation.metadata.items() if k.startswith("money_")}
        if money:
            figures |= {"money": next(iter(money.values())), "currency": dg.MetadataValue.text(prices.currency)}
        result = invocation.get_materialize_result(implicit_materialization=False)
        own = {k: v for k, v in (result.metadata or {}).items() if k not in invocation.metadata}
        return result._replace(metadata={"place": PLACE, **figures, **own})

    def _run_job(
        self, context: Context, verb: Verb, module: str, name: str, spec: str, pricing: dict[str, Any]
    ) -> PipesClientCompletedInvocation:
        how: dict[str, Any] = {
            "region_name": self.region,
            "poll_interval": self.poll_s,
            "poll_interval_max": self.poll_max_s,
            "stop_timeout": self.stop_timeout_s,
        }
        if verb == "train":
            return PipesSageMakerTrainingClient(self.bucket, self.prefix, **how).run(
                context=context,
                job_name=name,
                create_training_job_params=self.training_request(name, module, spec),
                on_demand_fallback=self.on_demand_fallback,
                **pricing,
            )
        return PipesSageMakerProcessingClient(self.bucket, self.prefix, **how).run(
            context=context,
            job_name=name,
            create_processing_job_params=self.processing_request(verb, module, spec),
            **pricing,
        )

    def slots(self, verb: Verb) -> int:
        """As the settings say; see ComputeTarget.slots."""
        return self.trial_slots if verb == "train" else 1

    def hardware(self, verb: Verb) -> Hardware:
        """What the instance type of a verb has.

        Raises:
            UnknownInstance: the table of instance types does not have it.
        """
        return instances.hardware(self.instance_type(verb), self.instances if verb == "train" else 1)

    def on_instance(self, instance_type: str) -> SageMakerCompute:
        """The same with one instance type for every verb, as a run's launchpad asks for it."""
        return self.model_copy(update={"instance_types": {OTHER_VERBS: instance_type}})

    def instance_type(self, verb: Verb) -> str:
        """The instance type of a verb."""
        return by_verb(self.instance_types, verb, "instance_types")

    def needs(self, verb: Verb, region: str) -> Needs:
        """What a job of a verb needs, for preflight."""
        kind: Kind = "training" if verb == "train" else "processing"
        training = kind == "training"
        return Needs(
            kind=kind,
            instance_type=self.instance_type(verb),
            instances=self.instances if training else 1,
            spot=self.spot and training,
            warm_pool=self.keep_alive_s > 0 and training,
            image=self.image,
            role=self.role,
            bucket=self.bucket,
            region=region,
        )

    def training_request(self, name: str, module: str, spec: str) -> dict[str, Any]:
        """boto3's create_training_job for the module with the spec at an s3:// URL."""
        cluster: dict[str, Any] = {
            "InstanceType": self.instance_type("train"),
            "InstanceCount": self.instances,
            "VolumeSizeInGB": self.volume_gb,
        }
        if self.keep_alive_s:
            cluster["KeepAlivePeriodInSeconds"] = self.keep_alive_s
        request: dict[str, Any] = {
            "AlgorithmSpecification": {"TrainingImage": self.image, "TrainingInputMode": "File"},
            "RoleArn": self.role,
            "HyperParameters": {"module": module, "spec": spec},
            "OutputDataConfig": {"S3OutputPath": f"s3://{self.bucket}/{self.prefix}/outputs"},
            "ResourceConfig": cluster,
            "StoppingCondition": {"MaxRuntimeInSeconds": self.max_runtime_s},
            "EnableManagedSpotTraining": self.spot,
            "CheckpointConfig": {
                "S3Uri": f"s3://{self.bucket}/{self.prefix}/{name}/checkpoints",
                "LocalPath": TRAINING_WORK,
            },
            "Environment": self._environment(TRAINING_WORK),
            "Tags": self._tags(),
        }
        if self.spot:
            request["StoppingCondition"]["MaxWaitTimeInSeconds"] = max(self.max_wait_s, self.max_runtime_s)
        if self.subnets:
            request["VpcConfig"] = self._vpc()
        return request

    def processing_request(self, verb: Verb, module: str, spec: str) -> dict[str, Any]:
        """boto3's create_processing_job for the module with the spec at an s3:// URL."""
        request: dict[str, Any] = {
            "AppSpecification": {
                "ImageUri": self.image,
                "ContainerArguments": ["process", "--module", module, "--spec", spec],
            },
            "RoleArn": self.role,
            "ProcessingResources": {
                "ClusterConfig": {
                    "InstanceType": self.instance_type(verb),
                    "InstanceCount": 1,
                    "VolumeSizeInGB": self.volume_gb,
                }
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": min(self.max_runtime_s, MOST_PROCESSING_S)},
            "Environment": self._environment(PROCESSING_WORK),
            "Tags": self._tags(),
        }
        if self.subnets:
            request["NetworkConfig"] = {"VpcConfig": self._vpc()}
        return request

    def _environment(self, work: str) -> dict[str, str]:
        region = self._session().region_name
        return {
            "AWS_DEFAULT_REGION": region,
            CHANNEL_VARIABLE: S3,
            PLACE_VARIABLE: PLACE,
            WORK_VARIABLE: work,
            **self.variables,
        }

    def _tags(self) -> list[dict[str, str]]:
        return [{"Key": key, "Value": value} for key, value in self.tags.items()]

    def _vpc(self) -> dict[str, list[str]]:
        return {"Subnets": self.subnets, "SecurityGroupIds": self.security_groups}

    def mistakes(self) -> list[str]:
        """What is wrong in the settings; see ComputeTarget.mistakes."""
        mistakes = [
            *settings_checks.place_on_s3(self.bucket, self.prefix),
            *settings_checks.by_verbs(self.instance_types, "instance_types", others=True),
            *settings_checks.no_secrets(self.variables, "the job", "Give the job's role access to it instead."),
            *settings_checks.network(self.subnets, self.security_groups),
        ]
        long = sorted(n for n, value in self.variables.items() if len(value) > PROCESSING_VALUE)
        if long:
            mistakes.append(
                f"variables: {', '.join(long)}: SageMaker takes {PROCESSING_VALUE} characters in a variable of a "
                "processing job. Put the value into a file on S3 and give its URL."
            )
        return mistakes

    def _session(self) -> Any:
        import boto3

        session = boto3.Session(region_name=self.region)
        if session.region_name is None:
            raise ValueError("SageMaker jobs need a region: set `region`, or AWS_DEFAULT_REGION.")
        return session
