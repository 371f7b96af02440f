"""A worker that does what its spec says, for tests of jobs on an emulated AWS. Started in a container's place."""

import json
import os
import secrets
import signal
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from dagster_pipes import PipesContext, PipesS3ContextLoader, PipesS3MessageWriter, open_dagster_pipes


class Incarnations(PipesS3MessageWriter):
    """Chunks of each process in a folder of its own."""

    def make_channel(self, params: Any) -> Any:
        return super().make_channel({**params, "key_prefix": f"{params['key_prefix']}/{secrets.token_hex(4)}"})


class Stopped(Exception):
    """SIGTERM came."""


def main() -> int:
    s3 = boto3.client("s3")
    place = urlsplit(sys.argv[sys.argv.index("--spec") + 1])
    spec = json.loads(s3.get_object(Bucket=place.netloc, Key=place.path.lstrip("/"))["Body"].read())
    if spec["does"] == "leave":
        return 0
    if spec["does"] == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    signal.signal(signal.SIGTERM, stopped)
    with open_dagster_pipes(
        context_loader=PipesS3ContextLoader(client=s3), message_writer=Incarnations(client=s3, interval=0)
    ) as pipes:
        try:
            work(spec, s3, pipes)
        except Stopped:
            return 143
    return 0


def work(spec: dict[str, Any], s3: Any, pipes: PipesContext) -> None:
    if spec["does"] == "fail":
        raise ValueError("the worker's own words")
    if spec["does"] == "oom":
        os.kill(os.getpid(), signal.SIGKILL)
    if spec["does"] == "train":
        train(spec, s3, pipes)
    if spec["does"] == "report variables":
        seen = {name: os.environ.get(name, "") for name in spec["names"]}
        pipes.report_asset_materialization(metadata=seen, data_version="v")
    if spec["does"] == "report":
        pipes.log.info("half way")
        pipes.report_asset_materialization(
            metadata={
                "map50": 0.5,
                "extra": pipes.extras.get("extra", ""),
                "job": os.environ.get("TRAINING_JOB_NAME", ""),
            },
            data_version="abc",
        )


def train(spec: dict[str, Any], s3: Any, pipes: PipesContext) -> None:
    """Epochs with a checkpoint each; waits after the epoch `pause_at` for the key `gate`, unless it resumes."""
    checkpoint = Path(os.environ["CARSDEPO_WORK"], "epoch")
    first = int(checkpoint.read_text()) if checkpoint.exists() else 0
    pipes.log.info(f"starting after epoch {first}")
    for epoch in range(first + 1, spec["epochs"] + 1):
        checkpoint.write_text(str(epoch))
        pipes.log.info(f"epoch {epoch}")
        if epoch == spec.get("pause_at") and first == 0:
            wait_for(s3, spec.get("gate"))
    pipes.report_asset_materialization(metadata={"epochs": spec["epochs"], "resumed_at": first}, data_version="abc")


def wait_for(s3: Any, gate: str | None) -> None:
    while gate is None or s3.list_objects_v2(Bucket="jobs", Prefix=gate)["KeyCount"] == 0:
        time.sleep(0.05)


def stopped(number: int, frame: Any) -> None:
    raise Stopped


if __name__ == "__main__":
    sys.exit(main())
