"""Drives the product's own sensors, as Dagster's daemon does in an account, until something is so."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from carsdepo_assets.commands.loop_steps import Loop, Step
from carsdepo_assets.commands.pipeline import Pipeline
from carsdepo_assets.lake.lake import Lake
from deploy.demo_aws.account import EmulatedAccount
from deploy.demo_aws.containers import NotingRunner

PATIENCE_S = 900.0  # a far cap: what it caps takes seconds on a quiet machine


class DemoFailed(RuntimeError):
    """Something came out otherwise than it must; the message says what."""


@dataclass
class Demo:
    """What every step works with."""

    account: EmulatedAccount
    runner: NotingRunner
    pipeline: Pipeline
    lake: Lake
    variables: dict[str, str]
    """Of the installation."""
    folder: Path
    """Of the demo's state."""
    log: Path
    """To which everything else that is printed goes."""
    say: Callable[[str], None]
    loop: Loop = field(default_factory=Loop)
    proven: dict[str, str] = field(default_factory=dict)
    """What was checked, and how it was seen, in order."""

    def step(self, name: str) -> AbstractContextManager[Step]:
        """A step of the demo, numbered, timed and listed in the table."""
        return self.loop.step(f"{len(self.loop.steps) + 1}. {name}", self.say)

    def tell(self, step: Step, text: str) -> None:
        """Says what a step has found, and lists it."""
        step.outcome = f"{step.outcome}; {text}" if step.outcome else text
        self.say(f"   {text}")

    def prove(self, what: str, how: str, *, holds: bool) -> None:
        """Notes something that was checked.

        Raises:
            DemoFailed: It does not hold.
        """
        if not holds:
            raise DemoFailed(f"{what}: it does not hold: {how}.")
        self.proven[what] = how
        self.say(f"   checked: {what} ({how})")

    def drive(self, sensor: str, done: Callable[[], bool], what: str, pause_s: float = 0.2) -> None:
        """Evaluates a sensor and runs what it asks for, until something is so.

        Raises:
            DemoFailed: It is not so after PATIENCE_S.
            PipelineError: A run failed.
        """
        limit = time.monotonic() + PATIENCE_S
        while not done():
            tick = self.pipeline.tick(sensor)
            if done():
                return
            if time.monotonic() > limit:
                raise DemoFailed(f"{what} did not happen in {PATIENCE_S:.0f} s; {sensor} says: {tick.skipped}")
            if not tick.runs:
                time.sleep(pause_s)

    def rows(self, table: str, *columns: str) -> list[dict[str, Any]]:
        """A table of the lake."""
        rows: list[dict[str, Any]] = self.lake.read(table, list(columns) or None).to_pylist()
        return rows

    def waiting(self, queue: str) -> int:
        """Messages of a queue, those that were received and not deleted among them."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        sqs = self.account.client("sqs")
        answer = sqs.get_queue_attributes(QueueUrl=self.account.queue(queue), AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)
