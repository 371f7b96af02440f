"""How a job and its worker talk: files of this machine, or an S3 bucket (dagster-aws), for a worker elsewhere.

The worker's side is training.events.open_events: it finds the bucket's channel by S3_CHANNEL_VARIABLE.
"""

from __future__ import annotations

import dagster as dg

S3_CHANNEL_VARIABLE = "CARSDEPO_PIPES_CHANNEL"
S3 = "s3"
POLL_S = 0.5  # seconds between looks for the worker's next chunk of messages


def channel(bucket: str | None) -> tuple[dg.PipesContextInjector, dg.PipesMessageReader, dict[str, str]]:
    """(context injector, message reader, variables for the worker). bucket None: temporary files.

    The S3 client takes credentials and endpoint from the standard AWS_* variables. Messages come through S3, not
    through CloudWatch, whose reader exhausts its quota.
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
