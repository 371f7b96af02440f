"""The interface of every place that can run a job's worker process: this machine, ECS or SageMaker."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import dagster as dg
from pydantic import BaseModel, ConfigDict

from carsdepo_assets.compute.worker.process import PLACE_VARIABLE
from carsdepo_assets.policy import ComputePolicy

__all__ = ["OTHER_VERBS", "PLACE_VARIABLE", "ComputeTarget", "Hardware", "Verb", "by_verb", "of_worker"]

Verb = Literal["train", "evaluate", "export", "reference", "process"]


OTHER_VERBS = "others"  # in a setting by verb: every verb that is not named there


def by_verb(setting: Mapping[str, str], verb: Verb, name: str) -> str:
    """What a setting has for a verb, or for `others`.

    Raises:
        ValueError: it has neither; name: the setting's, for the message.
    """
    value = setting.get(verb) or setting.get(OTHER_VERBS)
    if not value:
        raise ValueError(f"{name} has neither {verb!r} nor {OTHER_VERBS!r}: add one of them.")
    return value


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


PLACE_KEYS = ("place", "instance", "seconds", "billable_seconds", "interruptions", "money", "job")
"""Metadata about where a job ran, for how long and for how much money, as far as the place knows it."""


def of_worker(results: Sequence[dg.MaterializeResult[Any]]) -> dict[str, Any]:
    """What the asset tells of the jobs that worked for it: the metadata of PLACE_KEYS, prefixed with `worker_`.

    Args:
        results: what ComputeTarget.run gave; where there are several, the last one counts.
    """
    if not results:
        return {}
    metadata = results[-1].metadata or {}
    return {f"worker_{key}": metadata[key] for key in PLACE_KEYS if key in metadata}


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
        module: str,
    ) -> dg.MaterializeResult[Any]:
        """Runs the worker to its end.

        When the run is terminated, the worker and its children are ended before the interruption goes on.

        Args:
            context: of the asset or op that the worker works for; its log receives the worker's events.
            verb: what the worker does.
            spec: the verb's arguments; serialised as JSON. It holds no path of a machine.
            module: the worker's module, such as `carsdepo_assets.training.worker`. Assets name it, so that their code
                version follows it.

        Returns:
            The one materialization that the worker reported, with where it ran, for how long and for how much money
            added to its metadata, where the place knows them.

        Raises:
            dagster.Failure: the worker did not end with code 0, did not close its channel, or did not report one
                materialization; the message holds its last lines of output, or what the place refused and why.
        """

    def mistakes(self) -> list[str]:
        """What is wrong in the settings and can be seen without asking anybody; each begins with the setting's name."""
        return []

    def of_asset(self, asset: str) -> ComputeTarget:
        """The place where an asset's jobs run: this one, where there is no choice."""
        return self

    @abstractmethod
    def hardware(self, verb: Verb) -> Hardware:
        """What the worker of a verb would compute with, so that a recipe can be made for it."""

    def slots(self, verb: Verb) -> int:
        """How many jobs of a verb may run at once for one study; one, where the place says nothing else."""
        return 1

    def price_per_hour(self, verb: Verb, prices: ComputePolicy) -> float | None:
        """What an hour of a job of a verb costs, in the currency of the prices; None where they do not list it."""
        hardware = self.hardware(verb)
        price = prices.price_per_hour(hardware.name)
        return None if price is None else price * hardware.instances
