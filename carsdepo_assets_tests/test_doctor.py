"""commands/doctor.py: whose process holds a port decides whether that is a fault."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pytest
from botocore.exceptions import EndpointConnectionError  # type: ignore[import-untyped]

from carsdepo_assets.commands import doctor
from carsdepo_assets.commands.doctor import examine
from carsdepo_assets.commands.findings import Finding
from carsdepo_assets.lake.message_queue import MessageQueue
from carsdepo_assets.settings import Settings
from carsdepo_assets_tests.lake.simulated_queue import QUEUE, SimulatedQueue

LISTEN = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"


@contextmanager
def listening(home: Path | None) -> Iterator[tuple[int, int]]:
    """(port, process id) of a process that listens there for the installation at home; None: for none."""
    environment = {k: v for k, v in os.environ.items() if k != "CARSDEPO_HOME"}
    environment |= {"CARSDEPO_HOME": str(home)} if home else {}
    process = subprocess.Popen(
        [sys.executable, "-c", LISTEN], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline()), process.pid
    finally:
        process.communicate("\n")


def dagster_port(home: Path, port: int) -> Finding:
    settings = Settings.read({"CARSDEPO_DAGSTER_PORT": str(port)}, home=home)
    return next(f for f in examine(settings) if f.what == f"port {port} (Dagster)")


def test_the_ports_of_ones_own_dev_are_no_fault(tmp_path: Path) -> None:
    with listening(tmp_path) as (port, pid):
        finding = dagster_port(tmp_path, port)
    assert finding.ok
    assert finding.value.startswith(f"in use by this installation, process {pid}")


@pytest.mark.parametrize("other", [None, "another"])
def test_a_port_of_somebody_else_is_named(tmp_path: Path, other: str | None) -> None:
    with listening(tmp_path / other if other else None) as (port, pid):
        finding = dagster_port(tmp_path, port)
    assert not finding.ok
    assert f"process {pid}" in finding.value
    assert "CARSDEPO_DAGSTER_PORT" in finding.advice


def test_a_free_port_is_free(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
    assert dagster_port(tmp_path, port) == Finding(f"port {port} (Dagster)", "free", True)


@pytest.mark.parametrize(
    ("count", "is_ok", "says"),
    [
        ("0", True, "its dead-letter queue arn:aws:sqs:eu-west-1:123456789012:dead is empty"),
        ("7", False, "7 messages are in its dead-letter queue arn:aws:sqs:eu-west-1:123456789012:dead"),
        ("7", False, "start-message-move-task --source-arn arn:aws:sqs:eu-west-1:123456789012:dead"),
        (None, True, "could not be counted"),
    ],
)
def test_dead_letters_are_counted(
    count: str | None, is_ok: bool, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = "arn:aws:sqs:eu-west-1:123456789012:dead"
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 5})

    def attributes(QueueUrl: str, AttributeNames: list[str]) -> dict[str, dict[str, str]]:
        if not QueueUrl.endswith("/dead"):
            return {"Attributes": {"ApproximateNumberOfMessages": "3", "RedrivePolicy": policy}}
        assert QueueUrl == f"{QUEUE.rpartition('/')[0]}/dead"
        if count is None:
            raise EndpointConnectionError(endpoint_url=QUEUE)
        return {"Attributes": {"ApproximateNumberOfMessages": count}}

    queue = SimulatedQueue()
    monkeypatch.setattr(queue, "get_queue_attributes", attributes)
    monkeypatch.setattr(doctor, "MessageQueue", partial(MessageQueue, client=queue))
    settings = Settings.read({**S3, "CARSDEPO_UPLOADS_QUEUE": QUEUE}, home=tmp_path)
    [finding] = [f for f in examine(settings) if f.what.startswith("events of")]
    assert finding.ok is is_ok
    assert says in f"{finding.value} {finding.advice}"


@pytest.mark.parametrize(
    ("attributes", "is_ok", "says"),
    [
        ({}, False, "has no dead-letter queue"),
        (None, False, "CARSDEPO_UPLOADS_QUEUE"),
    ],
)
def test_a_queue_is_asked_whether_it_answers_and_keeps_what_cannot_be_read(
    attributes: dict[str, str] | None, is_ok: bool, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = SimulatedQueue()
    queue.attributes = attributes or {}
    if attributes is None:
        refusal = EndpointConnectionError(endpoint_url=QUEUE)
        monkeypatch.setattr(queue, "get_queue_attributes", Mock(side_effect=refusal))
    monkeypatch.setattr(doctor, "MessageQueue", partial(MessageQueue, client=queue))
    settings = Settings.read({**S3, "CARSDEPO_UPLOADS_QUEUE": QUEUE}, home=tmp_path)
    [finding] = [f for f in examine(settings) if f.what.startswith("events of")]
    assert finding.ok is is_ok
    assert says in f"{finding.value} {finding.advice}"


SAGEMAKER = """
[sagemaker]
image = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/carsdepo-worker:1"
role = "arn:aws:iam::123456789012:role/carsdepo-jobs"
bucket = "carsdepo-jobs"
"""
S3 = {"CARSDEPO_LAKE": "s3://carsdepo/lake"}
SERVER = {"CARSDEPO_MLFLOW": "http://mlflow.example:5000"}


@pytest.mark.parametrize(
    ("text", "env", "says"),
    [
        (f'place = "sagemaker"{SAGEMAKER}', S3 | SERVER, ""),
        (f'place = "sagemaker"{SAGEMAKER}', SERVER, "set CARSDEPO_LAKE=s3://"),
        (f'place = "sagemaker"{SAGEMAKER}', S3, "set CARSDEPO_MLFLOW to its URL"),
        (f'by_asset = {{evaluation = "sagemaker"}}{SAGEMAKER}', S3, ""),  # an evaluation logs nothing itself
        (f'by_asset = {{evalaution = "sagemaker"}}{SAGEMAKER}', S3, "is evaluation meant?"),
        ('place = "moon"', {}, "'moon' is no place"),
    ],
)
def test_a_wrong_compute_file_is_found(text: str, env: dict[str, str], says: str, tmp_path: Path) -> None:
    file = tmp_path / "compute.toml"
    file.write_text(text)
    settings = Settings.read({"CARSDEPO_COMPUTE": str(file), **env}, home=tmp_path / "home")
    [finding] = [f for f in examine(settings) if f.what == "where jobs run"]
    assert finding.ok == (not says)
    assert says in f"{finding.value} {finding.advice}"
