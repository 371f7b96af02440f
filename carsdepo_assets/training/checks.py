"""The asset checks of candidate_model: one for each kind of finding about its training."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from carsdepo_assets.lake.training_findings import TrainingFinding
from carsdepo_assets.training.diagnosis.kinds import KINDS

CANDIDATE = "candidate_model"
FINDING_CHECKS = [
    dg.AssetCheckSpec(kind.check, asset=CANDIDATE, description=f"Finding `{kind.name}`: {kind.meaning} {kind.advice}")
    for kind in KINDS
]


def check_results(findings: Sequence[TrainingFinding]) -> list[dg.AssetCheckResult]:
    """A result for each kind of finding: WARN where it was finding, ERROR where it makes the training hopeless."""
    by_name = {f.name: f for f in findings}
    return [_result(kind.check, by_name.get(kind.name)) for kind in KINDS]


def _result(check: str, finding: TrainingFinding | None) -> dg.AssetCheckResult:
    if finding is None:
        return dg.AssetCheckResult(check_name=check, asset_key=CANDIDATE, passed=True)
    hopeless = finding.severity == "hopeless"
    return dg.AssetCheckResult(
        check_name=check,
        asset_key=CANDIDATE,
        passed=False,
        severity=dg.AssetCheckSeverity.ERROR if hopeless else dg.AssetCheckSeverity.WARN,
        description=finding.text,
        metadata={"since_step": finding.since, **finding.figures},
    )
