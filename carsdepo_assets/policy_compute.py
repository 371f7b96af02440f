"""The compute section of the policy: what an hour of a machine costs, so that a job on AWS reports its money."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from carsdepo_assets.policy_values import PolicySection, policy_value

Price = Annotated[float, Field(gt=0)]
LOCAL = "local"  # in prices_per_hour: this machine


class ComputePolicy(PolicySection):
    """Prices of machines. Nothing is fetched from AWS's price list: it has no regional endpoint everywhere."""

    prices_per_hour: dict[str, Price] = policy_value(
        {},
        "of currency per hour of one instance",
        "On-demand price by instance type, such as ml.g5.xlarge for SageMaker, g5.xlarge for ECS on EC2, and "
        "fargate-vcpu and fargate-gb for Fargate; `local` is this machine, which costs nothing where it is not "
        "listed. A job of another type that is not listed reports no money. None is built in, since prices differ by "
        "region and change: copy yours from AWS's pricing pages.",
    )
    currency: str = policy_value("USD", "", "Currency of prices_per_hour.", min_length=1, max_length=8)

    def price_per_hour(self, instance_type: str) -> float | None:
        """The on-demand price of one instance in `currency` per hour; None where it is not listed, and 0 of LOCAL."""
        return self.prices_per_hour.get(instance_type, 0.0 if instance_type == LOCAL else None)
