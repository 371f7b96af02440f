"""deploy/emulators/ecs_on_moto.py: what it rests on in moto, and that it keeps what AWS's pages say."""

import sys
from collections.abc import Iterator
from pathlib import Path

import moto
import pytest
from botocore.exceptions import ClientError
from moto.core.exceptions import ServiceException
from moto.ecs.models import EC2ContainerServiceBackend
from moto.ecs.responses import EC2ContainerServiceResponse

from deploy.emulators.ecs_on_moto import OPERATIONS, EcsOnMoto
from deploy.emulators.ecs_tasks import EmulatedTask

pytestmark = pytest.mark.slow

SLEEP = [sys.executable, "-S", "-c", "import time; print('up', flush=True); time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-S",
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
]


def test_canary_what_the_emulator_takes_from_moto() -> None:
    """Names what is gone after an update of moto, so that nobody has to guess it from other tests."""
    gone = [
        f"EC2ContainerServiceResponse.{name}"
        for name in OPERATIONS
        if not callable(getattr(EC2ContainerServiceResponse, name, None))
    ]
    gone += [
        f"EC2ContainerServiceBackend.{name}"
        for name in ("_get_cluster", "describe_task_definition")
        if not callable(getattr(EC2ContainerServiceBackend, name, None))
    ]
    refusal = ServiceException("ThrottlingException", "Rate exceeded")
    if (getattr(refusal, "code", None), getattr(refusal, "message", None)) != ("ThrottlingException", "Rate exceeded"):
        gone.append("ServiceException.code and .message")
    assert not gone, f"moto {moto.__version__} lacks {', '.join(gone)}, on which deploy/emulators/ecs_on_moto.py rests."


@pytest.fixture
def ecs(tmp_path: Path) -> Iterator[EcsOnMoto]:
    with EcsOnMoto(tmp_path, {"sleep": SLEEP, "stubborn": STUBBORN}) as emulated:
        client = emulated.client("ecs")
        client.create_cluster(clusterName="c")
        for image, stop_timeout in (("sleep", 120), ("stubborn", 1)):
            container = {"name": "main", "image": image, "essential": True, "memory": 128, "stopTimeout": stop_timeout}
            client.register_task_definition(family=image, containerDefinitions=[container])
        yield emulated


def started(ecs: EcsOnMoto, image: str) -> EmulatedTask:
    arn = ecs.client("ecs").run_task(cluster="c", taskDefinition=image)["tasks"][0]["taskArn"]
    task = ecs.runner.tasks[arn]
    ecs.runner.wait(task, "RUNNING")
    while "up" not in ecs.runner.output(task):
        assert task.process is not None
        assert task.process.poll() is None
    return task


def test_stopping_sends_sigterm_and_keeps_the_exit_code(ecs: EcsOnMoto) -> None:
    task = started(ecs, "sleep")
    ecs.client("ecs").stop_task(cluster="c", task=task.arn, reason="enough")
    ecs.runner.wait(task, "STOPPED")
    [shown] = ecs.client("ecs").describe_tasks(cluster="c", tasks=[task.arn])["tasks"]
    assert (shown["stopCode"], shown["stoppedReason"]) == ("UserInitiated", "enough")
    assert shown["containers"][0]["exitCode"] == 143
    assert shown["startedAt"] <= shown["stoppedAt"]


def test_a_container_that_ignores_sigterm_is_killed_after_its_stop_timeout(ecs: EcsOnMoto) -> None:
    task = started(ecs, "stubborn")
    ecs.client("ecs").stop_task(cluster="c", task=task.arn)
    ecs.runner.wait(task, "STOPPED")
    assert task.exit_code == 137


def test_one_client_token_starts_one_task(ecs: EcsOnMoto) -> None:
    client = ecs.client("ecs")
    first = client.run_task(cluster="c", taskDefinition="sleep", clientToken="t")["tasks"][0]["taskArn"]
    assert client.run_task(cluster="c", taskDefinition="sleep", clientToken="t")["tasks"][0]["taskArn"] == first
    with pytest.raises(ClientError) as caught:
        client.run_task(cluster="c", taskDefinition="stubborn", clientToken="t")
    assert caught.value.response["Error"]["Code"] == "ConflictException"
    assert caught.value.response["resourceIds"] == [first]
    assert len(ecs.tasks()) == 1


def test_started_by_is_the_only_filter_and_shows_what_shall_run(ecs: EcsOnMoto) -> None:
    client = ecs.client("ecs")
    arn = client.run_task(cluster="c", taskDefinition="sleep", startedBy="job")["tasks"][0]["taskArn"]
    assert client.list_tasks(cluster="c", startedBy="job")["taskArns"] == [arn]
    with pytest.raises(ClientError, match="only filter"):
        client.list_tasks(cluster="c", startedBy="job", desiredStatus="STOPPED")
    client.stop_task(cluster="c", task=arn)
    assert client.list_tasks(cluster="c", startedBy="job")["taskArns"] == []


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"startedBy": "x" * 129}, "startedBy"),
        ({"startedBy": "a b"}, "startedBy"),
        ({"tags": [{"key": "k", "value": "v" * 257}]}, "too long"),
        ({"overrides": {"containerOverrides": [{"name": "main", "command": ["x" * 8192]}]}}, "at most 8192"),
    ],
)
def test_requests_over_awss_limits_are_refused(request_: dict, says: str, ecs: EcsOnMoto) -> None:
    with pytest.raises(ClientError, match=says):
        ecs.client("ecs").run_task(cluster="c", taskDefinition="sleep", **request_)
    assert not ecs.tasks()
