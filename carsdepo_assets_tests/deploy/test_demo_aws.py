"""deploy/demo_aws: the parts that need no emulator: what a task's variables become, faults, the sample, the lists."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from carsdepo_assets.policy_layers import Layer, load_policy
from deploy.aws.templates import template
from deploy.demo_aws import __main__ as demo_aws
from deploy.demo_aws import leftovers
from deploy.demo_aws.account import split_secret
from deploy.demo_aws.checks import emf_lines
from deploy.demo_aws.closing import lines_of_unproved, unproved
from deploy.demo_aws.containers import NotingRunner, Pulled
from deploy.demo_aws.driving import Demo
from deploy.demo_aws.faults import FaultFailed, double_and_lose
from deploy.demo_aws.installation import compute_of, installed, write_policy
from deploy.demo_aws.sample import first_photographs
from deploy.emulators.sagemaker_runners import ContainerRunner, ProcessRunner, Runner

TASK = {
    "COMPUTE_TOML": 'place = "ecs"\n\n[ecs]\ncluster = "c"\n\n[sagemaker]\nimage = "i"\n',
    "ENDPOINTS_TOML": 'region = "eu-west-1"\n',
    "SIGNING_KEY": "private",
    "VERIFICATION_KEY": "public",
    "CARSDEPO_ENVIRONMENT": "aws",
    "CARSDEPO_LAKE": "s3://bucket1/lake",
    "CARSDEPO_PRODUCTION_URL": "",
    "DAGSTER_POSTGRES_HOST": "db",
}


def test_an_installation_is_what_a_task_gets(tmp_path: Path) -> None:
    variables = installed(tmp_path, TASK, "http://127.0.0.1:5000", "http://127.0.0.1:4566/live")
    assert variables["CARSDEPO_LAKE"] == "s3://bucket1/lake"
    assert variables["CARSDEPO_PRODUCTION_URL"] == "http://127.0.0.1:4566/live"
    assert not [name for name in variables if not name.startswith("CARSDEPO_")]
    assert Path(variables["CARSDEPO_SIGNING_KEY"]).read_text() == "private"
    assert Path(variables["CARSDEPO_SIGNING_KEY"]).stat().st_mode & 0o077 == 0
    compute = tomllib.loads(Path(variables["CARSDEPO_COMPUTE"]).read_text())
    assert (compute["place"], compute["sagemaker"]["poll_s"], compute["ecs"]["cluster"]) == ("sagemaker", 0.5, "c")


def test_the_templates_own_file_of_compute_can_be_changed() -> None:
    [container] = template("dagster")["Resources"]["RunTask"]["Properties"]["ContainerDefinitions"]
    [text] = [one["Value"]["Fn::Sub"][0] for one in container["Environment"] if one["Name"] == "COMPUTE_TOML"]
    assert 'place = "sagemaker"' in compute_of(text)
    with pytest.raises(ValueError, match="COMPUTE_TOML"):
        compute_of(text.replace('place = "ecs"', 'place = "local"'))


def test_the_policy_is_one_and_trains_ten_steps(tmp_path: Path) -> None:
    write_policy(tmp_path, reconcile_s=7.0)
    policy = load_policy((Layer(tmp_path / "carsdepo.toml", required=True),))
    assert (policy.training.steps, policy.data.reconcile_s, policy.release.approval) == (10, 7.0, "person")
    assert not policy.study.after_high_drift  # which the retraining would wait for


@pytest.mark.parametrize(
    ("value", "arn", "key"),
    [
        ("arn:aws:secretsmanager:eu-west-1:000000000000:secret:s-1", None, None),
        ("arn:aws:secretsmanager:eu-west-1:000000000000:secret:s-1:private::", None, "private"),
        ("carsdepo/demo/database:password::", "carsdepo/demo/database", "password"),
        ("carsdepo/demo/api-key", "carsdepo/demo/api-key", None),
    ],
)
def test_a_secret_of_a_task_is_taken_apart(value: str, arn: str | None, key: str | None) -> None:
    assert split_secret(value) == (arn or "arn:aws:secretsmanager:eu-west-1:000000000000:secret:s-1", key)


@dataclass
class Queue:
    """A queue of moto's with the events of some objects."""

    sqs: Any
    url: str

    def keys(self) -> list[str]:
        """The keys of the events that can be received now; they are taken out."""
        keys = []
        while messages := self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                keys.append(json.loads(message["Body"])["detail"]["object"]["key"])
                self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return sorted(keys)


@pytest.fixture
def queue() -> Iterator[Queue]:
    with mock_aws():
        sqs = boto3.client("sqs", "eu-west-1", aws_access_key_id="a", aws_secret_access_key="b")
        yield Queue(sqs, sqs.create_queue(QueueName="uploads")["QueueUrl"])


def filled(queue: Queue, *keys: str) -> list[str]:
    for key in keys:
        body = json.dumps({"detail": {"object": {"key": key}}})
        queue.sqs.send_message(QueueUrl=queue.url, MessageBody=body)
    return list(keys)


def test_one_event_comes_twice_and_another_not_at_all(queue: Queue) -> None:
    keys = filled(queue, "m.csv", *(f"{n}.txt" for n in range(12)), "a.jpg", "b.jpg", "c.jpg")
    doubled, lost = double_and_lose(queue.sqs, queue.url)
    assert {doubled, lost} < {"a.jpg", "b.jpg", "c.jpg"}
    assert doubled != lost
    keys.remove(lost)
    assert queue.keys() == sorted([*keys, doubled])  # nobody has to wait for a message


def test_too_few_events_are_left_as_they_are(queue: Queue) -> None:
    filled(queue, "a.jpg", "m.csv")
    with pytest.raises(FaultFailed, match="no two events"):
        double_and_lose(queue.sqs, queue.url, wait_s=0)
    assert queue.keys() == ["a.jpg", "m.csv"]


def test_the_sample_is_the_first_photographs_of_the_demos(tmp_path: Path) -> None:
    for part, suffix in (("images", ".jpg"), ("labels", ".txt")):
        (tmp_path / "rendered" / part).mkdir(parents=True)
        for name in ("c", "a", "b"):
            (tmp_path / "rendered" / part / f"{name}{suffix}").write_text(f"{part} of {name}")
    (tmp_path / "rendered" / "manifest.csv").write_text('file,group\nc.jpg,1\na.jpg,"1, 2"\nb.jpg,3\n')
    (tmp_path / "rendered" / "classes.txt").write_text("scratch\n")
    (tmp_path / "rendered" / ".complete").touch()
    assert not first_photographs(tmp_path / "rendered", tmp_path / "copied", 2)
    rendered, copied = tmp_path / "rendered", tmp_path / "copied"
    lines = (rendered / "manifest.csv").read_text().splitlines()
    assert (copied / "manifest.csv").read_text().splitlines() == lines[:3]
    for name in [line.partition(",")[0] for line in lines[1:3]]:
        assert (copied / "images" / name).read_bytes() == (rendered / "images" / name).read_bytes()
        label = Path(name).with_suffix(".txt").name
        assert (copied / "labels" / label).read_bytes() == (rendered / "labels" / label).read_bytes()
    assert len(list((copied / "images").iterdir())) == 2
    assert not first_photographs(tmp_path / "none", copied, 2)


def test_lines_of_metrics_are_counted_among_others(tmp_path: Path) -> None:
    line = json.dumps({"_aws": {"CloudWatchMetrics": [{"Namespace": "Carsdepo"}]}, "DriftShare": 1.0})
    (tmp_path / "log").write_text(f'{{"other": 1}}\n{line}\nsaid "_aws"\n{line}\n')
    assert emf_lines(tmp_path / "log") == 2


def test_the_closing_list_is_the_files_with_how_jobs_ran() -> None:
    lines = lines_of_unproved(["As processes."])
    assert [line.partition(":")[0].removeprefix("- ") for line in lines[1:-1]] == [what for what, _ in unproved()]
    assert lines[-1].endswith("As processes.")
    assert {"Permissions", "Capacity and quotas", "Times", "Data capture"} <= {what for what, _ in unproved()}


@pytest.mark.parametrize("kind", [ContainerRunner, ProcessRunner, NotingRunner, Pulled])
def test_every_runner_does_what_the_emulator_asks(kind: type) -> None:
    """One that lacks a call fails within a request, which SageMaker's clients repeat for an hour."""
    asked = {name for name in vars(Runner) if not name.startswith("_")}
    assert {"start", "inside"} <= asked
    assert not [name for name in asked if not callable(getattr(kind, name, None))]


class Noted:
    """Notes what a runner is asked to start."""

    words = "noted"

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[str], dict[str, str]]] = []

    def start(self, image: str, command: Any, root: Path, variables: Any) -> Any:
        self.calls.append((image, list(command), dict(variables)))
        return object()

    def inside(self, root: Path) -> str:
        return f"within {root.name}"


def test_endpoints_and_jobs_run_by_their_own_images(tmp_path: Path) -> None:
    service, worker = Noted(), Noted()
    jobs = Pulled(worker, "localhost/worker:1", {"PYTHONPATH": "/packages"})
    runner = NotingRunner(service, jobs, ["so"], are_containers=True)
    registry = "0.dkr.ecr.eu-west-1.amazonaws.com/demo"
    runner.start(f"{registry}/carsdepo-service:1.0", ["serve"], tmp_path, {"A": "1"})
    runner.start(f"{registry}/carsdepo-worker:1.0", ["train"], tmp_path, {"A": "1"})
    assert service.calls == [(f"{registry}/carsdepo-service:1.0", ["serve"], {"A": "1"})]
    assert worker.calls == [("localhost/worker:1", ["train"], {"A": "1", "PYTHONPATH": "/packages"})]
    assert [one.command for one in runner.started("train")] == [("train",)]
    assert runner.inside(Path("a/ml")) == "within ml"


@pytest.mark.slow
def test_what_a_killed_demo_left_is_ended_and_what_is_others_is_not(tmp_path: Path) -> None:
    sleeping = [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"]
    started = [
        subprocess.Popen(sleeping, env={**os.environ, leftovers.MARK: str(folder)}, stdout=subprocess.PIPE)
        for folder in (tmp_path, tmp_path / "another")
    ]
    try:
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()  # from now on its variables can be read
        assert leftovers.end_processes(tmp_path) == 1
        assert [process.poll() is None for process in started] == [False, True]
        assert leftovers.end_processes(tmp_path) == 0
    finally:
        for process in started:
            process.kill()
            process.communicate()


def test_the_temporary_folder_of_a_killed_demo_is_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    killed = leftovers.own_temporary_folder(tmp_path)
    killed.__enter__()
    earlier = Path(tempfile.gettempdir())
    (earlier / "ml").mkdir()
    tempfile.tempdir = str(tmp_path)  # another process, which knows nothing of it
    with leftovers.own_temporary_folder(tmp_path):
        assert not earlier.exists()
        now = Path(tempfile.gettempdir())
        assert now.is_dir()
    assert not now.exists()


@pytest.mark.parametrize("noted", ["", "/", "demo-aws-x", "\0"])
def test_nothing_else_is_removed_whatever_was_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noted: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo-aws-x").mkdir()
    (tmp_path / ".temporary").write_text(noted)
    with leftovers.own_temporary_folder(tmp_path):
        assert (tmp_path / "demo-aws-x").is_dir()


@pytest.mark.parametrize("is_file", [True, False])
def test_a_demo_that_cannot_start_says_why_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_file: bool
) -> None:
    def full(*_: object, **__: object) -> Demo:
        raise OSError(errno.ENOSPC, "No space left on device")

    folder = tmp_path / "demo"
    if is_file:
        folder.touch()
    monkeypatch.setattr(demo_aws, "run", full)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    monkeypatch.setattr(sys, "argv", ["demo", "--folder", str(folder)])
    assert demo_aws.main() == 1
    said = capsys.readouterr().err
    assert ("cannot hold the demo's state" if is_file else "OSError: [Errno 28] No space left on device") in said
    assert "Traceback" not in said
