"""Runs workers as tasks on Amazon ECS, on Fargate or on a cluster's own machines with GPUs.

The image's contract: `VERB --module MODULE --spec URL` runs `python -m MODULE --spec URL`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg
from pydantic import ConfigDict, Field

from carsdepo_assets.compute import settings_checks
from carsdepo_assets.compute.ecs_preflight import EcsNeeds, preflight
from carsdepo_assets.compute.job_names import job_name_of
from carsdepo_assets.compute.job_spec import store_spec
from carsdepo_assets.compute.pipes.aws_calls import JobUnobserved
from carsdepo_assets.compute.pipes.aws_errors import trouble_of
from carsdepo_assets.compute.pipes.ecs_calls import TaskLimits
from carsdepo_assets.compute.pipes.ecs_request import CapacityProvider, with_gpus
from carsdepo_assets.compute.pipes.ecs_task import PipesECSTaskClient
from carsdepo_assets.compute.target import PLACE_VARIABLE, ComputeTarget, Hardware, Verb, by_verb
from carsdepo_assets.compute.worker.events import CHANNEL_VARIABLE, S3
from carsdepo_assets.compute.worker.process import MAX_RUNTIME_VARIABLE
from carsdepo_assets.orchestration.run_states import INTERRUPTED, INTERRUPTED_TAG
from carsdepo_assets.policy import ComputePolicy

PLACE = "ecs"
_FIGURES = {"job_page": "console"}  # what the client calls a figure, and what the platform does


class Capacity(dg.Config):
    """A capacity provider of the cluster."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="FARGATE, FARGATE_SPOT, or the name of an Auto Scaling group's capacity provider")
    spot: bool = Field(default=False, description="whether AWS may take the machine back")
    price_share: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="its price as a share of the policy's on-demand price, such as 0.35 for spot",
    )


class EcsCompute(ComputeTarget):
    """Runs the worker as an ECS task. Credentials come from boto3's own chain; the task has those of its task role.

    Secrets reach the worker only by the task definition's `secrets`.
    """

    cluster: str = Field(description="name or ARN of the cluster")
    task_definitions: dict[str, str] = Field(
        description="family, family:revision or ARN by verb; `others` stands for every verb that is not named"
    )
    container: str = Field(default="worker", description="the container that runs the worker, by name")
    capacity: list[Capacity] = Field(
        default=[],
        description="capacity providers in the order in which they are tried; none: FARGATE_SPOT, then FARGATE",
    )
    gpu_capacity: list[Capacity] = Field(
        default=[], description="the same for verbs with GPUs, which Fargate does not have; none: `capacity`"
    )
    gpus: dict[str, int] = Field(default={}, description="GPUs of the task by verb; a verb that is not named has none")
    vcpus: dict[str, float] = Field(default={}, description="vCPUs by verb; not named: the task definition's")
    memory_gb: dict[str, float] = Field(default={}, description="GiB by verb; not named: the task definition's")
    machines: dict[str, str] = Field(
        default={}, description="instance type by verb, such as g5.xlarge: for lineage and price; not named: Fargate"
    )
    trial_slots: int = Field(default=1, ge=1, description="trainings at once of one study")
    bucket: str = Field(description="S3 bucket for specs and messages, in the cluster's region")
    prefix: str = Field(default="carsdepo-jobs", description="key prefix in the bucket")
    region: str | None = Field(default=None, description="of the cluster; None: boto3's own")
    subnets: list[str] = Field(default=[], description="of tasks with a network interface of their own (awsvpc)")
    security_groups: list[str] = Field(default=[], description="of these network interfaces")
    public_ip: bool = Field(default=False, description="whether they get a public address, to reach ECR without a NAT")
    variables: dict[str, str] = Field(
        default={}, description="environment variables for the worker; none that is secret: AWS's console shows them"
    )
    tags: dict[str, str] = Field(default={}, description="tags of the tasks, for example for costs")
    max_runtime_s: int = Field(
        default=6 * 3600,
        ge=1,
        le=settings_checks.MOST_RUNTIME_S,
        description="seconds after which a job is stopped, or ends itself if unwatched",
    )
    check_first: bool = Field(
        default=True, description="look at cluster, image, capacity and bucket before a job starts"
    )
    poll_s: float = Field(default=5.0, gt=0, le=3600, description="seconds between two looks at a task, at least")
    poll_max_s: float = Field(default=30.0, gt=0, le=3600, description="what they grow to while nothing changes")
    starts: int = Field(default=30, ge=1, description="attempts to start a task with any of the providers")
    provisioning_s: float = Field(
        default=1800.0, gt=0, le=86400, description="seconds to wait for a machine of one provider"
    )
    stop_timeout_s: float = Field(default=180.0, gt=0, le=86400, description="seconds to wait for a task to stop")
    interruptions: int = Field(default=5, ge=0, description="machines that AWS may take back before a job fails")

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
        session = self._session()
        if self.check_first:
            preflight(self.needs(verb, session.region_name), session.client, context.log.warning)
        name = job_name_of(context, verb, module, spec)
        url = store_spec(context, self._session, self.bucket, f"{self.prefix}/{name}/spec.json", spec)
        prices = ComputePolicy.model_validate(spec.get("policy", {}).get("compute", {}))
        client = PipesECSTaskClient(
            self.bucket,
            self.prefix,
            session=self._session,
            limits=TaskLimits(
                poll_s=self.poll_s,
                poll_most_s=self.poll_max_s,
                starts=self.starts,
                provisioning_s=self.provisioning_s,
                stop_s=self.stop_timeout_s,
                interruptions=self.interruptions,
            ),
            max_runtime_variable=MAX_RUNTIME_VARIABLE,
        )
        environment = {
            "AWS_DEFAULT_REGION": session.region_name,
            CHANNEL_VARIABLE: S3,
            PLACE_VARIABLE: PLACE,
            **self.variables,
        }
        try:
            invocation = client.run(
                context=context,
                job_name=name,
                run_task_params=self.request(verb, module, url),
                container_name=self.container,
                providers=self.providers(verb, prices),
                environment=environment,
                max_runtime_s=self.max_runtime_s,
            )
        except JobUnobserved:  # the work itself goes on: the next run of it takes the task up
            context.instance.add_run_tags(context.run.run_id, {INTERRUPTED_TAG: INTERRUPTED})
            raise
        result = invocation.get_materialize_result(implicit_materialization=False)
        where: dict[str, Any] = {"place": PLACE, "instance": self.hardware(verb).name}
        where |= {_FIGURES.get(name, name): value for name, value in invocation.metadata.items()}
        if "money" in where:
            where["currency"] = prices.currency
        own = {k: v for k, v in (result.metadata or {}).items() if k not in invocation.metadata}
        return result._replace(metadata={**where, **own})

    def hardware(self, verb: Verb) -> Hardware:
        """What a verb's task has."""
        gpus = self.gpus.get(verb, 0)
        return Hardware(
            place=PLACE, name=self.machines.get(verb, "Fargate"), device="cuda:0" if gpus else "cpu", gpus=gpus
        )

    def slots(self, verb: Verb) -> int:
        """As the settings say; see ComputeTarget.slots."""
        return self.trial_slots if verb == "train" else 1

    def price_per_hour(self, verb: Verb, prices: ComputePolicy) -> float | None:
        """That of the dearest capacity provider; see ComputeTarget.price_per_hour."""
        price = self._price(verb, prices)
        return None if price is None else price * max(c.price_share for c in self.capacity_of(verb))

    def capacity_of(self, verb: Verb) -> list[Capacity]:
        """The capacity providers for a verb, in order."""
        if self.gpus.get(verb) and self.gpu_capacity:
            return self.gpu_capacity
        return self.capacity or [Capacity(name="FARGATE_SPOT", spot=True), Capacity(name="FARGATE")]

    def providers(self, verb: Verb, prices: ComputePolicy) -> list[CapacityProvider]:
        """The capacity providers for a verb, with the price of its task where the policy has it."""
        price = self._price(verb, prices)
        return [
            CapacityProvider(c.name, c.spot, None if price is None else price * c.price_share)
            for c in self.capacity_of(verb)
        ]

    def task_definition(self, verb: Verb) -> str:
        """The task definition of a verb."""
        return by_verb(self.task_definitions, verb, "task_definitions")

    def defined_variables(self, verb: Verb) -> dict[str, str | None]:
        """The variables that a verb's task definition gives the worker; None: the value of a secret.

        Empty where the definition cannot be read: what a task needs is looked at later, with a message.
        """
        try:
            answer = self._session().client("ecs").describe_task_definition(taskDefinition=self.task_definition(verb))
        except Exception as error:
            if trouble_of(error) is None:  # no answer of AWS, nor its absence: a fault of this code
                raise
            return {}
        containers = [c for c in answer["taskDefinition"]["containerDefinitions"] if c["name"] == self.container]
        plain = {v["name"]: v["value"] for c in containers for v in c.get("environment", [])}
        return {**plain, **{v["name"]: None for c in containers for v in c.get("secrets", [])}}

    def needs(self, verb: Verb, region: str) -> EcsNeeds:
        """What a task of a verb needs, for preflight."""
        return EcsNeeds(
            cluster=self.cluster,
            task_definition=self.task_definition(verb),
            container=self.container,
            providers=tuple(c.name for c in self.capacity_of(verb)),
            gpus=self.gpus.get(verb, 0),
            bucket=self.bucket,
            region=region,
        )

    def request(self, verb: Verb, module: str, spec: str) -> dict[str, Any]:
        """boto3's run_task for the module with the spec at an s3:// URL."""
        overrides: dict[str, Any] = {
            "containerOverrides": [{"name": self.container, "command": [verb, "--module", module, "--spec", spec]}]
        }
        if verb in self.vcpus:
            overrides["cpu"] = str(int(self.vcpus[verb] * 1024))  # CPU units, 1,024 to a vCPU
        if verb in self.memory_gb:
            overrides["memory"] = str(int(self.memory_gb[verb] * 1024))  # MiB
        request: dict[str, Any] = {
            "cluster": self.cluster,
            "taskDefinition": self.task_definition(verb),
            "overrides": overrides,
            "tags": [{"key": key, "value": value} for key, value in self.tags.items()],
        }
        if self.subnets:
            request["networkConfiguration"] = {
                "awsvpcConfiguration": {
                    "subnets": self.subnets,
                    "securityGroups": self.security_groups,
                    "assignPublicIp": "ENABLED" if self.public_ip else "DISABLED",
                }
            }
        return with_gpus(request, self.container, self.gpus.get(verb, 0))

    def _price(self, verb: Verb, prices: ComputePolicy) -> float | None:
        if verb in self.machines:
            return prices.price_per_hour(self.machines[verb])
        vcpu, gb = prices.price_per_hour("fargate-vcpu"), prices.price_per_hour("fargate-gb")
        if vcpu is None or gb is None or verb not in self.vcpus or verb not in self.memory_gb:
            return None
        return vcpu * self.vcpus[verb] + gb * self.memory_gb[verb]

    def mistakes(self) -> list[str]:
        """What is wrong in the settings; see ComputeTarget.mistakes."""
        settings: dict[str, Mapping[str, Any]] = {
            "gpus": self.gpus,
            "vcpus": self.vcpus,
            "memory_gb": self.memory_gb,
            "machines": self.machines,
        }
        return [
            *settings_checks.place_on_s3(self.bucket, self.prefix),
            *settings_checks.by_verbs(self.task_definitions, "task_definitions", others=True),
            *(text for name, setting in settings.items() for text in settings_checks.by_verbs(setting, name)),
            *settings_checks.no_secrets(
                self.variables, "the task", "Put it into the task definition's `secrets` instead."
            ),
        ]

    def _session(self) -> Any:
        import boto3

        session = boto3.Session(region_name=self.region)
        if session.region_name is None:
            raise ValueError("ECS tasks need a region: set `region`, or AWS_DEFAULT_REGION.")
        return session
