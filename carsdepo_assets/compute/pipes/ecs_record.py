"""Remembers on S3 which tasks a job has had, so that another process can go on with it.

ECS names a task only after it was started and forgets it an hour after its end, and ListTasks shows stopped tasks only
by chance when it is asked by startedBy.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import dagster as dg

RECORD_FILE = "tasks.json"

Over = Literal["interrupted", "no capacity", "failed", "taken"]


@dataclass
class TaskEntry:
    """A task of a job."""

    arn: str
    provider: str | None
    """Name of the capacity provider that it was asked of."""
    round: int
    """Tasks of one round go on from one another's checkpoint and share their messages' prefix."""
    over: Over | None = None
    """How it ended; `taken`: well, and its report was taken; None: not known yet."""
    ran_s: float = 0.0
    """Seconds for which it ran; known once it has stopped."""
    paid_s: float = 0.0
    """Seconds that are charged, as ecs_ending.paid_s counts them."""


@dataclass
class TaskRecord:
    """A job's tasks, oldest first."""

    tasks: list[TaskEntry] = field(default_factory=list)

    @property
    def last(self) -> TaskEntry | None:
        """The newest task."""
        return self.tasks[-1] if self.tasks else None

    def round(self) -> int:
        """The round to which the next task belongs: a new one after an end that was no interruption."""
        if self.last is None:
            return 1
        return self.last.round + (self.last.over in ("failed", "taken"))


class RecordStore:
    """Keeps a job's record at `<prefix>/tasks.json`.

    Args:
        client: a boto3 S3 client.
        bucket: the bucket's name.
        prefix: key prefix of the job, without a slash at its end.
    """

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        self._client, self._bucket, self._key = client, bucket, f"{prefix}/{RECORD_FILE}"

    def read(self) -> TaskRecord:
        """The record; an empty one where there is none.

        Raises:
            dagster.Failure: it is no record. Without it, the messages of an earlier task could count as this one's.
        """
        try:
            body = self._client.get_object(Bucket=self._bucket, Key=self._key)["Body"].read()
        except self._client.exceptions.NoSuchKey:
            return TaskRecord()
        try:
            return TaskRecord([TaskEntry(**entry) for entry in json.loads(body)["tasks"]])
        except (ValueError, TypeError, KeyError) as error:
            folder = self._key.rpartition("/")[0]
            raise dg.Failure(
                f"s3://{self._bucket}/{self._key} is no record of a job's tasks ({error}), so that it is not known "
                "whether one of them runs. Look at the cluster's tasks (aws ecs list-tasks --started-by "
                f"{folder.rpartition('/')[2]}), stop one that runs, delete s3://{self._bucket}/{folder}/ and run "
                "again.",
                allow_retries=False,
            ) from error

    def write(self, record: TaskRecord) -> None:
        """Stores the record in place of the one before it."""
        body = json.dumps(asdict(record), indent=1).encode()
        self._client.put_object(Bucket=self._bucket, Key=self._key, Body=body, ContentType="application/json")
