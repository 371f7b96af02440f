"""A Dagster Pipes client for SageMaker processing jobs, in the form of the one for training jobs.

A processing job has no hyper-parameters, no spot instances and no checkpoints, and its environment variables hold 256
characters (Amazon SageMaker API reference, CreateProcessingJob).
"""

from __future__ import annotations

import copy
from typing import Any, ClassVar

from dagster._core.pipes.client import PipesClientCompletedInvocation
from dagster._core.pipes.context import PipesSession

from carsdepo_assets.compute.pipes.job_requests import (
    PROCESSING_VALUE,
    Price,
    check_counts,
    fit_environment,
    merge_tags,
    present,
)
from carsdepo_assets.compute.pipes.sagemaker_job import COMPLETED, STOPPED, Context, Description, SageMakerJobClient
from carsdepo_assets.compute.pipes.sagemaker_training import reason_with_advice


class PipesSageMakerProcessingClient(SageMakerJobClient):
    """Runs a SageMaker processing job for an asset or op; see PipesSageMakerTrainingClient, which is alike."""

    NOUN: ClassVar[str] = "processing job"
    KIND: ClassVar[str] = "processing_job"
    FIELD: ClassVar[str] = "ProcessingJob"

    def run(  # type: ignore[override]
        self,
        *,
        context: Context,
        job_name: str,
        create_processing_job_params: dict[str, Any],
        extras: dict[str, Any] | None = None,
        price_per_hour: float | None = None,
        currency: str = "USD",
    ) -> PipesClientCompletedInvocation:
        """Runs a processing job to its end.

        Args:
            context: of the asset or op.
            job_name: as for PipesSageMakerTrainingClient.run.
            create_processing_job_params: the request of boto3's create_processing_job, without its name. Environment
                and Tags are added to.
            extras: for the container, as PipesContext.extras.
            price_per_hour: on-demand price of one instance in an hour; None: the money is not reported.
            currency: of the price.

        Returns:
            The results, with the job's name, console page, instance, seconds and money as metadata.

        Raises:
            JobFailed: the job did not succeed or could not be started; the description holds AWS's reason.
            JobUnobserved: AWS could not be asked about the job, which goes on.
            ValueError: a variable has more than 256 characters.
        """
        price = Price(price_per_hour, currency)

        def build(name: str, session: PipesSession) -> dict[str, Any]:
            request = copy.deepcopy(create_processing_job_params)
            request["ProcessingJobName"] = name
            variables = {**request.get("Environment", {}), **session.get_bootstrap_env_vars()}
            request["Environment"], _ = fit_environment(variables, PROCESSING_VALUE)
            if lost := sorted(set(variables) - set(request["Environment"])):
                raise ValueError(
                    f"{', '.join(lost)}: a variable of a processing job holds {PROCESSING_VALUE} characters at most. "
                    "Shorten it (the Pipes context is as long as the bucket and prefix are), or put it into a file on "
                    "S3 and give its URL."
                )
            check_counts(request["Environment"], {})
            request["Tags"] = merge_tags(request.get("Tags", []), session.context.run.dagster_execution_info)
            return request

        return self._run(context, job_name, build, extras, price)

    def _trouble(self, description: Description) -> list[str]:
        status = description["ProcessingJobStatus"]
        if status == COMPLETED:
            return []
        if status == STOPPED:
            limit = description.get("StoppingCondition", {}).get("MaxRuntimeInSeconds")
            return [f"it was stopped by StopProcessingJob or after StoppingCondition.MaxRuntimeInSeconds ({limit} s)"]
        reasons = [str(description[k]) for k in ("FailureReason", "ExitMessage") if description.get(k)]
        return [f"it failed: {reason_with_advice('; '.join(reasons) or 'AWS gives no reason')}"]

    def _metadata(self, name: str, description: Description, price: Price) -> dict[str, Any]:
        resources = description.get("ProcessingResources", {}).get("ClusterConfig", {})
        count = int(resources.get("InstanceCount", 1))
        began, ended = description.get("ProcessingStartTime"), description.get("ProcessingEndTime")
        seconds = round((ended - began).total_seconds(), 1) if began and ended else None
        return present(
            {
                "sagemaker_job": name,
                "sagemaker_console": self._console_link(name),
                "instance_type": resources.get("SelectedInstanceType") or resources.get("InstanceType"),
                "instances": count,
                "processing_seconds": seconds,
                **price.of(seconds, count),
            }
        )
