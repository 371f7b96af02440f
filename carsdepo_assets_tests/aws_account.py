"""The settings of an installation in an AWS account, and a process that finds nothing of AWS."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

COMPUTE = """
place = "local"
by_asset = { candidate_model = "sagemaker" }
[sagemaker]
image = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/carsdepo-worker:1"
role = "arn:aws:iam::123456789012:role/carsdepo-jobs"
bucket = "carsdepo-jobs"
"""


def account(folder: Path, **changes: str) -> dict[str, str]:
    """The variables of an installation in an AWS account."""
    file = folder / "compute.toml"
    file.write_text(COMPUTE)
    return {
        "CARSDEPO_ENVIRONMENT": "aws",
        "CARSDEPO_HOME": str(folder / "home"),
        "CARSDEPO_LAKE": "s3://carsdepo-lake/lake",
        "CARSDEPO_MLFLOW": "http://mlflow.internal:5000",
        "CARSDEPO_COMPUTE": str(file),
        "CARSDEPO_PIPES_BUCKET": "carsdepo-jobs",
        **changes,
    }


def nowhere(folder: Path) -> dict[str, str]:
    """The variables of a process that finds neither credentials nor a region: no profile and no machine's role."""
    files = {name: str(folder / "none") for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE")}
    return files | {"AWS_EC2_METADATA_DISABLED": "true"}


def without_aws(monkeypatch: pytest.MonkeyPatch, env: Mapping[str, str]) -> None:
    """Sets the variables of AWS, these alone."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
