"""How a step and its worker exchange messages: files of this machine, or an S3 bucket for a worker elsewhere.

The worker's side is compute.worker.events.open_events, which uses S3 when S3_CHANNEL_VARIABLE says so.
"""

from __future__ import annotations

import dagster as dg

S3_CHANNEL_VARIABLE = "CARSDEPO_PIPES_CHANNEL"
S3 = "s3"
POLL_S = 0.5  # seconds between looks for the worker's next chunk of messages


def channel(bucket: str | None) -> tuple[dg.PipesContextInjector, dg.PipesMessageReader, dict[str, str]]:
    """The two ends of a Dagster Pipes session on the step's side, and what the worker has to know of them.

    The S3 client takes credentials and endpoint from the standard AWS_* variables. Messages come through S3, not
    through CloudWatch, whose reader exhausts its quota.

    Args:
        bucket: name of an S3 bucket; None exchanges temporary files.

    Returns:
        The context injector, the message reader, and environment variables for the worker.
    """
    if bucket is None:
        return dg.PipesTempFileContextInjector(), dg.PipesTempFileMessageReader(), {}
    import boto3
    from dagster_aws.pipes import PipesS3ContextInjector, PipesS3MessageReader

    client = boto3.client("s3")
    return (
        PipesS3ContextInjector(bucket=bucket, client=client),
        PipesS3MessageReader(bucket=bucket, client=client, interval=POLL_S),
        {S3_CHANNEL_VARIABLE: S3},
    )
