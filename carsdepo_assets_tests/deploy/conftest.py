"""What several tests of deploy/aws share: an account that moto emulates, and a machine that knows of none."""

from __future__ import annotations

import os
from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws

from deploy.aws import account as accounts
from deploy.aws.account import Account


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials, no region, no configuration of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="module")
def session() -> boto3.Session:
    """One for all tests: it reads the description of each of AWS's services once."""
    return boto3.Session("x", "x", region_name="eu-west-1")


@pytest.fixture
def account(nowhere: None, session: boto3.Session) -> Iterator[Account]:
    with mock_aws():
        yield accounts.open_account("trial", session)
