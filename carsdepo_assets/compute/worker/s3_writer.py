"""Writes Pipes messages to S3, each process in a folder of its own below the job's prefix.

A container that is started again within one job numbers its chunks from 1 anew, and would overwrite those of the one
before it. A chunk that cannot be stored is tried again, with a new client where the credentials have expired: what the
writer of dagster-pipes cannot store is lost, and its thread ends.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import IO, Any

from dagster_pipes import PipesParams, PipesS3MessageWriter, PipesS3MessageWriterChannel
from tenacity import RetryCallState, Retrying, stop_after_attempt, wait_exponential_jitter

WRITE_EVERY_S = 1.0  # seconds between two chunks, at least
ATTEMPTS = 6  # for one chunk: half a minute in all


class S3IncarnationWriter(PipesS3MessageWriter):
    """A message writer whose chunks lie at `<key_prefix>/<incarnation>/<n>.json`.

    Args:
        client: a boto3 S3 client.
        new_client: makes another one, with credentials that are read anew; None: boto3's own way.
    """

    def __init__(self, client: Any, new_client: Callable[[], Any] | None = None) -> None:
        super().__init__(client, interval=WRITE_EVERY_S)
        self._new_client = new_client

    def make_channel(self, params: PipesParams) -> PipesS3MessageWriterChannel:
        """The channel below the prefix that Dagster's side names."""
        incarnation = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
        prefix = f"{params['key_prefix']}/{incarnation}"
        return _Channel(self._client, str(params["bucket"]), prefix, self._new_client)


class _Channel(PipesS3MessageWriterChannel):
    def __init__(self, client: Any, bucket: str, prefix: str, new_client: Callable[[], Any] | None) -> None:
        super().__init__(client, bucket, prefix, interval=WRITE_EVERY_S)
        self._make_client = new_client or _boto3_client

    def upload_messages_chunk(self, payload: IO[str], index: int) -> None:
        body = payload.read().encode()
        for attempt in Retrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential_jitter(initial=0.5, max=10),
            before_sleep=self._renew,
            reraise=True,
        ):
            with attempt:
                self._client.put_object(Body=body, Bucket=self._bucket, Key=f"{self._key_prefix}/{index}.json")

    def _renew(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        print(f"Messages could not be stored at s3://{self._bucket}: {error}. Trying again.", file=sys.stderr)
        self._client = self._make_client()


def _boto3_client() -> Any:
    import boto3

    return boto3.session.Session().client("s3")
