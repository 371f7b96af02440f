"""The asset checks of candidate_model: one for each kind of finding about its training."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from carsdepo_assets.lake.training_findings import Finding
from carsdepo_assets.training.diagnosis.kinds import KINDS

CANDIDATE = "candidate_model"
FINDING_CHECKS = [
    dg.AssetCheckSpec(kind.check, asset=CANDIDATE, description=f"Finding `{kind.name}`: {kind.meaning} {kind.advice}")
    for kind in KINDS
]


def check_results(findings: Sequence[Finding]) -> list[dg.AssetCheckResult]:
    """A result for each kind of finding: WARN where it was found, ERROR where it makes the training hopeless."""
    by_name = {f.name: f for f in findings}
    return [_result(kind.check, by_name.get(kind.name)) for kind in KINDS]


def _result(check: str, found: Finding | None) -> dg.AssetCheckResult:
    if found is None:
        return dg.AssetCheckResult(check_name=check, asset_key=CANDIDATE, passed=True)
    hopeless = found.severity == "hopeless"
    return dg.AssetCheckResult(
        check_name=check,
        asset_key=CANDIDATE,
        passed=False,
        severity=dg.AssetCheckSeverity.ERROR if hopeless else dg.AssetCheckSeverity.WARN,
        description=found.text,
        metadata={"since_step": found.since, **found.figures},
    )
