"""An SQS queue: receives messages within bounds, deletes them, and says which were not deleted."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from carsdepo_assets.lake.aws_access import region_name
from carsdepo_assets.lake.objects import LakeError

_AT_ONCE = 10  # SQS's limit of messages a call
_TRIES = 4  # of a deletion that SQS says was its own fault
_FIRST_PAUSE_S = 0.1
_REGION = re.compile(r"(?:^|\.)sqs\.([a-z0-9-]+)\.|^([a-z0-9-]+)\.queue\.amazonaws\.")


@dataclass(frozen=True)
class Message:
    """A message that was received."""

    message_id: str
    """Of the message: the same each time it is received."""
    receipt: str
    """Of this receipt: what deletes the message."""
    body: str


class MessageQueue:
    """A queue by its URL. Credentials come from boto3's own chain.

    Args:
        url: of the queue.
        client: a boto3 SQS client; None: one of the region that the URL names, made at the first call.
    """

    def __init__(self, url: str, client: Any = None) -> None:
        self.url, self._client = url, client

    def receive(self, most: int, most_bytes: int, wait_s: int, visibility_s: int) -> list[Message]:
        """Receives messages until the queue has no more to give, or a bound is reached.

        Args:
            most: messages at most.
            most_bytes: no further call is made once the bodies have so many bytes.
            wait_s: seconds for which SQS looks for messages where it has none at hand, 0 to 20. With 0 SQS asks some of
                its servers only and may find none though there are some.
            visibility_s: seconds for which nobody else receives them.

        Returns:
            Each message once, by its newest receipt.

        Raises:
            LakeError: the queue does not answer or refuses.
        """
        messages: dict[str, Message] = {}
        size = 0
        while len(messages) < most and size < most_bytes:
            with self._naming("receiving"):
                answer = self._sqs().receive_message(
                    QueueUrl=self.url,
                    MaxNumberOfMessages=min(_AT_ONCE, most - len(messages)),
                    WaitTimeSeconds=wait_s,
                    VisibilityTimeout=visibility_s,
                )
            came = [Message(m["MessageId"], m["ReceiptHandle"], m["Body"]) for m in answer.get("Messages", ())]
            is_news = any(message.message_id not in messages for message in came)
            messages.update((message.message_id, message) for message in came)
            size += sum(len(message.body) for message in came)
            if not is_news:
                break
        return list(messages.values())

    def delete(self, receipts: Mapping[str, str]) -> dict[str, str]:
        """Deletes messages. What SQS could not delete by its own fault is tried again.

        Args:
            receipts: the receipt of each message, by the message's id.

        Returns:
            Why messages were not deleted, by their ids: they will be received again.

        Raises:
            LakeError: the queue does not answer or refuses.
        """
        left: dict[str, str] = {}
        for part in _parts(receipts):
            pause = _FIRST_PAUSE_S
            for tries_left in reversed(range(_TRIES)):
                failed = self._batch("delete_message_batch", "deleting", part)
                left |= {one: why for one, (why, is_ours) in failed.items() if is_ours or not tries_left}
                part = {one: part[one] for one, (_, is_ours) in failed.items() if not is_ours}
                if not part or not tries_left:
                    break
                time.sleep(pause)
                pause *= 2
        return left

    def extend(self, receipts: Mapping[str, str], visibility_s: int) -> None:
        """Nobody else receives messages for so many seconds from now. One that came back meanwhile is left alone.

        Raises:
            LakeError: the queue does not answer or refuses.
        """
        for part in _parts(receipts):
            self._batch("change_message_visibility_batch", "holding messages", part, VisibilityTimeout=visibility_s)

    def attributes(self) -> dict[str, str]:
        """The queue's attributes, as SQS names them.

        Raises:
            LakeError: the queue does not answer or refuses.
        """
        with self._naming("reading its attributes"):
            answer = self._sqs().get_queue_attributes(QueueUrl=self.url, AttributeNames=["All"])
        return dict(answer.get("Attributes", {}))

    def _batch(self, call: str, doing: str, part: Mapping[str, str], **more: Any) -> dict[str, tuple[str, bool]]:
        """Why entries failed, and whether it is the caller's fault, by the messages' ids."""
        names = list(part)
        entries = [{"Id": str(n), "ReceiptHandle": part[name], **more} for n, name in enumerate(names)]
        with self._naming(doing):
            answer = getattr(self._sqs(), call)(QueueUrl=self.url, Entries=entries)
        return {
            names[int(one["Id"])]: (f"{one.get('Code')}: {one.get('Message', '')}", bool(one.get("SenderFault")))
            for one in answer.get("Failed", ())
        }

    def _sqs(self) -> Any:
        if self._client is None:
            import boto3

            self._client = boto3.Session(region_name=region_of(self.url)).client("sqs")
        return self._client

    @contextmanager
    def _naming(self, doing: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise LakeError(
                f"The queue {self.url}: {doing} failed: {error}. Check the queue's URL, the AWS_* variables and the "
                "role's permissions sqs:ReceiveMessage, sqs:DeleteMessage, sqs:ChangeMessageVisibility and "
                "sqs:GetQueueAttributes."
            ) from error


def region_of(url: str) -> str | None:
    """The region that a queue's URL names; else this process's; None where nothing names one."""
    named = _REGION.search(urlsplit(url).hostname or "")
    region = named and (named[1] or named[2])
    return region or region_name()


def dead_letters_of(attributes: Mapping[str, str]) -> str | None:
    """The ARN of the queue that gets what came too often, by a queue's attributes; None where it has none."""
    try:
        return str(json.loads(attributes.get("RedrivePolicy", "{}"))["deadLetterTargetArn"])
    except (ValueError, KeyError, TypeError):
        return None


def queue_beside(url: str, arn: str) -> str:
    """The URL of a queue of the same account and region as another one, as dead-letter queues are.

    Args:
        url: of the other queue.
        arn: of the queue.
    """
    return f"{url.rpartition('/')[0]}/{arn.rpartition(':')[2]}"


def _parts(receipts: Mapping[str, str]) -> Iterator[dict[str, str]]:
    names = list(receipts)
    for start in range(0, len(names), _AT_ONCE):
        yield {name: receipts[name] for name in names[start : start + _AT_ONCE]}
