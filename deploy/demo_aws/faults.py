"""The faults of the demo: one event delivered twice, one lost, one training killed while it trains."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.training_progress import read_progress
from deploy.demo_aws.containers import NotingRunner

_LOOK_S = 0.05


class FaultFailed(RuntimeError):
    """A fault could not be brought about, so that nothing was shown."""


def double_and_lose(sqs: Any, queue: str, suffix: str = ".jpg", wait_s: int = 5) -> tuple[str, str]:
    """Sends one event of the queue a second time, and deletes another, as if it had never come.

    Args:
        sqs: a client of boto3.
        queue: URL of the queue, with two events of such objects.
        suffix: of the objects.
        wait_s: seconds for which SQS looks for messages.

    Returns:
        The key of the object whose event comes twice, and that of the object whose event is lost.

    Raises:
        FaultFailed: The queue has no two such events.
    """
    received: dict[str, dict[str, Any]] = {}
    chosen: list[tuple[str, dict[str, Any]]] = []
    while len(chosen) < 2:
        answer = sqs.receive_message(
            QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=wait_s, VisibilityTimeout=60
        )
        messages = [m for m in answer.get("Messages", ()) if m["MessageId"] not in received]
        if not messages:
            break
        for message in messages:
            received[message["MessageId"]] = message
            key = json.loads(message["Body"])["detail"]["object"]["key"]
            if key.endswith(suffix) and key not in [k for k, _ in chosen] and len(chosen) < 2:
                chosen.append((key, message))
    if len(chosen) == 2:
        (_, doubled), (_, lost) = chosen
        sqs.send_message(QueueUrl=queue, MessageBody=doubled["Body"])
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=lost["ReceiptHandle"])
        del received[lost["MessageId"]]
    for message in received.values():  # nobody has seen them
        sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
    if len(chosen) < 2:
        raise FaultFailed(f"{queue} has no two events of {suffix} files.")
    return chosen[0][0], chosen[1][0]


@contextmanager
def training_killed(runner: NotingRunner, lake: Lake) -> Iterator[list[str]]:
    """Kills the next training with SIGKILL once it tells of a step, while the block runs.

    The list that it gives has a sentence about it once it is done.
    """
    before, ended, told = len(runner.started("train")), threading.Event(), list[str]()

    def watch() -> None:
        while not ended.wait(_LOOK_S):
            trainings = runner.started("train")[before:]
            progress = read_progress(lake) if trainings else None
            if progress is not None and progress.steps > 0:
                trainings[0].running.strike()
                told.append(f"SIGKILL to the training's container after step {progress.steps}")
                return

    thread = threading.Thread(target=watch, name="kills a training", daemon=True)
    thread.start()
    try:
        yield told
    finally:
        ended.set()
        thread.join(30)


def wait_until(done: Callable[[], bool], what: str, seconds: float = 600.0) -> None:
    """Waits until something is so; the time is a far cap, since a busy machine is slow.

    Raises:
        FaultFailed: It is not so in time.
    """
    limit = time.monotonic() + seconds
    while not done():
        if time.monotonic() > limit:
            raise FaultFailed(f"Waited {seconds:.0f} s: {what}.")
        time.sleep(_LOOK_S)
