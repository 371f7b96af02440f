"""Exchanges Dagster Pipes messages through an S3 prefix that a later process can read again.

dagster-aws's S3 reader draws a random prefix and polls in a thread. Here the prefix is the job's, so that a run can
take up the job of a run whose process died; the client that waits for the job asks for new messages itself, so that
AWS is asked no more often than the client says; and a container that is started again within the same job (managed
spot) writes to a folder of its own, since its chunks are numbered from 1 again.

Keys below the prefix: `context.json`, and `messages/<incarnation>/<n>.json`, where n counts from 1.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dagster import PipesContextInjector, PipesMessageReader
from dagster._check import CheckError
from dagster._core.errors import DagsterInvariantViolationError, DagsterPipesExecutionError
from dagster._core.pipes.client import PipesParams
from dagster._core.pipes.context import PipesMessageHandler
from dagster_pipes import PIPES_PROTOCOL_VERSION_FIELD, PipesContextData

CONTEXT_FILE = "context.json"
MESSAGES_FOLDER = "messages"
# What Dagster raises of a message that it cannot use; other exceptions are its storage's, and the message comes again.
_UNUSABLE = (
    CheckError, DagsterPipesExecutionError, DagsterInvariantViolationError, KeyError, TypeError, ValueError,
    AttributeError,
)  # fmt: skip


class S3PrefixContextInjector(PipesContextInjector):
    """Stores the Pipes context at `<prefix>/context.json` and leaves it there, for containers that start again.

    Args:
        client: a boto3 S3 client.
        bucket: the bucket's name.
        prefix: key prefix of the job, without a slash at its end.
    """

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        self._client, self._bucket, self._prefix = client, bucket, prefix

    @contextmanager
    def inject_context(self, context: PipesContextData) -> Iterator[PipesParams]:
        """Stores the context; yields where it is."""
        key = f"{self._prefix}/{CONTEXT_FILE}"
        self._client.put_object(Bucket=self._bucket, Key=key, Body=json.dumps(context).encode())
        yield {"bucket": self._bucket, "key": key}

    def no_messages_debug_text(self) -> str:
        """What Dagster adds to its warning when no message came."""
        return f"The context is at s3://{self._bucket}/{self._prefix}/{CONTEXT_FILE}."


@dataclass
class _Incarnation:
    """One container of a job."""

    started: datetime
    """When its first chunk was stored, by S3's clock."""
    chunks: dict[int, str] = field(default_factory=dict)
    """Key by number."""
    relayed: int = 0
    """Number of the last chunk that was relayed."""
    closed: dict[str, Any] | None = None
    """Its last message, which is held back until the job has ended."""
    reports: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What it reported of assets, by content; held back too."""

    @property
    def complete(self) -> bool:
        """Whether it closed its channel without an exception."""
        return self.closed is not None and (self.closed.get("params") or {}).get("exception") is None


class S3PrefixMessageReader(PipesMessageReader):
    """Reads messages below a prefix whenever `poll` is called.

    `opened` is relayed once, and `closed` and the reports of assets only by `finish`: a container that was interrupted
    closes its channel, and the one that follows it in the same job opens it again. One that was interrupted after its
    report is followed by one that reports again, with other figures: the reports of the last container that closed its
    channel without an exception count, and where there is none, those of the last one that reported. A report that
    comes a second time with the same content is relayed once. A message that cannot be used is left out, as it would
    come again in each process that reads the job: where it is a report, `refused` has the reason.

    Args:
        client: a boto3 S3 client.
        bucket: the bucket's name.
        prefix: key prefix of the job, without a slash at its end.
    """

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        self._client, self._bucket = client, bucket
        self._messages = f"{prefix}/{MESSAGES_FOLDER}"
        self._handler: PipesMessageHandler | None = None
        self._incarnations: dict[str, _Incarnation] = {}
        self._is_open = False
        self.missing: list[str] = []
        """Keys of chunks that never came although later ones did; filled by `finish`."""
        self.repeated = 0
        """Reports that came more than once, or from a container whose reports do not count; complete by `finish`."""
        self.refused: list[str] = []
        """Why a report could not be used, for each of them; filled by `finish`."""
        self.unusable = 0
        """Other messages that could not be used, such as lines of the log."""
        self.error: str | None = None
        """The exception with which the job closed its channel, as `ValueError: its message`; filled by `finish`."""

    @contextmanager
    def read_messages(self, handler: PipesMessageHandler) -> Iterator[PipesParams]:
        """Yields where the job is to write its messages."""
        self._handler = handler
        try:
            yield {"bucket": self._bucket, "key_prefix": self._messages, "include_stdio_in_messages": False}
        finally:
            self._handler = None

    @property
    def closed(self) -> bool:
        """Whether the newest container has closed its channel, which is the last that it does."""
        order = self._in_order()
        return bool(order) and order[-1].closed is not None

    def poll(self) -> int:
        """Relays the chunks that came since the last call, in order; returns the number of messages.

        A chunk whose predecessor is not there yet waits for it. Costs one LIST request and one GET a new chunk.

        Raises:
            botocore.exceptions.ClientError: S3 refuses; nothing is skipped, the next call goes on from here.
        """
        self._list()
        count = 0
        for incarnation in self._in_order():
            while (key := incarnation.chunks.get(incarnation.relayed + 1)) is not None:
                count += self._relay(incarnation, key)
                incarnation.relayed += 1
        return count

    def finish(self) -> None:
        """Relays what is left once the job has ended, over gaps, which `missing` names; last, what it held back."""
        self.poll()
        newest: _Incarnation | None = None
        for incarnation in self._in_order():
            newest = incarnation
            for number in sorted(n for n in incarnation.chunks if n > incarnation.relayed):
                folder = incarnation.chunks[number].rpartition("/")[0]
                self.missing += [f"{folder}/{n}.json" for n in range(incarnation.relayed + 1, number)]
                self._relay(incarnation, incarnation.chunks[number])
                incarnation.relayed = number
        self._relay_reports()
        if newest is not None and newest.closed is not None and self._handler is not None:
            self._deliver(newest.closed)
            exception = (newest.closed.get("params") or {}).get("exception")
            if isinstance(exception, dict):
                self.error = f"{exception.get('name')}: {exception.get('message')}"
            newest.closed = None

    @property
    def remark(self) -> str:
        """What came again or not at all, for the log; empty: nothing."""
        if not self.repeated and not self.missing and not self.unusable:
            return ""
        text = f"{self.repeated} reports came again, of which the last counts; {len(self.missing)} chunks were lost"
        return f"{text}; {self.unusable} messages could not be used." if self.unusable else f"{text}."

    def no_messages_debug_text(self) -> str:
        """What Dagster adds to its warning when no message came."""
        return f"Messages are read from s3://{self._bucket}/{self._messages}/."

    def _list(self) -> None:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=f"{self._messages}/")
        for page in pages:
            for entry in page.get("Contents", ()):
                folder, _, name = entry["Key"].removeprefix(f"{self._messages}/").rpartition("/")
                stem = name.removesuffix(".json")
                if not stem.isdecimal():
                    continue
                at = entry["LastModified"]
                incarnation = self._incarnations.setdefault(folder, _Incarnation(at))
                if int(stem) == 1:
                    incarnation.started = at
                incarnation.chunks[int(stem)] = entry["Key"]

    def _in_order(self) -> list[_Incarnation]:
        """By S3's clock, as those of containers may differ."""
        return [i for _, i in sorted(self._incarnations.items(), key=lambda pair: (pair[1].started, pair[0]))]

    def _relay(self, incarnation: _Incarnation, key: str) -> int:
        assert self._handler is not None, "poll and finish work inside read_messages"
        body = self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read().decode("utf-8", "replace")
        count = 0
        for line in body.splitlines():
            try:
                message = json.loads(line)
            except json.JSONDecodeError:
                continue  # what a process writes between messages is no message
            if not isinstance(message, dict) or PIPES_PROTOCOL_VERSION_FIELD not in message:
                continue
            params = message.get("params")
            if not isinstance(message.get("method"), str) or not isinstance(params, dict | None):
                self.unusable += 1
                continue
            count += 1
            self._handle(incarnation, message)
        return count

    def _relay_reports(self) -> None:
        reporting = [i for i in self._in_order() if i.reports]
        counting = ([i for i in reporting if i.complete] or reporting)[-1:]
        for incarnation in reporting:
            if incarnation not in counting:
                self.repeated += len(incarnation.reports)
            elif self._handler is not None:
                for message in incarnation.reports.values():
                    if why := self._deliver(message):
                        self.refused.append(f"what it reported cannot be used ({why})")
            incarnation.reports = {}

    def _handle(self, incarnation: _Incarnation, message: dict[str, Any]) -> None:
        assert self._handler is not None
        if message["method"] == "closed":
            incarnation.closed = message
            return
        if message["method"] == "opened":
            if self._is_open:
                return
            self._is_open = True
        if message["method"].startswith("report_asset"):
            content = json.dumps(message, sort_keys=True)
            self.repeated += content in incarnation.reports
            incarnation.reports[content] = message
            return
        self.unusable += self._deliver(message) is not None

    def _deliver(self, message: dict[str, Any]) -> str | None:
        """Gives a message to Dagster; returns why it cannot use it."""
        assert self._handler is not None
        try:
            self._handler.handle_message(message)  # type: ignore[arg-type]
        except _UNUSABLE as error:
            return f"{type(error).__name__}: {error}"
        return None
