"""How a step and its worker on this machine exchange messages: files, or an S3 bucket as jobs on AWS use it.

The worker's side is compute.worker.events.open_events, which uses S3 when CHANNEL_VARIABLE says so.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

import dagster as dg

from carsdepo_assets.compute.worker.events import CHANNEL_VARIABLE, S3

FOLDER = "pipes"  # below which each job's messages lie in the bucket


def _nothing() -> None:
    """Files are read by a thread of Dagster's own."""


@dataclass(frozen=True)
class MessageChannel:
    """The step's end of a Dagster Pipes session."""

    injector: dg.PipesContextInjector
    reader: dg.PipesMessageReader
    variables: dict[str, str] = field(default_factory=dict)
    """For the worker."""
    poll: Callable[[], object] = _nothing
    """Relays the messages that came; to be called while the worker runs."""
    finish: Callable[[], object] = _nothing
    """Relays the rest, once the worker has ended."""


def channel(bucket: str | None, job: str) -> MessageChannel:
    """Opens a channel.

    The S3 client takes credentials and endpoint from the standard AWS_* variables. Messages come through S3, not
    through CloudWatch, whose reader exhausts its quota.

    Args:
        bucket: name of an S3 bucket; None exchanges temporary files.
        job: names the messages in the bucket.
    """
    if bucket is None:
        return MessageChannel(dg.PipesTempFileContextInjector(), dg.PipesTempFileMessageReader())
    import boto3

    from carsdepo_assets.compute.pipes.s3_channel import S3PrefixContextInjector, S3PrefixMessageReader

    client, prefix = boto3.client("s3"), f"{FOLDER}/{job}-{secrets.token_hex(4)}"
    reader = S3PrefixMessageReader(client, bucket, prefix)
    return MessageChannel(
        S3PrefixContextInjector(client, bucket, prefix), reader, {CHANNEL_VARIABLE: S3}, reader.poll, reader.finish
    )
