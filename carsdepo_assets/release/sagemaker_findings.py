"""What a look at SageMaker finds that a person should know."""

from __future__ import annotations

from dataclasses import dataclass

from carsdepo_assets.alerts.channels import Severity


@dataclass(frozen=True)
class EndpointFinding:
    """Something on SageMaker that is not as the ledger has it, or that a person should know."""

    key: str
    """The same finding has the same key, so that it is alerted once."""
    severity: Severity
    title: str
    body: str
