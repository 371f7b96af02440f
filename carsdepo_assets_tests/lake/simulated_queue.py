"""An SQS queue and a bucket in this process, for tests that count calls, move the clock or need many events.

The queue keeps what SQS promises and nothing more: messages come in any order, a message that is not deleted comes
again after its visibility timeout, only the newest receipt deletes, and a redrive policy moves what came too often.
Whether boto3 and the product speak the same language is tested with moto.
"""

from __future__ import annotations

import heapq
import json
import random
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.objects import FolderObjects
from carsdepo_assets.lake.tables import Tables

QUEUE = "https://sqs.eu-central-1.amazonaws.com/123456789012/uploads"
BUCKET = "photographs"


class SimulatedQueue:
    """Has the methods of a boto3 SQS client that lake.message_queue calls.

    Args:
        seed: of the order in which messages come.
        clock: seconds that only grow.
        most_receives: a message that came so often goes to `dead` in place of coming again; None: it comes for ever.
    """

    def __init__(
        self, seed: int = 1, clock: Callable[[], float] = time.monotonic, most_receives: int | None = None
    ) -> None:
        self._random, self._clock, self._most_receives = random.Random(seed), clock, most_receives
        self._bodies: dict[str, str] = {}
        self._visible: list[str] = []
        self._hidden: list[tuple[float, str, str]] = []  # when it comes back, message, receipt
        self._receipts: dict[str, str] = {}
        self._receives: dict[str, int] = {}
        self._number = 0
        self._passed = 0.0
        self._lock = threading.Lock()
        self.dead: list[str] = []
        self.calls: list[str] = []
        self.attributes: dict[str, str] = {}
        self.failures: list[tuple[str, bool]] = []  # of the next entries of batches: code, and whether the caller's

    def send(self, bodies: Iterable[str]) -> None:
        """Puts messages in."""
        with self._lock:
            for body in bodies:
                self._number += 1
                self._bodies[f"m{self._number}"] = body
                self._visible.append(f"m{self._number}")

    def let_pass(self, seconds: float) -> None:
        """Has the queue believe that time has passed."""
        self._passed += seconds

    def count(self) -> int:
        """How many messages are not deleted."""
        return len(self._bodies)

    def left(self) -> list[str]:
        """The bodies of all messages that are not deleted."""
        with self._lock:
            return list(self._bodies.values())

    def receive_message(
        self, QueueUrl: str, MaxNumberOfMessages: int, WaitTimeSeconds: int, VisibilityTimeout: int
    ) -> dict[str, Any]:
        with self._lock:
            self.calls.append("receive")
            assert 1 <= MaxNumberOfMessages <= 10
            assert 0 <= WaitTimeSeconds <= 20
            self._come_back()
            messages = []
            while self._visible and len(messages) < MaxNumberOfMessages:
                at = self._random.randrange(len(self._visible))
                self._visible[at], self._visible[-1] = self._visible[-1], self._visible[at]
                one = self._visible.pop()
                if one not in self._bodies:
                    continue
                self._receives[one] = self._receives.get(one, 0) + 1
                if self._most_receives is not None and self._receives[one] > self._most_receives:
                    self.dead.append(self._bodies.pop(one))
                    continue
                self._number += 1
                receipt = self._receipts[one] = f"{one}/{self._number}"
                heapq.heappush(self._hidden, (self._now() + VisibilityTimeout, one, receipt))
                messages.append({"MessageId": one, "ReceiptHandle": receipt, "Body": self._bodies[one]})
            return {"Messages": messages} if messages else {}

    def delete_message_batch(self, QueueUrl: str, Entries: list[dict[str, str]]) -> dict[str, Any]:
        with self._lock:
            self.calls.append("delete")
            accepted, failed = self._entries(Entries)
            for entry in accepted:
                one = entry["ReceiptHandle"].partition("/")[0]
                if self._receipts.get(one) == entry["ReceiptHandle"]:
                    self._bodies.pop(one, None)
            return {"Successful": [{"Id": entry["Id"]} for entry in accepted], "Failed": failed}

    def change_message_visibility_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        with self._lock:
            self.calls.append("extend")
            accepted, failed = self._entries(Entries)
            until = {e["ReceiptHandle"]: self._now() + e["VisibilityTimeout"] for e in accepted}
            self._hidden = [(until.get(receipt, at), one, receipt) for at, one, receipt in self._hidden]
            heapq.heapify(self._hidden)
            return {"Successful": [{"Id": entry["Id"]} for entry in accepted], "Failed": failed}

    def get_queue_attributes(self, QueueUrl: str, AttributeNames: list[str]) -> dict[str, Any]:
        counts = {"ApproximateNumberOfMessages": str(len(self._visible))}
        return {"Attributes": counts | self.attributes}

    def _entries(self, entries: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        assert 1 <= len(entries) <= 10
        assert len({entry["Id"] for entry in entries}) == len(entries)
        failed = []
        for entry, (code, is_callers) in zip(entries, self.failures, strict=False):
            failed.append({"Id": entry["Id"], "Code": code, "Message": "refused", "SenderFault": is_callers})
        self.failures = self.failures[len(failed) :]
        return entries[len(failed) :], failed

    def _now(self) -> float:
        return self._clock() + self._passed

    def _come_back(self) -> None:
        while self._hidden and self._hidden[0][0] <= self._now():
            _, one, receipt = heapq.heappop(self._hidden)
            if self._receipts.get(one) == receipt and one in self._bodies:
                self._visible.append(one)


class FolderBucket(FolderObjects):
    """A folder that is taken for a bucket: nothing of it is read but by key.

    Args:
        folder: has the objects below `bucket`, and the caches of the machine below `machine`.
        machine: names the machine that looks at it: each has caches of its own.
    """

    def __init__(self, folder: Path, machine: str = "machine") -> None:
        super().__init__(folder / "bucket")
        self.root = None
        self.cache_folder = folder / machine


def bucket_lake(folder: Path, machine: str = "machine") -> Lake:
    """A lake on S3, at s3://photographs/lake, of which all lies in a folder."""
    tables = Tables(str(folder / "bucket/tables"), {}, FolderObjects(folder / "bucket"))
    return Lake(f"s3://{BUCKET}/lake", FolderBucket(folder, machine), tables)


def told_directly(*keys: str, bucket: str = BUCKET, name: str = "ObjectCreated:Put", sequencer: str = "0A") -> str:
    """What S3 itself puts into a queue: keys in the bucket are URL-encoded."""
    return json.dumps({"Records": [_record(key, bucket, name, sequencer) for key in keys]})


def _record(key: str, bucket: str, name: str, sequencer: str) -> dict[str, Any]:
    entry = {"key": quote_plus(key), "size": 1, "eTag": "d41d8cd98f00b204e9800998ecf8427e", "sequencer": sequencer}
    return {"eventSource": "aws:s3", "eventName": name, "s3": {"bucket": {"name": bucket}, "object": entry}}


def told_by_eventbridge(key: str, bucket: str = BUCKET, kind: str = "Object Created") -> str:
    """What EventBridge puts there: keys are not encoded."""
    detail = {"bucket": {"name": bucket}, "object": {"key": key, "size": 1}, "reason": "PutObject"}
    return json.dumps({"version": "0", "source": "aws.s3", "detail-type": kind, "detail": detail})


def by_topic(body: str) -> str:
    """A message that has come by an SNS topic."""
    return json.dumps({"Type": "Notification", "TopicArn": "arn:aws:sns:eu-central-1:1:uploads", "Message": body})
