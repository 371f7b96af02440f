"""What a model's training cost, as far as where it ran, how long, and the price of that place are known."""

from __future__ import annotations

from dataclasses import dataclass

from carsdepo_assets.policy import ComputePolicy
from carsdepo_assets.policy_compute import LOCAL
from carsdepo_assets.registry.lineage import Lineage


@dataclass(frozen=True)
class TrainingCost:
    """What a training cost."""

    text: str
    """The money, or what is missing to know it."""
    source: str
    """Where it is taken from."""


def training_cost(lineage: Lineage, seconds: float | None, prices: ComputePolicy) -> TrainingCost:
    """The money that a training took at the present prices.

    Args:
        lineage: of the model; its environment names the place where it was trained, unless that was this machine.
        seconds: that it took; None: not recorded.
        prices: of the policy in force.
    """
    place = lineage.environment.get("place", LOCAL)
    if place != LOCAL:
        run = f"Dagster run {lineage.dagster_run_id}" if lineage.dagster_run_id else "the training's run in Dagster"
        return TrainingCost(
            f"not known here: it was trained at {place}, and the machine that it had there is not kept with the model; "
            f"{run} tells the job's money where policy.compute.prices_per_hour lists that machine",
            f"models/{lineage.digest}/lineage.json, environment.place",
        )
    price, listed = prices.price_per_hour(LOCAL), f"policy.compute.prices_per_hour.{LOCAL}"
    source = f"models/{lineage.digest}/result.json, seconds; {listed}"
    if seconds is None:
        return TrainingCost("not known: how long the training took was not recorded", source)
    if not price:
        return TrainingCost(f"nothing counted: {listed} lists no price", source)
    money = f"{seconds / 3600 * price:.3g} {prices.currency}"
    return TrainingCost(f"{money}: {seconds / 60:.1f} minutes at {price:g} {prices.currency} an hour", source)
