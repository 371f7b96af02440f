"""A Dagster Pipes client for SageMaker training jobs: on-demand or managed spot, one or several instances.

docs/pipes-sagemaker.md shows how to use it and what its container has to do.
"""

from __future__ import annotations

import copy
from typing import Any, ClassVar

from dagster._core.pipes.client import PipesClientCompletedInvocation
from dagster._core.pipes.context import PipesSession

from carsdepo_assets.compute.pipes.job_requests import (
    TRAINING_VALUE,
    Price,
    check_counts,
    fit_environment,
    merge_tags,
    present,
)
from carsdepo_assets.compute.pipes.sagemaker_job import COMPLETED, Context, Description, NoInstance, SageMakerJobClient

_SPOT_ONLY = ("MaxWaitTimeInSeconds",)


class PipesSageMakerTrainingClient(SageMakerJobClient):
    """Runs a SageMaker training job for an asset or op, and relays its messages through S3 while it runs.

    A job counts only if its status is Completed, its channel was closed and one materialization came. It is named by
    its caller, so that a run whose process died takes up the job that goes on; see `run`. A cancelled run stops it.
    Arguments: see SageMakerJobClient.
    """

    NOUN: ClassVar[str] = "training job"
    KIND: ClassVar[str] = "training_job"
    FIELD: ClassVar[str] = "TrainingJob"

    def run(  # type: ignore[override]
        self,
        *,
        context: Context,
        job_name: str,
        create_training_job_params: dict[str, Any],
        extras: dict[str, Any] | None = None,
        price_per_hour: float | None = None,
        currency: str = "USD",
        on_demand_fallback: bool = False,
    ) -> PipesClientCompletedInvocation:
        """Runs a training job to its end.

        Args:
            context: of the asset or op.
            job_name: names the job, the same for every try of the same work. A job of this name that is InProgress is
                taken up, one that is Completed is read to its end, and one that Failed or was Stopped is followed by
                `job_name-2`. Characters that AWS refuses are replaced; a long name ends in a digest.
            create_training_job_params: the request of boto3's create_training_job, without its name. Environment and
                Tags are added to; variables over 512 characters go as hyper-parameters NAME.0, NAME.1 ...
            extras: for the container, as PipesContext.extras.
            price_per_hour: on-demand price of one instance in an hour; None: the money is not reported.
            currency: of the price.
            on_demand_fallback: a managed spot job that got no instance is followed by one on demand.

        Returns:
            The results, with the job's name, console page, instance, seconds, billable seconds, interruptions and money
            as metadata.

        Raises:
            JobFailed: the job did not succeed or could not be started; the description holds AWS's reason.
            JobUnobserved: AWS could not be asked about the job, which goes on.
            ValueError: a variable does not fit into the request.
        """
        price = Price(price_per_hour, currency)
        spot = bool(create_training_job_params.get("EnableManagedSpotTraining"))
        try:
            return self._run(context, job_name, _builder(create_training_job_params), extras, price)
        except NoInstance as error:
            if not (spot and on_demand_fallback):
                raise
            context.log.warning(f"{error.description} Going on without spot instances, at the full price.")
        on_demand = copy.deepcopy(create_training_job_params)
        on_demand["EnableManagedSpotTraining"] = False
        for field in _SPOT_ONLY:
            on_demand.get("StoppingCondition", {}).pop(field, None)
        return self._run(context, job_name, _builder(on_demand), extras, price)

    def _trouble(self, description: Description) -> list[str]:
        if description["TrainingJobStatus"] == COMPLETED:
            return []
        limits = description.get("StoppingCondition", {})
        match description.get("SecondaryStatus"):
            case "MaxRuntimeExceeded":
                return [
                    f"it was stopped after StoppingCondition.MaxRuntimeInSeconds ({limits.get('MaxRuntimeInSeconds')} "
                    "s): allow more, or take a faster instance"
                ]
            case "MaxWaitTimeExceeded":
                return [
                    "it got no spot instance, or too few hours of one, within StoppingCondition.MaxWaitTimeInSeconds "
                    f"({limits.get('MaxWaitTimeInSeconds')} s): allow more, another instance type, or on-demand"
                ]
            case "Stopped":
                return ["it was stopped by StopTrainingJob"]
        return [f"it failed: {reason_with_advice(str(description.get('FailureReason', 'AWS gives no reason')))}"]

    def _no_capacity(self, description: Description) -> bool:
        began = any(t["Status"] == "Training" for t in description.get("SecondaryStatusTransitions", ()))
        waited = description.get("SecondaryStatus") == "MaxWaitTimeExceeded" and not began
        return waited or super()._no_capacity(description)

    def _metadata(self, name: str, description: Description, price: Price) -> dict[str, Any]:
        resources = description.get("ResourceConfig", {})
        count = int(resources.get("InstanceCount", 1))
        billable, seconds = description.get("BillableTimeInSeconds"), description.get("TrainingTimeInSeconds")
        transitions = description.get("SecondaryStatusTransitions", ())
        return present(
            {
                "sagemaker_job": name,
                "sagemaker_console": self._console_link(name),
                "instance_type": resources.get("SelectedInstanceType") or resources.get("InstanceType"),
                "instances": count,
                "spot": bool(description.get("EnableManagedSpotTraining", False)),
                "training_seconds": seconds,
                "billable_seconds": billable,
                "interruptions": sum(t["Status"] == "Interrupted" for t in transitions),
                **price.of(billable if billable is not None else seconds, count),
            }
        )


def _builder(params: dict[str, Any]) -> Any:
    def build(name: str, session: PipesSession) -> dict[str, Any]:
        request = copy.deepcopy(params)
        request["TrainingJobName"] = name
        variables = {**request.get("Environment", {}), **session.get_bootstrap_env_vars()}
        request["Environment"], parts = fit_environment(variables, TRAINING_VALUE)
        request["HyperParameters"] = {**request.get("HyperParameters", {}), **parts}
        check_counts(request["Environment"], request["HyperParameters"])
        request["Tags"] = merge_tags(request.get("Tags", []), session.context.run.dagster_execution_info)
        return request

    return build


def reason_with_advice(reason: str) -> str:
    """AWS's FailureReason, with what to do about the reasons that have one remedy."""
    reason = reason.rstrip(".")
    if "exit code: 137" in reason:
        return f"{reason}. 137 is SIGKILL, as a rule for lack of memory: take a larger instance or smaller batches"
    if reason.startswith("CapacityError"):
        return f"{reason}. Try again later, in another region, or with another instance type"
    if reason.startswith("AlgorithmError"):  # the worker's own words
        return reason
    if "pull" in reason or "image" in reason.lower():
        return f"{reason}. Look at the image's address and tag, and at the role's permission to read it from ECR"
    return reason
