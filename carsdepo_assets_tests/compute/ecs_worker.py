"""A worker in an emulated ECS task that does what its first argument says, as JSON.

It talks to the emulated S3 without boto3, which takes a second to import.
"""

import io
import json
import os
import secrets
import signal
import sys
import time
import urllib.request

from dagster_pipes import PipesS3ContextLoader, PipesS3MessageWriter, open_dagster_pipes


class S3:
    """The few calls of a boto3 client that Dagster Pipes makes; moto checks no signature."""

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(f"{os.environ['AWS_ENDPOINT_URL']}/{path}", data=body, method=method)
        request.add_header("Authorization", "AWS4-HMAC-SHA256 Credential=TASKROLE/20260101/eu-west-1/s3/aws4_request")
        request.add_header("Content-Type", "application/octet-stream")
        with urllib.request.urlopen(request) as answer:
            return answer.read()

    def put_object(self, Bucket: str, Key: str, Body: bytes | str) -> None:
        self._ask("PUT", f"{Bucket}/{Key}", Body.encode() if isinstance(Body, str) else Body)

    def get_object(self, Bucket: str, Key: str) -> dict[str, io.BytesIO]:
        return {"Body": io.BytesIO(self._ask("GET", f"{Bucket}/{Key}"))}

    def has(self, Bucket: str, Prefix: str) -> bool:
        return b"<Contents>" in self._ask("GET", f"{Bucket}?list-type=2&prefix={Prefix.replace(' ', '%20')}")


class Writer(PipesS3MessageWriter):
    """Writes into a folder of its own, as compute.worker's writer does."""

    def make_channel(self, params):
        return super().make_channel({**params, "key_prefix": f"{params['key_prefix']}/{secrets.token_hex(4)}"})


signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # process 1 of a container has no default
task = json.loads(sys.argv[1])
s3 = S3()


def mark(name: str) -> None:
    s3.put_object(Bucket=task["bucket"], Key=f"{task['marks']}/{name}", Body=b"")


def marked(name: str) -> bool:
    return s3.has(Bucket=task["bucket"], Prefix=f"{task['marks']}/{name}")


with open_dagster_pipes(
    context_loader=PipesS3ContextLoader(client=s3), message_writer=Writer(client=s3, interval=0.05)
) as pipes:
    resumed = marked("checkpoint")
    mark(f"started/{secrets.token_hex(4)}")
    pipes.log.info("going on from the checkpoint" if resumed else "from the start")
    if task["does"] == "fail":
        raise ValueError("the worker's own words")
    if task["does"] == "hang" or (task["does"] == "be interrupted once" and not resumed):
        mark("checkpoint")
        time.sleep(600)
    if task["does"] == "wait to be let go on":
        mark("checkpoint")
        while not marked("go-on"):
            time.sleep(0.05)
    if task["does"] == "leave open":
        time.sleep(0.3)
        os._exit(0)
    if task["does"] != "report nothing":
        pipes.report_asset_materialization(
            metadata={"resumed": resumed, "variable": os.environ.get("A_VARIABLE", "")[:20]}, data_version="abc"
        )
if task["does"] == "report, then fail":
    sys.exit(3)
if task["does"] == "report, then be interrupted once" and not resumed:
    mark("checkpoint")
    time.sleep(600)
