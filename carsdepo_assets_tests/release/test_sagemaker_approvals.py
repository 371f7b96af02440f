"""release/sagemaker_approvals.py: whose words a decision in Studio has; test_sagemaker_packages.py has the rest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.registry import ledger
from carsdepo_assets.release.sagemaker_approvals import _take_over
from carsdepo_assets.release.sagemaker_packages import PENDING, ModelPackage, Status

DIGEST, ARN = "0123456789abcdef", "arn:aws:sagemaker:eu-central-1:111122223333:model-package/carsdepo/1"
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def test_a_description_that_was_there_before_is_no_reason(tmp_path: Path) -> None:
    """SageMaker keeps it where the person who decides next writes none."""
    lake = Lake.open(tmp_path)
    told: Status = PENDING
    decisions: list[tuple[Status, str]] = [
        ("Approved", "seen on ten cars"),
        ("Rejected", "seen on ten cars"),
        ("Approved", "ledger event 2, reject by ann@desk: it is | slow"),
        ("Rejected", ""),
        ("Approved", "as the ledger has it"),
        ("Rejected", "too slow at night"),
    ]
    for number, (status, description) in enumerate(decisions):
        package = ModelPackage(
            arn=ARN,
            digest=DIGEST,
            version=1,
            status=status,
            ledger_status=told,
            created="Completed",
            by="berta@studio",
            reason=description,
            modified=NOW + timedelta(hours=number),
            metadata={},
        )
        finding, is_decision = _take_over(lake, package)
        assert is_decision, finding
        told = status
    assert [(e.action, e.reason, e.says_why) for e in ledger.events(lake)] == [
        ("approve", "seen on ten cars", True),
        ("reject", "set to Rejected in SageMaker, without a reason", False),
        ("approve", "set to Approved in SageMaker, without a reason", False),
        ("reject", "set to Rejected in SageMaker, without a reason", False),
        ("approve", "set to Approved in SageMaker, without a reason", False),
        ("reject", "too slow at night", True),
    ]
