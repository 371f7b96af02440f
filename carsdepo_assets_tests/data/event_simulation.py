"""Events of many uploads, doubled, lost, late and out of order, for a consumer that is killed again and again.

`python -m carsdepo_assets_tests.data.event_simulation --events 100000 --seed 1` prints a line and ends with 1 where a
photograph was lost or came twice. The queue (lake.simulated_queue) is a process of its own and the bucket a folder; the
batches, the table `objects` and its index are the product's. The consumer closes batches as the sensor does and gets
SIGKILL at a time that the seed chooses, from a few milliseconds to a second and a half of its life.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from multiprocessing.managers import BaseManager
from pathlib import Path
from typing import Any

from carsdepo_assets.data.batches.batches import S3Events, plan_batches, read_manifest
from carsdepo_assets.lake import source_choice
from carsdepo_assets.lake.message_queue import MessageQueue
from carsdepo_assets.lake.queue_source import QueueSource
from carsdepo_assets.policy import Policy
from carsdepo_assets_tests.lake.simulated_queue import (
    BUCKET,
    QUEUE,
    SimulatedQueue,
    bucket_lake,
    by_topic,
    told_by_eventbridge,
    told_directly,
)

EVENTS_A_ROUND = 2500
LEAST_ROUNDS = 10
LIVES_A_ROUND = 8  # killed, unless the queue is empty before; then one lives until it is
# Rounds, in the first half, after which another machine goes on, which has no index and no receipts, and looks at
# everything first. What events of the second half lost is left to the reconciliation at the end.
OTHER_MACHINES = 2
SHORTEST_S, LONGEST_S = 0.005, 1.5  # of a consumer's life
POLICY = Policy.model_validate({"data": {"batch_max_age_s": 0, "reconcile_s": 10**7}})
NAMES = ("{}.jpg", "a b/{}.jpg", "c+d/{}.jpg", "Zo\u00eb/{}.jpg", "100%/{}.jpg", "%2B/{}.jpg")


class _Manager(BaseManager):
    """Has the queue."""


@dataclass
class Simulated:
    """What came of a simulation."""

    events: int
    doubled: int
    events_lost: int
    kills: int
    seconds: float
    missing_before: int
    """Photographs that no batch listed before everything was looked at."""
    told_and_missing: int
    """Those of them whose event was not lost."""
    lost: int
    """Photographs that no batch lists at the end."""
    twice: int
    """Photographs that more than one batch lists."""
    messages_left: int

    @property
    def is_right(self) -> bool:
        """Whether nothing was lost, by the queue or at the end, nothing came twice, and the queue is empty."""
        return not (self.told_and_missing or self.lost or self.twice or self.messages_left)

    def line(self) -> str:
        """For people."""
        return (
            f"{self.events:,} events, {self.doubled:,} doubled, {self.events_lost:,} lost, out of order, consumer "
            f"killed {self.kills} times: {self.lost} photographs lost, {self.twice} twice after a reconcile (before "
            f"it {self.missing_before:,} missing, {self.told_and_missing} of which were told of), "
            f"{self.messages_left} messages left; {self.seconds:.0f} s"
        )


def simulate(folder: Path, events: int, seed: int) -> Simulated:
    """Uploads so many photographs to a lake in the folder, and has them put into batches."""
    choice, started = random.Random(seed), time.monotonic()
    _Manager.register("queue", partial(SimulatedQueue, seed))
    with _Manager() as manager:
        queue = manager.queue()  # type: ignore[attr-defined]
        keys = [f"raw/uploads/{choice.choice(NAMES).format(number)}" for number in range(events)]
        lost = set(choice.sample(range(events), events // 20))
        doubled = set(choice.sample(sorted(set(range(events)) - lost), events // 20))
        told = sorted([*(set(range(events)) - lost), *doubled], key=lambda n: n + choice.gauss(0, events / 20))
        rounds = max(LEAST_ROUNDS, events // EVENTS_A_ROUND)
        others, up_to, kills = set(choice.sample(range(rounds // 2), OTHER_MACHINES)), 0, 0
        _live(folder, queue, once=True)  # the first look is at everything
        for round_ in range(rounds):
            part = told[len(told) * round_ // rounds : len(told) * (round_ + 1) // rounds]
            until = events if round_ == rounds - 1 else max([up_to, *(number + 1 for number in part)])
            _upload(folder, keys[up_to:until])
            up_to = until
            queue.send([_event(keys[number], choice) for number in part])
            for _ in range(LIVES_A_ROUND):
                _live(folder, queue, SHORTEST_S * (LONGEST_S / SHORTEST_S) ** choice.random())
                kills += 1
                if not queue.count():
                    break
                if choice.random() < 0.3:
                    queue.let_pass(301)
            queue.let_pass(301)  # what died with its receipts before they were written down comes back
            if round_ in others:
                shutil.rmtree(folder / "machine")
                _live(folder, queue, once=True)
            _live(folder, queue)
        left = queue.count()
    before = _batched(folder)
    missing = {number for number, key in enumerate(keys) if key not in before}
    plan_batches(bucket_lake(folder), "uploads", POLICY, datetime.now(UTC), close_all=True)
    batched = _batched(folder)
    return Simulated(
        events=events,
        doubled=len(doubled),
        events_lost=len(lost),
        kills=kills,
        seconds=time.monotonic() - started,
        missing_before=len(missing),
        told_and_missing=len(missing - lost),
        lost=len(set(keys) - set(batched)),
        twice=sum(number > 1 for number in batched.values()),
        messages_left=left,
    )


def _upload(folder: Path, keys: list[str]) -> None:
    for key in keys:
        path = folder / "bucket" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(key.encode())


def _event(key: str, choice: random.Random) -> str:
    form = choice.randrange(3)
    in_bucket = f"lake/{key}"
    if form == 0:
        return told_by_eventbridge(in_bucket, BUCKET)
    return told_directly(in_bucket) if form == 1 else by_topic(told_directly(in_bucket))


def _live(folder: Path, queue: Any, seconds: float | None = None, once: bool = False) -> None:
    """Runs a consumer, and kills it.

    Args:
        folder: of the simulation.
        queue: the consumer's.
        seconds: of its life; None: until it has emptied the queue.
        once: it ticks once and ends by itself.
    """
    # Forked: nothing here has a thread yet, and to import everything anew would take longer than most of these lives.
    consumer = multiprocessing.get_context("fork").Process(target=_consume, args=(folder, queue, once))
    consumer.start()
    try:
        if once:
            consumer.join()
            if consumer.exitcode:
                raise RuntimeError("the consumer failed: see above")
            return
        if seconds is not None:
            time.sleep(seconds)
        while seconds is None and queue.count() and consumer.is_alive():
            time.sleep(0.05)
        if not consumer.is_alive():
            raise RuntimeError(f"the consumer ended by itself, with exit code {consumer.exitcode}: see above")
    finally:
        os.kill(consumer.pid or 0, signal.SIGKILL) if consumer.is_alive() else None
        consumer.join()


def _consume(folder: Path, queue: Any, once: bool) -> None:
    source_choice.MessageQueue = partial(MessageQueue, client=queue)  # type: ignore[misc, assignment]
    source_choice.QueueSource = partial(QueueSource, wait_s=0)  # type: ignore[misc, assignment]
    while True:
        lake = bucket_lake(folder)
        if not plan_batches(lake, "uploads", POLICY, datetime.now(UTC), events=S3Events(QUEUE)):
            time.sleep(0.02)
        if once:
            return


def _batched(folder: Path) -> Counter[str]:
    """How often each key is in a batch that counts."""
    lake = bucket_lake(folder)
    batches = lake.read("objects", ["batch_id"], [("state", "=", "closed")])["batch_id"].to_pylist()
    return Counter(entry.key for batch in batches for entry in read_manifest(lake, "uploads", batch).objects)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="carsdepo-events-") as folder:
        simulated = simulate(Path(folder), options.events, options.seed)
    print(simulated.line(), flush=True)
    return int(not simulated.is_right)


if __name__ == "__main__":
    sys.exit(main())
