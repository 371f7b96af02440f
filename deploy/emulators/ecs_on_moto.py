"""ECS for tests: moto's server, whose tasks run as processes, with AWS's refusals on command.

moto keeps clusters, task definitions and capacity providers; its own tasks run nothing and end after a few looks, so
the four calls about tasks are answered here. It rests on moto's internals: a canary test names what broke when they
move. Limits of RunTask, idempotency by clientToken and the filters of ListTasks follow the pages "RunTask", "ListTasks"
and "Ensuring idempotency" of the ECS API Reference and Developer Guide; the texts of refusals are those of "API failure
reasons", or as people report them, and unproved here.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult
from moto.ecs.responses import EC2ContainerServiceResponse
from moto.moto_api._internal import moto_api_backend
from moto.server import ThreadedMotoServer

from deploy.emulators.ecs_tasks import EmulatedTask, TaskRunner, new_arn

REGION = "eu-west-1"
SIGNATURE_VALID = timedelta(minutes=5)  # page "Troubleshooting AWS API errors" of the IAM User Guide
NO_CAPACITY = "Capacity is unavailable at this time. Please try again later or in a different availability zone"
OPERATIONS = ("run_task", "describe_tasks", "list_tasks", "stop_task")

Answer = Callable[[dict[str, Any]], dict[str, Any]]


def error(code: str, text: str) -> Answer:
    """An answer that is an error, such as error("ThrottlingException", "Rate exceeded")."""

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        raise ServiceException(code, text)

    return answer


def failures(*reasons: str) -> Answer:
    """An answer of RunTask that names failures only."""
    return lambda request: {"tasks": [], "failures": [{"reason": r, "arn": request["taskDefinition"]} for r in reasons]}


class EcsOnMoto:
    """An ECS endpoint with S3 beside it, in this process; used as a context manager, one at a time.

    Args:
        folder: for the output of tasks.
        images: entrypoint by image.
    """

    def __init__(self, folder: Path, images: Mapping[str, Sequence[str]]) -> None:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._originals = {name: getattr(EC2ContainerServiceResponse, name) for name in OPERATIONS}
        self.runner = TaskRunner(folder, images, {})
        self.calls: list[tuple[str, dict[str, Any]]] = []
        """Operation and request of each call about tasks, in order."""
        self.without_capacity: set[str] = set()
        """Capacity providers that have no machine."""
        self.expired_keys: set[str] = set()
        """Access keys whose session has ended."""
        self.clock_ahead: timedelta = timedelta()
        """How far AWS's clock is ahead of this machine's."""
        self.lost_answers: deque[str] = deque()
        """Operations whose next call is carried out, and whose answer does not arrive."""
        self._next: dict[str, deque[Answer]] = {name: deque() for name in OPERATIONS}
        self._tokens: dict[str, tuple[str, str]] = {}

    def __enter__(self) -> EcsOnMoto:
        moto_api_backend.reset()  # moto keeps its accounts for the whole process
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.url = f"http://{host}:{port}"
        self.variables = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "TASKROLE",
            "AWS_SECRET_ACCESS_KEY": "emulated",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ALLOW_HTTP": "true",  # obstore's clients ask for it
        }
        keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        self.runner.environment = {**keep, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **self.variables}
        for name in OPERATIONS:
            setattr(EC2ContainerServiceResponse, name, self._handler(name))
        return self

    def __exit__(self, *exception: object) -> None:
        for name, original in self._originals.items():
            setattr(EC2ContainerServiceResponse, name, original)
        self.runner.close()
        self._server.stop()

    def client(self, service: str, key: str = "STEP", **options: Any) -> Any:
        """A boto3 client of this account.

        Args:
            service: such as `ecs` or `s3`.
            key: its access key.
            **options: further ones of boto3.client.
        """
        import boto3

        options = {"region_name": REGION, **options}
        return boto3.client(
            service, endpoint_url=self.url, aws_access_key_id=key, aws_secret_access_key="emulated", **options
        )

    def answer(self, operation: str, answer: Answer, times: int = 1) -> None:
        """The next calls of an operation get this answer.

        Args:
            operation: one of OPERATIONS.
            answer: as of `error` or `failures`.
            times: how many calls.
        """
        self._next[operation].extend([answer] * times)

    def tasks(self) -> list[EmulatedTask]:
        """All tasks, oldest first."""
        return list(self.runner.tasks.values())

    def interrupt(self, task: EmulatedTask) -> None:
        """Takes a spot machine back: page "Amazon ECS clusters for Fargate", section on Fargate Spot termination."""
        self.runner.stop(task, "SpotInterruption", "Your Spot Task was interrupted.")

    def count(self, operation: str) -> int:
        """How often an operation was called."""
        return sum(name == operation for name, _ in self.calls)

    def _handler(self, operation: str) -> Callable[[Any], ActionResult | tuple[int, dict[str, Any], str]]:
        emulated = self
        do = getattr(self, f"_{operation}")

        def handle(response: Any) -> ActionResult | tuple[int, dict[str, Any], str]:
            request = json.loads(response.body)
            emulated.calls.append((operation, request))
            queued = emulated._next[operation]
            try:
                emulated._check_caller(response.headers)
                answer = queued.popleft()(request) if queued else do(response.ecs_backend, request)
                if operation in emulated.lost_answers:
                    emulated.lost_answers.remove(operation)
                    raise ServiceException("ServerException", "The answer was lost.")
                return ActionResult(answer)
            except ServiceException as refusal:  # moto's own way knows only the errors in an operation's model
                more = {k: v for k, v in vars(refusal).items() if k == "resourceIds"}
                body = json.dumps({"__type": refusal.code, "message": refusal.message, **more})
                return 400, {"status": 400, "x-amzn-ErrorType": refusal.code}, body

        return handle

    def _check_caller(self, headers: Mapping[str, str]) -> None:
        key = re.search(r"Credential=([^/]+)/", headers.get("Authorization", ""))
        if key and key[1] in self.expired_keys:
            raise ServiceException("ExpiredTokenException", "The security token included in the request is expired")
        signed = datetime.strptime(headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        now = datetime.now(UTC) + self.clock_ahead
        if signed < now - SIGNATURE_VALID:
            earliest = now - SIGNATURE_VALID
            text = f"Signature expired: {signed:%Y%m%dT%H%M%SZ} is now earlier than {earliest:%Y%m%dT%H%M%SZ}"
            raise ServiceException("InvalidSignatureException", text)

    def _run_task(self, backend: Any, request: dict[str, Any]) -> dict[str, Any]:
        request = dict(request)
        token = request.pop("clientToken", "")
        content = json.dumps(request, sort_keys=True)
        if token in self._tokens:
            before, arn = self._tokens[token]
            if before != content:
                conflict = ServiceException("ConflictException", "The clientToken is already in use.")
                conflict.resourceIds = [arn]  # type: ignore[attr-defined]
                raise conflict
            return {"tasks": [self.runner.tasks[arn].shown()], "failures": []}
        _check_limits(request, token)
        cluster = backend._get_cluster(request.get("cluster", "default"))
        definition = backend.describe_task_definition(request["taskDefinition"])
        strategy = request.get("capacityProviderStrategy") or [{}]
        provider = strategy[0].get("capacityProvider")
        if provider in self.without_capacity:
            return failures(NO_CAPACITY)(request)
        container = next(c for c in definition.container_definitions if c.get("essential", True))
        override = next(
            (o for o in request.get("overrides", {}).get("containerOverrides", []) if o["name"] == container["name"]),
            {},
        )
        task = EmulatedTask(
            arn=new_arn(REGION, cluster.name),
            cluster_arn=cluster.arn,
            definition_arn=definition.arn,
            container=container["name"],
            image=container["image"],
            request=request,
            provider=provider,
            stop_timeout_s=float(container.get("stopTimeout", 30)),
        )
        logs = container.get("logConfiguration", {}).get("options", {})
        if "awslogs-group" in logs:
            stream = f"{logs['awslogs-stream-prefix']}/{task.container}/{task.arn.rpartition('/')[2]}"
            task.keep_output = lambda text: self._keep_lines(logs["awslogs-group"], stream, text)
        if token:
            self._tokens[token] = (content, task.arn)
        command = override.get("command") or container.get("command") or []
        self.runner.start(task, command, lambda: self._variables(container, override))
        return {"tasks": [task.shown()], "failures": []}

    def _describe_tasks(self, backend: Any, request: dict[str, Any]) -> dict[str, Any]:
        backend._get_cluster(request.get("cluster", "default"))
        here = [self.runner.tasks[arn].shown() for arn in request["tasks"] if arn in self.runner.tasks]
        gone = [{"arn": arn, "reason": "MISSING"} for arn in request["tasks"] if arn not in self.runner.tasks]
        return {"tasks": here, "failures": gone}

    def _list_tasks(self, backend: Any, request: dict[str, Any]) -> dict[str, Any]:
        others = set(request) - {"cluster", "startedBy", "maxResults", "nextToken"}
        if "startedBy" in request and others:
            raise ServiceException("InvalidParameterException", "startedBy must be the only filter.")
        wanted = request.get("desiredStatus", "RUNNING")
        chosen = [t.arn for t in self.tasks() if t.wanted == wanted]
        if "startedBy" in request:
            chosen = [arn for arn in chosen if self.runner.tasks[arn].request.get("startedBy") == request["startedBy"]]
        return {"taskArns": chosen}

    def _stop_task(self, backend: Any, request: dict[str, Any]) -> dict[str, Any]:
        task = self.runner.tasks.get(request["task"])
        if task is None:
            raise ServiceException("InvalidParameterException", "The referenced task was not found.")
        self.runner.stop(task, "UserInitiated", request.get("reason", "Task stopped by user"))
        return {"task": task.shown()}

    def _keep_lines(self, group: str, stream: str, text: str) -> None:
        """What the awslogs driver does: the group must be there, the stream is made."""
        client = self.client("logs")
        client.create_log_stream(logGroupName=group, logStreamName=stream)
        now = int(datetime.now(UTC).timestamp() * 1000)
        events = [{"timestamp": now, "message": line} for line in text.splitlines() if line]
        if events:
            client.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events[-500:])

    def _variables(self, container: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, str]:
        """Of a container: files, then the definition's own, then the override's."""
        variables: dict[str, str] = {}
        for file in override.get("environmentFiles") or container.get("environmentFiles") or []:
            bucket, _, key = file["value"].rpartition(":::")[2].partition("/")
            body = self.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read().decode()
            lines = [line for line in body.splitlines() if line and not line.startswith("#")]
            variables |= {name: value for name, _, value in (line.partition("=") for line in lines)}
        for entry in [*container.get("environment", []), *override.get("environment", [])]:
            variables[entry["name"]] = entry["value"]
        return variables


def _check_limits(request: Mapping[str, Any], token: str) -> None:
    if len(json.dumps(request.get("overrides", {}))) > 8192:
        raise ServiceException("InvalidParameterException", "Container Overrides length must be at most 8192")
    if not re.fullmatch(r"[A-Za-z0-9/_-]{0,128}", request.get("startedBy", "")):
        raise ServiceException("InvalidParameterException", "startedBy is longer than 128 or has other characters.")
    if len(token) > 64:
        raise ServiceException("InvalidParameterException", "clientToken is longer than 64.")
    if request.get("launchType") and request.get("capacityProviderStrategy"):
        raise ServiceException("InvalidParameterException", "Specify a launch type or a strategy, but not both.")
    for tag in request.get("tags", []):
        if len(tag["key"]) > 128 or len(tag["value"]) > 256:
            raise ServiceException("InvalidParameterException", f"The tag {tag['key'][:40]} is too long.")
