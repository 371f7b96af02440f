"""The source of objects of which S3's events tell, by way of an SQS queue.

An event says where to look and no more: what is delivered is what stands under its key when it is looked at, so that
events that come twice, late or out of order bring nothing back. A message is deleted by `ack` and never before:

- The cursor holds the receipts of the messages whose objects were delivered; `ack` deletes exactly these.
- Those that were delivered and not acknowledged are written down in the memory, and `poll(None)` delivers their objects
  again at once. Where the memory is lost too, or another machine goes on, SQS gives them back when their visibility
  timeout is over.
- A message that cannot be read is not deleted: the queue's redrive policy moves it to its dead-letter queue. One of
  whose objects S3 tells nothing, neither facts nor that it is missing, is not deleted either, and comes again.
- A message about another bucket or prefix, or of S3's test, is deleted with the others.

What events lost is found by `reconcile`.
"""

from __future__ import annotations

import json
import logging
import time
from typing import Any

from carsdepo_assets.lake.event_account import EventAccount, keep_account, read_account
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.message_queue import Message, MessageQueue
from carsdepo_assets.lake.object_events import read_object_message
from carsdepo_assets.lake.objects import ObjectInfo, key_problem
from carsdepo_assets.lake.present_objects import PresentObjects, look_at
from carsdepo_assets.lake.sources import Memory, Source, facts_of, infos_of, wanted

logger = logging.getLogger(__name__)

_Held = dict[str, tuple[str, list[str]]]  # receipt and keys of messages, by their ids


class QueueSource:
    """Events of a prefix of a lake on S3.

    Args:
        lake: the lake.
        prefix: the prefix.
        memory: what is known of its objects.
        queue: gets S3's events of the prefix, directly, by EventBridge or by an SNS topic.
        everything: reconciles: a source that looks at all of the prefix.
        visibility_s: seconds for which a message that was received is nobody else's; longer than a tick of a sensor.
        wait_s: see MessageQueue.receive.
        most: messages that may be delivered and not acknowledged at a time.
        most_bytes: of the bodies that a poll receives.
    """

    def __init__(
        self,
        lake: Lake,
        prefix: str,
        memory: Memory,
        queue: MessageQueue,
        everything: Source,
        visibility_s: int = 300,
        wait_s: int = 1,
        most: int = 1000,
        most_bytes: int = 16 * 2**20,
    ) -> None:
        if not lake.url.startswith("s3://"):
            raise ValueError(f"{lake.url} is no lake on S3: no events tell of its objects. Use FolderSource.")
        self._lake, self._prefix, self._memory = lake, prefix.strip("/"), memory
        self._queue, self._everything = queue, everything
        self._visibility_s, self._wait_s, self._most, self._most_bytes = visibility_s, wait_s, most, most_bytes
        self._bucket, _, root = lake.url.removeprefix("s3://").partition("/")
        self._root = f"{root}/" if root else ""

    def poll(self, cursor: str | None) -> tuple[list[ObjectInfo], str]:
        held, started = self._held(), time.monotonic()
        account = read_account(self._memory, self._prefix)
        messages = self._queue.receive(self._most - len(held), self._most_bytes, self._wait_s, self._visibility_s)
        came, more_keys = self._read(messages, account)
        due = came if cursor is not None else {**held, **came}
        present = look_at(self._lake, [*more_keys, *(key for _, keys in due.values() for key in keys)])
        if present.unanswered:
            due = {one: entry for one, entry in due.items() if not present.unanswered.keys() & set(entry[1])}
            self._tell_unanswered(present, account)
        is_late = time.monotonic() - started > self._visibility_s / 3
        extended = {one: receipt for one, (receipt, _) in due.items() if is_late or one not in came}
        self._queue.extend(extended, self._visibility_s)
        self._keep_held(due if cursor is None else {**held, **due})
        fresh, gone = self._memory.unknown(facts_of(present.there)), self._memory.standing(present.missing)
        if messages:
            account.objects += len(fresh)
            account.repeated += len(present.there) - len(fresh)
            account.gone += len(gone)
            keep_account(self._memory, self._prefix, account)
        receipts = {one: receipt for one, (receipt, _) in due.items()}
        if cursor is not None:
            receipts, gone = _receipts(cursor) | receipts, [*self.gone(cursor), *gone]
        return infos_of(fresh), json.dumps({"messages": receipts, "gone": gone})

    def gone(self, cursor: str) -> list[str]:
        own = _own(cursor)
        return self._everything.gone(cursor) if own is None else list(own.get("gone", ()))

    def ack(self, cursor: str) -> None:
        if _own(cursor) is None:
            self._everything.ack(cursor)
            return
        receipts = _receipts(cursor)
        left = self._queue.delete(receipts)
        if left:
            why = next(iter(left.values()))
            logger.warning(
                "%d messages of %s were not deleted (%s): they come again, and what they name is known.",
                len(left), self._queue.url, why,
            )  # fmt: skip
        self._keep_held({one: entry for one, entry in self._held().items() if one not in receipts})

    def reconcile(self) -> tuple[list[ObjectInfo], list[str], str]:
        return self._everything.reconcile()

    def _read(self, messages: list[Message], account: EventAccount) -> tuple[_Held, list[str]]:
        """The messages that can be read, with the keys of their objects that are to be ingested; and such keys of
        messages that are not deleted, as another of their records cannot be read. All is counted."""
        below = f"{self._root}{self._prefix}/"
        readable: _Held = {}
        more_keys: list[str] = []
        for message in messages:
            content, keys = read_object_message(message.body), list[str]()
            for bucket, key in content.objects:
                if bucket != self._bucket or not key.startswith(below):
                    account.elsewhere += 1
                elif key.endswith("/") or not wanted(key.removeprefix(below)):
                    account.unwanted += 1
                elif problem := key_problem(key.removeprefix(self._root)):
                    content.problems.append(f"{key!r} cannot be a key: {problem}")
                else:
                    keys.append(key.removeprefix(self._root))
            account.messages += 1
            account.tests += content.is_test
            if content.problems:
                account.malformed += 1
                account.problem = f"message {message.message_id}: {content.problems[0]}"
                logger.warning("%s: message %s: %s.", self._queue.url, message.message_id, "; ".join(content.problems))
                more_keys += keys
            else:
                readable[message.message_id] = (message.receipt, keys)
        return readable, more_keys

    def _tell_unanswered(self, present: PresentObjects, account: EventAccount) -> None:
        """Counts and logs what S3 did not tell.

        Raises:
            LakeError: it told nothing at all: it is out of reach.
        """
        key, error = next(iter(present.unanswered.items()))
        account.unanswered += len(present.unanswered)
        account.problem = f"{key}: {error}"
        if not present.there and not present.missing:
            keep_account(self._memory, self._prefix, account)
            raise error
        logger.warning("%d objects could not be looked at, first %s", len(present.unanswered), error)

    def _held(self) -> _Held:
        """The messages that were delivered and not acknowledged, by what the memory has of them."""
        try:
            place = json.loads(self._memory.place(self._place) or "{}")
        except ValueError:
            return {}
        return {one: (receipt, keys) for one, (receipt, keys) in place.items()}

    def _keep_held(self, held: _Held) -> None:
        self._memory.keep_place(self._place, json.dumps(held))

    @property
    def _place(self) -> str:
        return f"queue:{self._prefix}"


def _own(cursor: str) -> dict[str, Any] | None:
    """The content of a cursor of a poll; None for one of another source."""
    try:
        content = json.loads(cursor)
    except ValueError:
        return None
    return content if isinstance(content, dict) and isinstance(content.get("messages"), dict) else None


def _receipts(cursor: str) -> dict[str, str]:
    return dict((_own(cursor) or {}).get("messages", {}))
