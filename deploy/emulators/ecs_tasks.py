"""Emulated ECS tasks: each runs its container's command as a process of this machine.

It keeps what the Amazon ECS pages say of tasks, for tests without AWS; what is emulated by ourselves proves nothing
about AWS. Pages of the ECS Developer Guide and API Reference, by title: "Amazon ECS task lifecycle" (statuses),
"StopTask" (SIGTERM, then SIGKILL after stopTimeout), "Task" (stop codes), "Stopped tasks error codes" (reasons), "Pass
environment variables to an Amazon ECS container" (environment files), "Amazon ECS API failure reasons".
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

STOP_TIMEOUT_S = 30.0  # page "ContainerDefinition": the default between SIGTERM and SIGKILL


@dataclass
class EmulatedTask:
    """A task, with the process of its essential container."""

    arn: str
    cluster_arn: str
    definition_arn: str
    container: str
    image: str
    request: dict[str, Any]
    provider: str | None
    stop_timeout_s: float = STOP_TIMEOUT_S
    status: str = "PROVISIONING"
    wanted: str = "RUNNING"
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    started: datetime | None = None
    stopped: datetime | None = None
    exit_code: int | None = None
    reason: str = ""
    stop_code: str = ""
    stopped_reason: str = ""
    keeps_exit_code: bool = True
    keep_output: Callable[[str], None] | None = None
    """Gets what the container wrote, when it has ended: its log driver."""
    process: subprocess.Popen[bytes] | None = None
    changed: threading.Condition = field(default_factory=threading.Condition)

    def shown(self) -> dict[str, Any]:
        """As DescribeTasks shows it."""
        container: dict[str, Any] = {
            "name": self.container,
            "image": self.image,
            "lastStatus": self.status,
            "taskArn": self.arn,
            "containerArn": f"{self.arn}/{self.container}",
        }
        if self.exit_code is not None and self.keeps_exit_code:
            container["exitCode"] = self.exit_code
        if self.reason:
            container["reason"] = self.reason
        task: dict[str, Any] = {
            "taskArn": self.arn,
            "clusterArn": self.cluster_arn,
            "taskDefinitionArn": self.definition_arn,
            "containers": [container],
            "lastStatus": self.status,
            "desiredStatus": self.wanted,
            "startedBy": self.request.get("startedBy", ""),
            "overrides": self.request.get("overrides", {}),
            "tags": self.request.get("tags", []) if self.wanted == "RUNNING" else [],  # page "StopTask": tags go
            "createdAt": self.created,
        }
        times = {"startedAt": self.started, "pullStartedAt": self.started, "stoppedAt": self.stopped}
        task |= {name: at for name, at in times.items() if at is not None}
        texts = {
            "stopCode": self.stop_code,
            "stoppedReason": self.stopped_reason,
            "capacityProviderName": self.provider,
        }
        return task | {name: text for name, text in texts.items() if text}


class TaskRunner:
    """Starts tasks as processes and ends them.

    Args:
        folder: for the processes' output, a file a task.
        images: entrypoint by image; a task whose image is missing here cannot pull it.
        environment: what a container of this account has from its role and network: credentials and endpoints.
    """

    def __init__(self, folder: Path, images: Mapping[str, Sequence[str]], environment: Mapping[str, str]) -> None:
        self.images = dict(images)
        self.environment = dict(environment)
        self.stuck_providers: set[str | None] = set()
        """Capacity providers whose tasks stay PROVISIONING: no machine comes."""
        self.tasks: dict[str, EmulatedTask] = {}
        self._folder = folder
        self._threads: list[threading.Thread] = []

    def start(self, task: EmulatedTask, command: Sequence[str], variables: Callable[[], Mapping[str, str]]) -> None:
        """Starts a task in the background.

        Args:
            task: the task; it is PROVISIONING.
            command: arguments of the image's entrypoint.
            variables: of the container; asked when the container starts.
        """
        self.tasks[task.arn] = task
        thread = threading.Thread(target=self._run, args=(task, list(command), variables), daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self, task: EmulatedTask, stop_code: str, reason: str) -> None:
        """What StopTask, or AWS itself, does: SIGTERM, and SIGKILL after the stop timeout. Returns at once."""
        with task.changed:
            if task.wanted == "STOPPED":
                return
            task.wanted, task.stop_code, task.stopped_reason = "STOPPED", stop_code, reason
            process = task.process
            if task.status == "RUNNING":
                task.status = "STOPPING"
            task.changed.notify_all()
        if process is not None and process.poll() is None:
            _signal(process, signal.SIGTERM)
            threading.Timer(task.stop_timeout_s, _signal, (process, signal.SIGKILL)).start()

    def kill_for_memory(self, task: EmulatedTask) -> None:
        """What the kernel does to a container over its memory limit (page "Troubleshoot OutOfMemoryError errors")."""
        task.reason = "OutOfMemoryError: Container killed due to memory usage"
        assert task.process is not None
        _signal(task.process, signal.SIGKILL)

    def wait(self, task: EmulatedTask, *statuses: str, seconds: float = 120.0) -> None:
        """Waits until a task has one of the statuses.

        Raises:
            TimeoutError: it has none of them in time.
        """
        end = time.monotonic() + seconds
        with task.changed:
            while task.status not in statuses:
                if not task.changed.wait(end - time.monotonic()):
                    raise TimeoutError(f"{task.arn} is {task.status}, none of {statuses}.")

    def output(self, task: EmulatedTask) -> str:
        """What a task's process has written."""
        path = self._log(task)
        return path.read_text(errors="replace") if path.exists() else ""

    def close(self) -> None:
        """Kills what runs still."""
        for task in self.tasks.values():
            with task.changed:
                task.wanted = "STOPPED"
                task.changed.notify_all()
            if task.process is not None:
                _signal(task.process, signal.SIGKILL)
        for thread in self._threads:
            thread.join(10)

    def _run(self, task: EmulatedTask, command: list[str], variables: Callable[[], Mapping[str, str]]) -> None:
        with task.changed:
            while task.provider in self.stuck_providers and task.wanted == "RUNNING":
                task.changed.wait(0.05)
        if task.wanted == "STOPPED":
            self._stopped(task)
            return
        self._to(task, "PENDING")
        entrypoint = self.images.get(task.image)
        if entrypoint is None:
            self._failed_to_start(task, f"CannotPullContainerError: pull image manifest: {task.image}: not found")
            return
        try:
            environment = {**self.environment, **variables(), "TMPDIR": str(self._disk(task))}
        except Exception as error:
            self._failed_to_start(task, f"ResourceInitializationError: failed to download env files: {error}")
            return
        with self._log(task).open("wb") as log, task.changed:
            task.process = subprocess.Popen(
                [*entrypoint, *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            task.started = datetime.now(UTC)
        self._to(task, "RUNNING" if task.wanted == "RUNNING" else "STOPPING")
        code = task.process.wait()
        if task.keep_output is not None:
            task.keep_output(self.output(task))
        with task.changed:
            task.exit_code = code if code >= 0 else 128 - code
            if not task.stop_code:
                task.stop_code, task.stopped_reason = "EssentialContainerExited", "Essential container in task exited"
            if not task.keeps_exit_code:
                task.reason = "CannotInspectContainerError: Could not transition to inspecting"
        self._stopped(task)

    def _failed_to_start(self, task: EmulatedTask, reason: str) -> None:
        with task.changed:
            task.stop_code, task.stopped_reason, task.reason = "TaskFailedToStart", reason, reason.partition(":")[0]
        self._stopped(task)

    def _stopped(self, task: EmulatedTask) -> None:
        task.stopped, task.wanted = datetime.now(UTC), "STOPPED"
        self._to(task, "STOPPED")

    @staticmethod
    def _to(task: EmulatedTask, status: str) -> None:
        with task.changed:
            task.status = status
            task.changed.notify_all()

    def _disk(self, task: EmulatedTask) -> Path:
        """A container's own disk, which is gone with it: the next task of a job does not see it."""
        folder = self._folder / task.arn.rpartition("/")[2]
        folder.mkdir(exist_ok=True)
        return folder

    def _log(self, task: EmulatedTask) -> Path:
        return self._folder / f"{task.arn.rpartition('/')[2]}.log"


def new_arn(region: str, cluster: str) -> str:
    """An ARN for a task."""
    return f"arn:aws:ecs:{region}:123456789012:task/{cluster}/{uuid.uuid4().hex}"


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return
