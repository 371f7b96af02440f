"""The platform's processes by kind: which are running, which are killed, how much memory each kind takes."""

from __future__ import annotations

import os
import random
import signal
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

# What each kind's command line holds, in the order in which it is looked for.
KINDS = {
    "trainer": ("carsdepo_assets.training.worker",),
    "daemon": ("dagster._daemon", "run"),
    "webserver": ("dagster_webserver",),
    "proxy": ("code-server", "start"),
    "code server": ("api", "grpc"),
    "staging": ("serve", "staging"),
    "production": ("serve", "production"),
    "run worker": ("spawn_main",),
}
TARGETS = ("daemon", "webserver", "code server", "run worker", "trainer", "staging", "production")
HOME_VARIABLE = "CARSDEPO_HOME"


def mine(home: Path) -> Iterator[tuple[str, psutil.Process]]:
    """(kind, process) of every living process of this machine that works on the home, whoever its parent is now."""
    for process in psutil.process_iter():
        try:
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if process.environ().get(HOME_VARIABLE) != str(home):
                continue
            yield kind_of(process), process
        except psutil.Error:
            continue


def kind_of(process: psutil.Process) -> str:
    """The kind of a process of the platform, by its command line; `other` where it is none of KINDS."""
    line = process.cmdline()
    for kind, texts in KINDS.items():
        if all(any(text == part or (len(texts) == 1 and text in part) for part in line) for text in texts):
            return kind
    return "other"


@dataclass
class Killer:
    """Kills one process at a time, of a kind that is drawn at random from those that are running."""

    home: Path
    seed: int
    kills: list[tuple[float, str]] = field(default_factory=list)  # (seconds since the start, kind)
    _started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._choice = random.Random(self.seed)

    def kill_one(self) -> str | None:
        """The kind that was killed; None when nothing was there."""
        order = self._choice.sample(TARGETS, len(TARGETS))
        there = defaultdict(list)
        for kind, process in mine(self.home):
            there[kind].append(process)
        for kind in order:
            for process in sorted(there[kind], key=lambda p: p.pid, reverse=True):
                try:
                    os.kill(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                self.kills.append((round(time.monotonic() - self._started, 1), kind))
                return kind
        return None

    def by_kind(self) -> dict[str, int]:
        """Number of kills of each kind."""
        return dict(Counter(kind for _, kind in self.kills))


@dataclass
class Memory:
    """Resident memory of each kind over time."""

    home: Path
    samples: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))  # (second, MB)

    def sample(self, at: float) -> None:
        """Notes each process's memory; at: seconds since the start."""
        for kind, process in mine(self.home):
            try:
                self.samples[kind].append((at, process.memory_info().rss / 1e6))
            except psutil.Error:
                continue

    def grown_kinds(self, seconds: float) -> dict[str, tuple[float, float]]:
        """The long-lived kinds whose memory grew in a run of so many seconds, with the medians of both thirds in MB."""
        kinds = {}
        for kind in self.samples.keys() - ONE_RUN_EACH:
            middle, last = self.thirds(kind, seconds)
            if middle is not None and last is not None and grown(middle, last):
                kinds[kind] = (middle, last)
        return kinds

    def thirds(self, kind: str, seconds: float) -> tuple[float | None, float | None]:
        """Medians in MB of the middle and of the last third of a run of so many seconds; None under FEWEST samples."""
        middle = [mb for at, mb in self.samples[kind] if seconds / 3 <= at < 2 * seconds / 3]
        last = [mb for at, mb in self.samples[kind] if at >= 2 * seconds / 3]
        return tuple(statistics.median(part) if len(part) >= FEWEST else None for part in (middle, last))  # type: ignore[return-value]


# Processes that live for one run: what they hold depends on which job it is and how far it has come (an import is half
# as large as a release), so their medians compare jobs. Nothing of theirs outlives the run.
ONE_RUN_EACH = frozenset({"run worker", "trainer"})
FEWEST = 5  # samples under which a median says nothing
# The last third's median may lie this far above the middle third's: models and tables grow a little while it runs.
GROWTH, SLACK_MB = 1.25, 40.0


def grown(middle: float, last: float) -> bool:
    """Whether a median in MB lies beyond the bound over an earlier one: GROWTH times and SLACK_MB more."""
    return last > GROWTH * middle + SLACK_MB
