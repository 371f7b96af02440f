"""Stores a job's spec on S3, where the worker reads it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from carsdepo_assets.compute.pipes.aws_calls import AwsClients, PatientCalls, PatientPut


def store_spec(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
    session: Callable[[], Any],
    bucket: str,
    key: str,
    spec: Mapping[str, Any],
) -> str:
    """Stores a spec, again after trouble that can pass; returns its URL.

    Args:
        context: its log is told of each further try.
        session: makes boto3 sessions.
        bucket: the bucket's name.
        key: the spec's key in it.
        spec: serialised as JSON.

    Raises:
        JobUnobserved: AWS refused, or the patience is used up; the message says why.
    """
    clients = AwsClients(session)
    put = PatientPut(clients.standing("s3"), PatientCalls(clients, context.log.warning))
    put.put_object(Bucket=bucket, Key=key, Body=json.dumps(spec).encode())
    return f"s3://{bucket}/{key}"
