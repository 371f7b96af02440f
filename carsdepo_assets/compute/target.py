"""What every place that runs a job offers: the same worker module, the same spec, events by Dagster Pipes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import dagster as dg


class ComputeTarget(Protocol):
    """This machine, ECS or SageMaker. `python -m MODULE --spec FILE` runs there, FILE holding `spec` as JSON."""

    def run(
        self, context: dg.AssetExecutionContext | dg.OpExecutionContext, module: str, spec: Mapping[str, Any]
    ) -> dg.MaterializeResult[Any]:
        """Runs the worker to its end and gives back the one materialization that it reported.

        Raises dg.Failure with the worker's last lines unless it ended with code 0, closed its channel and reported.
        When the run is terminated, the worker and its children are ended before the interruption goes on.
        """
        ...
