"""A lake of each kind, empty, for the contract tests."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from carsdepo_assets.lake.lake import Lake

BUCKET = "lake-tests"


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # one line a request otherwise
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    yield endpoint
    server.stop()


@pytest.fixture
def s3_url(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh prefix of the bucket, with the environment set as a deployment would."""
    import boto3  # type: ignore[import-untyped]

    client = boto3.client(
        "s3", endpoint_url=s3_endpoint, region_name="eu-central-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    # moto keeps one state a process: another room's tests may have made the bucket, or emptied the account.
    if BUCKET not in [b["Name"] for b in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    return f"s3://{BUCKET}/{uuid.uuid4().hex}/deep prefix"


@pytest.fixture(params=["folder", "s3"])
def lake_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        return str(request.getfixturevalue("s3_url"))
    return str(tmp_path / "lake é")


@pytest.fixture
def lake(lake_url: str, tmp_path: Path) -> Lake:
    return Lake.open(lake_url, cache=tmp_path / "cache")


@pytest.fixture
def folder_lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")
