"""Reads which objects a message about S3 names, in each of the forms in which such messages reach an SQS queue.

S3 writes to a queue itself (keys are URL-encoded), by way of EventBridge (keys are not encoded), or by way of an SNS
topic, which wraps either. What an event says of an object's size, ETag and order (`sequencer`) is not read: whoever
gets it asks for the object's present facts, which an event that comes late, twice or out of order cannot change.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus

from carsdepo_assets.redaction import legible

_WRAPS = 3  # a topic's message within a topic's message is read; what is wrapped deeper is refused
_SHOWN = 200  # characters of a message that a reason quotes


@dataclass
class ObjectMessage:
    """What a message names."""

    objects: list[tuple[str, str]] = field(default_factory=list)
    """Bucket and key of each object, created, changed or deleted."""
    problems: list[str] = field(default_factory=list)
    """Why the message, or one of its records, names no object."""
    is_test: bool = False
    """Whether it is what S3 sends once when a bucket's notifications are configured."""


def read_object_message(body: str) -> ObjectMessage:
    """Reads the body of a message; one that cannot be read has a problem and raises nothing."""
    message = ObjectMessage()
    event = _unwrapped(body)
    if isinstance(event, str):
        message.problems.append(event)
    elif event.get("Event") == "s3:TestEvent":
        message.is_test = True
    elif "Records" in event:
        _read_records(event["Records"], message)
    elif "detail-type" in event:
        _read_detail(event, message)
    else:
        message.problems.append(f"it has neither Records nor a detail-type: {body[:_SHOWN]}")
    return message


def read_envelope(body: str) -> dict[str, Any]:
    """The JSON object in a message's body, taken out of what an SNS topic puts around it.

    Raises:
        ValueError: it is no JSON object.
    """
    event = _unwrapped(body)
    if isinstance(event, str):
        raise ValueError(event)
    return event


def _unwrapped(body: str) -> dict[str, Any] | str:
    """The event, or why there is none."""
    for _ in range(_WRAPS + 1):
        try:
            event = json.loads(body)
        except (ValueError, RecursionError):
            return f"it is no JSON: {legible(body[:_SHOWN])}"
        if not isinstance(event, dict):
            return f"it is no JSON object: {legible(body[:_SHOWN])}"
        if event.get("Type") != "Notification" or not isinstance(event.get("Message"), str):
            return event
        body = event["Message"]
    return f"it is wrapped more than {_WRAPS} times: {legible(body[:_SHOWN])}"


def _read_records(records: Any, message: ObjectMessage) -> None:
    if not isinstance(records, list) or not records:
        message.problems.append("its Records are no list of events, or none")
        return
    for number, record in enumerate(records):
        bucket, key = _at(record, "s3", "bucket", "name"), _at(record, "s3", "object", "key")
        if not bucket or not key:
            message.problems.append(f"record {number} names no bucket and key: {json.dumps(record)[:_SHOWN]}")
            continue
        try:
            message.objects.append((bucket, unquote_plus(key, errors="strict")))
        except UnicodeDecodeError:
            message.problems.append(f"the key {key[:_SHOWN]!r} of record {number} is not UTF-8, URL-encoded")


def _read_detail(event: dict[str, Any], message: ObjectMessage) -> None:
    bucket, key = _at(event, "detail", "bucket", "name"), _at(event, "detail", "object", "key")
    if bucket and key:
        message.objects.append((bucket, key))
    else:
        message.problems.append(f"the event {str(event['detail-type'])[:_SHOWN]!r} names no bucket and key")


def _at(value: Any, *names: str) -> str:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""
