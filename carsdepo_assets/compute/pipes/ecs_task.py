"""Runs a task of Amazon ECS as the work of a Dagster step.

dagster-aws's PipesECSClient takes a container without an exit code for a success, fails with an IndexError where
RunTask returns only `failures`, and reads messages from CloudWatch, whose quota it exhausts. This client keeps
its form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg
from dagster import PipesClient
from dagster._core.definitions.resource_annotation import TreatAsResourceParam
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.pipes.client import PipesClientCompletedInvocation

from carsdepo_assets.compute.pipes.aws_calls import AwsClients, CallFailed, JobUnobserved, PatientPut
from carsdepo_assets.compute.pipes.ecs_calls import EcsCalls, TaskLimits
from carsdepo_assets.compute.pipes.ecs_job import EcsJob
from carsdepo_assets.compute.pipes.ecs_logs import last_lines
from carsdepo_assets.compute.pipes.ecs_record import RecordStore
from carsdepo_assets.compute.pipes.ecs_request import (
    ENVIRONMENT_FILE,
    JOB_TAG,
    CapacityProvider,
    by_file,
    overridden,
    started_by,
    tag_value,
    too_large,
)
from carsdepo_assets.compute.pipes.job_report import JobFailed, the_materialization
from carsdepo_assets.compute.pipes.s3_channel import S3PrefixContextInjector, S3PrefixMessageReader

_ENDED = "The Dagster run was ended."


class PipesECSTaskClient(PipesClient, TreatAsResourceParam):
    """Runs ECS tasks with Dagster Pipes; messages go through S3.

    Args:
        bucket: name of the S3 bucket for messages and records.
        prefix: key prefix below which each job has a folder of its own, without a slash at its end.
        client: a boto3 ECS client to use as it is; its credentials cannot be renewed by this client.
        s3_client: the same for S3.
        logs_client: the same for CloudWatch Logs, from which the last lines of a task that failed are read.
        limits: how often ECS is asked, and how long a job waits.
        forward_termination: stops the task when the step is interrupted.
        max_runtime_variable: the container's environment variable that holds the job's longest time in seconds.
        region_name: of the cluster; None: that of `client`, or boto3's own.
        session: makes boto3 sessions; called again when credentials are refused. None: boto3.Session.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str,
        client: Any = None,
        s3_client: Any = None,
        logs_client: Any = None,
        limits: TaskLimits | None = None,
        forward_termination: bool = True,
        max_runtime_variable: str = "PIPES_MAX_RUNTIME_S",
        *,
        region_name: str | None = None,
        session: Callable[[], Any] | None = None,
    ) -> None:
        self._bucket, self._prefix = bucket, prefix
        region = client.meta.region_name if client is not None and region_name is None else region_name
        self._clients = AwsClients(session, region, {"ecs": client, "s3": s3_client, "logs": logs_client})
        self._s3 = self._clients.standing("s3")
        self._limits = limits or TaskLimits()
        self._forward_termination = forward_termination
        self._max_runtime_variable = max_runtime_variable

    def run(  # type: ignore[override]
        self,
        *,
        context: dg.OpExecutionContext | dg.AssetExecutionContext,
        job_name: str,
        run_task_params: Mapping[str, Any],
        container_name: str | None = None,
        providers: Sequence[CapacityProvider] = (),
        environment: Mapping[str, str] | None = None,
        max_runtime_s: float | None = None,
        extras: dict[str, Any] | None = None,
    ) -> PipesClientCompletedInvocation:
        """Runs a job to its end: a task, and others after it where AWS takes its machine back.

        A job of this name that is under way, or ended well without its report having been taken, is taken up instead of
        started again.

        Args:
            context: of the step.
            job_name: the same whenever the same work is asked for. Its length is not limited.
            run_task_params: for boto3's run_task: taskDefinition, cluster, networkConfiguration, overrides, ...
            container_name: the container that reports; its exit code counts. None: the task definition's only one.
            providers: capacity providers in the order of preference, such as spot before on-demand. None given: the
                launch type of run_task_params, or the cluster's default.
            environment: variables for the container; none that is secret, since DescribeTasks shows them.
            max_runtime_s: seconds that the job may run, all its tasks together; None: not limited.
            extras: passed on to the job by Pipes.

        Returns:
            The job's results, with metadata on where it ran, for how long and for how much money.

        Raises:
            JobFailed: the container did not exit with code 0, did not close its channel or did not report one
                materialization.
            JobUnobserved: ECS could not be asked any more; the task goes on, and the next run of the job takes it up.
            dagster.Failure: no task could be started; the message says why.
        """
        calls = EcsCalls(self._clients, self._limits, context.log.warning)
        definition = self._container(calls, run_task_params["taskDefinition"], container_name)
        container = definition["name"]
        folder = f"{self._prefix}/{started_by(job_name)}"
        job = EcsJob(
            name=job_name,
            cluster=run_task_params.get("cluster", "default"),
            container=container,
            providers=tuple(providers) or (CapacityProvider(None),),
            calls=calls,
            limits=self._limits,
            store=RecordStore(self._s3, self._bucket, folder),
            log=context.log,
            max_runtime_s=max_runtime_s,
        )
        try:
            job.take_up()
        except (DagsterExecutionInterruptedError, KeyboardInterrupt):
            if self._forward_termination:
                job.stop(_ENDED, lambda: None)
            raise
        round_folder = f"{folder}/{job.round}"
        reader = S3PrefixMessageReader(self._s3, self._bucket, round_folder)
        put = PatientPut(self._s3, calls.patiently)
        with dg.open_pipes_session(
            context=context,
            context_injector=S3PrefixContextInjector(put, self._bucket, round_folder),
            message_reader=reader,
            extras=extras,
        ) as session:
            variables = {**(environment or {}), **session.get_bootstrap_env_vars()}
            if max_runtime_s is not None:
                variables[self._max_runtime_variable] = str(int(max_runtime_s))
            request = self._request(put, run_task_params, container, variables, job_name, round_folder)
            request["tags"] = [
                *run_task_params.get("tags", []),
                *({"key": k, "value": tag_value(v)} for k, v in context.run.dagster_execution_info.items()),
                {"key": JOB_TAG, "value": tag_value(job_name)},
            ]
            try:
                problem = job.to_its_end(request, reader.poll)
                self._finish(calls, job, reader)
            except (DagsterExecutionInterruptedError, KeyboardInterrupt):
                if self._forward_termination:
                    job.stop(_ENDED, reader.poll)
                raise
            trouble = [problem] if problem else []
            if problem and reader.error is not None:
                trouble.append(f"it closed its channel with {reader.error}")
            trouble += reader.refused
            try:
                the_materialization(session, job.title, trouble, reader.missing)
            except JobFailed:
                lines = last_lines(self._clients["logs"], definition, job.last_arn)
                job.end("failed")
                the_materialization(session, job.title, trouble, reader.missing, lines)
        if reader.remark:
            context.log.warning(f"{job.title}: {reader.remark}")
        job.end("taken")
        return PipesClientCompletedInvocation(session, metadata=job.metadata(self._clients["ecs"].meta.region_name))

    @staticmethod
    def _finish(calls: EcsCalls, job: EcsJob, reader: S3PrefixMessageReader) -> None:
        try:
            calls.patiently(f"read the last messages of {job.title}", reader.finish)
        except Exception as error:  # AWS, or Dagster's own storage
            why = str(error) if isinstance(error, CallFailed) else f"Could not read {job.title}'s messages: {error!r}."
            text = f"{why} A re-execution of this run within the hour reads them."
            raise JobUnobserved(text, allow_retries=False) from error

    def _request(
        self,
        put: PatientPut,
        params: Mapping[str, Any],
        container: str,
        variables: Mapping[str, str],
        job: str,
        folder: str,
    ) -> dict[str, Any]:
        """What RunTask is asked, without a capacity provider."""
        request = overridden({**params, "count": 1, "startedBy": started_by(job)}, container, variables)
        if too_large(request):
            key = f"{folder}/{ENVIRONMENT_FILE}"
            partition = self._clients["ecs"].meta.partition
            request, content = by_file(request, container, f"arn:{partition}:s3:::{self._bucket}/{key}")
            put.put_object(Bucket=self._bucket, Key=key, Body=content.encode())
        return request

    @staticmethod
    def _container(calls: EcsCalls, task_definition: str, name: str | None) -> dict[str, Any]:
        containers = calls.asked_first(
            f"describe the task definition {task_definition}", lambda: calls.containers(task_definition)
        )
        if name is None and len(containers) == 1:
            return next(iter(containers.values()))
        if name is None or name not in containers:
            raise dg.Failure(
                f"Task definition {task_definition} has the containers {', '.join(containers)}"
                + (f", none of the name {name}." if name else ": name the one that reports."),
                allow_retries=False,
            )
        return containers[name]
