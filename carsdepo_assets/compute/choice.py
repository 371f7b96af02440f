"""Chooses the place of each job: by configuration, by asset, and for a single run in its launchpad."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg
from pydantic import Field

from carsdepo_assets.compute.ecs import EcsCompute
from carsdepo_assets.compute.local import LocalCompute
from carsdepo_assets.compute.mlflow_server import variables_for_job
from carsdepo_assets.compute.sagemaker import SageMakerCompute
from carsdepo_assets.compute.target import ComputeTarget, Hardware, Verb

PLACES = ("local", "ecs", "sagemaker")
# The asset whose job decides what hardware a recipe is made for; trials of a study are trained there, too, where
# by_asset does not name them.
TRAINING_ASSET, TRIALS_ASSET = "candidate_model", "trials"


class ComputeChoice(ComputeTarget):
    """The place where each asset's job runs. A run's launchpad overrides `place`, `by_asset` and `instance`."""

    # Where a launchpad configures one field, Dagster sets the others to their `default`, whatever the file says; a
    # `default_factory` leaves them alone.
    place: str = Field(default_factory=lambda: "local", description="where jobs run: local, ecs or sagemaker")
    by_asset: dict[str, str] = Field(
        default_factory=dict, description="other places for single assets, as in {candidate_model: sagemaker}"
    )
    instance: str | None = Field(
        default=None, description="SageMaker's instance type for the jobs of this run, such as ml.g5.xlarge"
    )
    mlflow: str = Field(
        default_factory=str,
        description="the store of this installation's MLflow runs, without a password; empty: SQLite",
    )
    local: LocalCompute
    ecs: EcsCompute | None = None
    sagemaker: SageMakerCompute | None = None

    def run(
        self,
        context: dg.AssetExecutionContext | dg.OpExecutionContext,
        verb: Verb,
        spec: Mapping[str, Any],
        *,
        module: str,
    ) -> dg.MaterializeResult[Any]:
        """Runs the worker at the place of the context's asset; see ComputeTarget.run.

        Raises:
            dagster.Failure: also where that place is unknown or not configured, or its jobs would not find the lake or
                the MLflow run.
        """
        place = self.place_of(context.asset_key.to_user_string() if context.has_assets_def else None)
        if place != "local" and not str(spec.get("lake", "")).startswith("s3://"):
            raise dg.Failure(
                f"The lake is the folder {spec.get('lake')}, which {place} cannot read: set CARSDEPO_LAKE to an s3:// "
                "URL, or run this job on this machine (compute.place: local).",
                allow_retries=False,
            )
        target = self.target(place)
        if isinstance(target, EcsCompute | SageMakerCompute):
            defined = target.defined_variables(verb) if isinstance(target, EcsCompute) and spec.get("mlflow") else {}
            missing = variables_for_job(
                place, spec.get("mlflow"), self.mlflow or None, target.variables, defined, context.log.warning
            )
            target = target.model_copy(update={"variables": {**missing, **target.variables}})
        context.log.info(f"The worker's verb {verb} runs at {place}.")
        return target.run(context, verb, spec, module=module)

    def of_asset(self, asset: str) -> ComputeTarget:
        """The place that is chosen for an asset's jobs; see `target`."""
        return self.target(self.place_of(asset))

    def hardware(self, verb: Verb) -> Hardware:
        """What the training's place computes with."""
        return self.of_asset(TRAINING_ASSET).hardware(verb)

    def place_of(self, asset: str | None) -> str:
        """The name of the place for an asset's job; None: for a job of no asset."""
        if asset == TRIALS_ASSET and asset not in self.by_asset:
            asset = TRAINING_ASSET
        return self.by_asset.get(asset, self.place) if asset is not None else self.place

    def target(self, place: str) -> ComputeTarget:
        """The place of a name.

        Raises:
            dagster.Failure: there is no such place, or it is not configured; the message says how it is.
        """
        if place not in PLACES:
            raise dg.Failure(f"compute.place is {place!r}: it must be one of {', '.join(PLACES)}.", allow_retries=False)
        target: ComputeTarget | None = getattr(self, place)
        if target is None:
            raise dg.Failure(
                f"Jobs are to run at {place}, which is not configured: write the section [{place}] into the file that "
                "CARSDEPO_COMPUTE names (docs, AWS).",
                allow_retries=False,
            )
        if self.instance is not None and isinstance(target, SageMakerCompute):
            return target.on_instance(self.instance)
        return target
