"""The interface of every place that can run a job's worker process: this machine now, ECS or SageMaker later."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import dagster as dg


class ComputeTarget(dg.ConfigurableResource, ABC):
    """A place that runs `python -m MODULE --spec FILE`, where FILE holds the job's spec as JSON.

    The worker module and its arguments are the same everywhere; it reports by Dagster Pipes. Assets annotate this
    class, and environments.py decides which place stands behind it.
    """

    @abstractmethod
    def run(
        self, context: dg.AssetExecutionContext | dg.OpExecutionContext, module: str, spec: Mapping[str, Any]
    ) -> dg.MaterializeResult[Any]:
        """Runs the worker to its end.

        When the run is terminated, the worker and its children are ended before the interruption goes on.

        Args:
            context: of the asset or op that the worker works for; its log receives the worker's events.
            module: the worker's module, such as `carsdepo_assets.training.worker`.
            spec: what the worker is to do; serialised as JSON.

        Returns:
            The one materialization that the worker reported.

        Raises:
            dagster.Failure: the worker did not end with code 0, did not close its channel, or reported no
                materialization; the message holds its last lines of output.
        """
