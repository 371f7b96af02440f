"""The interface of every place that can run a job's worker process: this machine, ECS or SageMaker."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import dagster as dg
from pydantic import BaseModel, ConfigDict

from carsdepo_assets.compute.verbs import Verb

PLACE_VARIABLE = "CARSDEPO_COMPUTE_PLACE"  # tells the worker where it runs, for the model's lineage


class Hardware(BaseModel):
    """What a place computes with."""

    model_config = ConfigDict(frozen=True)

    place: str
    """Such as `this machine`, `ecs` or `sagemaker`."""
    name: str
    """Of the processor or the instance type, such as `ml.g5.xlarge`."""
    device: str
    """`cpu` or `cuda:0`, as torch names it."""
    gpus: int = 0
    """GPUs of one instance."""
    instances: int = 1
    """Machines that work together on one job."""


class ComputeTarget(dg.ConfigurableResource, ABC):
    """A place that runs `python -m MODULE --spec PLACE`, where PLACE holds the job's spec as JSON.

    The worker module and its spec are the same everywhere; it reports by Dagster Pipes. Assets annotate this class, and
    environments.py decides which place stands behind it.
    """

    @abstractmethod
    def run(
        self,
        context: dg.AssetExecutionContext | dg.OpExecutionContext,
        verb: Verb,
        spec: Mapping[str, Any],
        *,
        module: str | None = None,
    ) -> dg.MaterializeResult[Any]:
        """Runs the worker to its end.

        When the run is terminated, the worker and its children are ended before the interruption goes on.

        Args:
            context: of the asset or op that the worker works for; its log receives the worker's events.
            verb: what the worker does.
            spec: the verb's arguments; serialised as JSON. It holds no path of a machine.
            module: the worker's module; None: the verb's, as verbs.MODULES has it.

        Returns:
            The one materialization that the worker reported, with where it ran, for how long and for how much money
            added to its metadata, where the place knows them.

        Raises:
            dagster.Failure: the worker did not end with code 0, did not close its channel, or did not report one
                materialization; the message holds its last lines of output, or what the place refused and why.
        """

    @abstractmethod
    def hardware(self, verb: Verb) -> Hardware:
        """What the worker of a verb would compute with, so that a recipe can be made for it."""
