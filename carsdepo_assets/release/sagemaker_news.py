"""Receives SageMaker's events from a queue: which model packages are to be looked at.

An event says where to look and no more. A message is deleted once what it names was looked at; one that cannot be read
stays, and the queue's redrive policy moves it to its dead-letter queue.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from carsdepo_assets.lake.message_queue import MessageQueue
from carsdepo_assets.release.sagemaker_events import ModelPackageEvent, UnreadableEvent, parse_model_event

# Of one look: the rest of them comes at the next one.
_MOST, _MOST_BYTES = 200, 2**20
_WAIT_S = 1
_VISIBILITY_S = 120  # longer than a tick of the sensor


@dataclass(frozen=True)
class ModelNews:
    """What the messages of one look say."""

    arns: frozenset[str] = frozenset()
    """Of the group's packages that changed."""
    receipts: dict[str, str] = field(default_factory=dict)
    """Of the messages that are to be deleted, by their ids."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Why messages could not be read, by their ids."""


def receive_news(queue: MessageQueue, group: str) -> ModelNews:
    """Receives what is there.

    Args:
        queue: gets EventBridge's events of model packages and endpoints.
        group: name of the package group; packages of others are no news. An endpoint is looked at anyway.

    Raises:
        LakeError: the queue does not answer or refuses.
    """
    arns: set[str] = set()
    receipts: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    for message in queue.receive(_MOST, _MOST_BYTES, _WAIT_S, _VISIBILITY_S):
        try:
            event = parse_model_event(message.body)
        except UnreadableEvent as error:
            unreadable[message.message_id] = str(error)
            continue
        receipts[message.message_id] = message.receipt
        if isinstance(event, ModelPackageEvent) and event.group == group:
            arns.add(event.arn)
    return ModelNews(frozenset(arns), receipts, unreadable)
