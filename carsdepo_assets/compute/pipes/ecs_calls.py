"""The calls to Amazon ECS that a job needs, with AWS's answers sorted by what to do next."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import dagster as dg

from carsdepo_assets.compute.pipes.aws_calls import AwsClients, CallFailed, PatientCalls
from carsdepo_assets.compute.pipes.aws_errors import code_of, explained, message_of, passes, trouble_of
from carsdepo_assets.compute.pipes.ecs_ending import lacks_capacity, lasts

T = TypeVar("T")


@dataclass(frozen=True)
class TaskLimits:
    """How often ECS is asked, and how long a job waits."""

    poll_s: float = 5.0
    """Seconds between two looks at a task at first, and after each change of its status."""
    poll_most_s: float = 30.0
    """Seconds to which the pause grows while nothing changes."""
    starts: int = 30
    """Rounds of RunTask over all capacity providers before the job fails; the pauses grow as above."""
    provisioning_s: float = 1800.0
    """Seconds a task may wait for a machine before the next capacity provider is tried."""
    patience_s: float = 3600.0
    """Seconds of throttling or network trouble after which the job is left to itself."""
    short_patience_s: float = 1200.0
    """The same for refused credentials and a wrong clock."""
    missing_polls: int = 5
    """Looks in a row at which ECS may not know the task: its answers are eventually consistent."""
    stop_s: float = 180.0
    """Seconds to wait for a task to stop: containers have up to 120 s after SIGTERM."""
    interruptions: int = 5
    """Machines that AWS may take back before the job fails."""


class NoMachine(Exception):
    """RunTask started nothing, since there is no machine at present."""


class NotNow(Exception):
    """RunTask started nothing, for a reason that may pass."""


class NotAtAll(dg.Failure):
    """RunTask started nothing, and asking again does not help."""


@dataclass(frozen=True)
class Seen:
    """A look at a task."""

    task: dict[str, Any] | None
    """As DescribeTasks returns it; None: ECS does not know the task."""
    at: datetime
    """By AWS's clock, which may differ from this machine's."""


class PollPause:
    """Pauses that grow by half, from one length to another."""

    def __init__(self, shortest_s: float, longest_s: float) -> None:
        self._shortest, self._longest, self._next = shortest_s, longest_s, shortest_s

    def reset(self) -> None:
        """The next pause is the shortest."""
        self._next = self._shortest

    def sleep(self, jitter: bool = False) -> None:
        """Sleeps; with `jitter` up to half longer, so that many jobs do not ask at the same time."""
        time.sleep(self._next * (random.uniform(1.0, 1.5) if jitter else 1.0))
        self._next = min(self._next * 1.5, self._longest)


class EcsCalls:
    """ECS as a job uses it.

    Args:
        clients: of AWS; renewed when credentials are refused.
        limits: how often ECS is asked.
        log: gets a line for each call that is tried again.
    """

    def __init__(self, clients: AwsClients, limits: TaskLimits, log: Callable[[str], None]) -> None:
        self._clients, self._client, self._limits = clients, clients.standing("ecs"), limits
        self.patiently = PatientCalls(clients, log, limits.poll_s, limits.patience_s, limits.short_patience_s)
        """Calls AWS about a job that goes on."""

    def run_task(self, request: Mapping[str, Any], token: str) -> str:
        """Starts a task; returns its ARN. The same token starts one task only.

        Raises:
            NoMachine: there is no machine at present.
            NotNow: throttled, refused credentials, or a failure that may pass.
            NotAtAll: a failure that stays.
        """
        try:
            answer = self._client.run_task(**request, clientToken=token)
        except Exception as error:
            if code_of(error) == "ConflictException" and (arns := getattr(error, "response", {}).get("resourceIds")):
                return str(arns[0])  # started by an earlier request with this token
            text = message_of(error)
            if lacks_capacity(text) or (code_of(error) == "ClientException" and "PROVISIONING" in text):
                raise NoMachine(text) from error
            if self._passes(error):
                raise NotNow(explained(error)) from error
            raise NotAtAll(f"ECS RunTask was refused. {explained(error)}", allow_retries=False) from error
        if answer.get("tasks"):
            return str(answer["tasks"][0]["taskArn"])
        reasons = [
            " ".join(filter(None, (f.get("reason"), f.get("detail"), f.get("arn")))) for f in answer.get("failures", [])
        ] or ["RunTask named neither a task nor a failure"]
        text = "; ".join(reasons)
        if any(map(lacks_capacity, reasons)):
            raise NoMachine(text)
        if any(map(lasts, reasons)):
            raise NotAtAll(f"ECS RunTask started no task: {text}.", allow_retries=False)
        raise NotNow(text)

    def look(self, cluster: str, arn: str) -> Seen:
        """Looks at a task once."""
        answer = self._client.describe_tasks(cluster=cluster, tasks=[arn])
        tasks = answer.get("tasks") or []
        return Seen(tasks[0] if tasks else None, _aws_time(answer))

    def under_way(self, cluster: str, started_by: str) -> list[str]:
        """ARNs of the tasks with this startedBy that ECS wants to run; no other filter may go with it."""
        pages = self._client.get_paginator("list_tasks").paginate(cluster=cluster, startedBy=started_by)
        return [arn for page in pages for arn in page.get("taskArns", ())]

    def containers(self, task_definition: str) -> dict[str, dict[str, Any]]:
        """Definitions of a task definition's containers by name."""
        answer = self._client.describe_task_definition(taskDefinition=task_definition)
        return {c["name"]: c for c in answer["taskDefinition"]["containerDefinitions"]}

    def stop(self, cluster: str, arn: str, reason: str) -> dict[str, Any] | None:
        """Stops a task and waits until it has stopped, but no longer than TaskLimits.stop_s.

        Returns:
            The stopped task, or None: it could not be seen to have stopped.
        """
        end = time.monotonic() + self._limits.stop_s
        asked = False
        while True:
            try:
                if not asked:
                    self._client.stop_task(cluster=cluster, task=arn, reason=reason[:255])
                    asked = True
                seen = self.look(cluster, arn)
                if seen.task is not None and seen.task.get("lastStatus") == "STOPPED":
                    return seen.task
            except Exception as error:
                if not self._passes(error):
                    return None
            if time.monotonic() > end:
                return None
            time.sleep(self._limits.poll_s)

    def asked_first(self, what: str, ask: Callable[[], T]) -> T:
        """What has to be known before a task may start.

        Args:
            what: is asked, in words, such as "describe task definition trainer".
            ask: calls AWS.

        Raises:
            dagster.Failure: AWS refused, or did not answer in TaskLimits.patience_s; the text says why.
        """
        try:
            return self.patiently(what, ask, at_once=True)
        except CallFailed as error:
            raise dg.Failure(str(error), allow_retries=False) from error

    def _passes(self, error: Exception) -> bool:
        """Whether the same call may succeed later; refused credentials are read anew for it."""
        trouble = trouble_of(error)
        if trouble == "credentials":
            self._clients.renew()
        return passes(trouble)


def _aws_time(answer: Mapping[str, Any]) -> datetime:
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    try:
        at = parsedate_to_datetime(str(date))
    except ValueError:  # none, or none that can be read
        return datetime.now(UTC)
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
