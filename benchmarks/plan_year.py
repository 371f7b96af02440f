"""The planner over a simulated year: what closes when, which runs are asked for, when they start, and when they end.

The clock is simulated; the rules are the product's: `due_parts` closes batches, `window_to_measure` and
`retraining_decision` say when drift is measured and a training begins, `oldest_kept` which partitions leave. Around
them stand the rules of Dagster (one tick of a sensor after the other, a queue by priority, limits of runs at once) and
the costs that were measured or assumed (`Costs`).
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np

from benchmarks.plan_arrivals import Arrivals, Waiting, moment
from carsdepo_assets.data.batches.closing import due_parts
from carsdepo_assets.data.batches.roll_up import oldest_kept
from carsdepo_assets.monitoring.drift_schedule import DriftScheduleInputs, window_to_measure
from carsdepo_assets.policy import Policy
from carsdepo_assets.training.retraining import RetrainingDue, RetrainingInputs, retraining_decision

HOUR, DAY = 3600.0, 86_400.0
DEQUEUE_S, MONITOR_S, INFERENCE_TICK_S, QUALITY_TICK_S = 5.0, 60.0, 15.0, 30.0
BATCHES = ("uploads", "labels")
KEYS_A_RUN = 20_000


@dataclass(frozen=True)
class Costs:
    """Seconds that work takes, by unit."""

    tick_s: float = 0.3
    """A tick of a sensor with nothing new."""
    plan_s: dict[str, float] = field(default_factory=lambda: {"uploads": 0.0001, "labels": 0.004})
    """A tick more for each file that came, by kind."""
    ask_s: float = 0.002
    """A tick more for each batch that is not ingested: is there a run of it?"""
    request_s: float = 0.4
    """Dagster's daemon creates a run that a sensor asked for."""
    start_s: float = 60.0
    """From RunTask to Python's first line."""
    launch_s: float = 1.0
    """Between two RunTasks of the daemon."""
    run_s: dict[str, float] = field(default_factory=dict)
    """A run without its files, by family."""
    file_s: dict[str, float] = field(default_factory=dict)
    """A run more for each file, by family."""
    lookup_s: float = 0.0
    """A run of uploads more for each photograph that is known by then."""
    interrupted: float = 0.02
    """Share of the runs that lose their machine (spot), each time."""


@dataclass(frozen=True)
class Design:
    """What a team can set, and what the design says."""

    policy: Policy
    requests_a_tick: int
    max_runs: int
    max_batch_runs: int
    files_a_tick: dict[str, float] = field(default_factory=lambda: dict.fromkeys(BATCHES, math.inf))
    """New files that a tick looks at, by kind; what comes at once beyond it waits for the next tick."""
    index_rows: float = math.inf
    """Rows of the table `objects` in memory while its index is built."""
    interval_s: float = 10.0


@dataclass(frozen=True)
class Load:
    """What comes in."""

    days: int
    streams: dict[str, tuple[str, Arrivals]]
    """By name: uploads or labels, and its files. Streams of a kind batch each by itself, as imports do."""
    answers: Arrivals | None = None
    """Photographs that were inspected."""
    down: tuple[float, float] = (math.inf, math.inf)
    """When the platform is down, in seconds: no tick, no start."""
    seed: int = 1


@dataclass
class Batch:
    """A batch and its run."""

    stream: str
    kind: str
    start: int
    end: int
    closed: float
    requested: int = 0
    ingested: float | None = None


@dataclass
class Run:
    """A run that was asked for."""

    family: str
    files: int
    asked: float
    batch: Batch | None = None
    priority: int = 0
    attempt: int = 1


@dataclass
class Year:
    """What came of it."""

    batches: list[Batch] = field(default_factory=list)
    runs: Counter[str] = field(default_factory=Counter)
    """Runs by family, with those that were started again."""
    asked_at: list[float] = field(default_factory=list)
    waited: dict[str, list[float]] = field(default_factory=dict)
    """Seconds in the queue, by family."""
    task_s: Counter[str] = field(default_factory=Counter)
    most_at_once: int = 0
    most_queued: int = 0
    most_open: int = 0
    most_partitions: int = 0
    partitions_left: int = 0
    longest_tick_s: float = 0.0
    ticks_too_long: int = 0
    ticks: int = 0
    busy_s: float = 0.0
    left: int = 0


class Planner:
    """The simulation of a load under a design."""

    def __init__(self, load: Load, design: Design, costs: Costs) -> None:
        self.load, self.design, self.costs, self.year = load, design, costs, Year()
        self._rng = np.random.default_rng(load.seed)
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._number = 0
        self._end = load.days * DAY
        self._taken = dict.fromkeys(load.streams, 0)
        self._pending: dict[str, deque[Batch]] = {kind: deque() for kind in BATCHES}
        self._open: Counter[str] = Counter()
        self._partitions: dict[str, deque[Batch]] = {kind: deque() for kind in BATCHES}
        self._queue: list[tuple[int, int, Run]] = []
        self._held: deque[Run] = deque()  # batches that wait for their own limit
        self._running: Counter[str] = Counter()
        self._starts_from = self._daemon_free = 0.0
        self._answers_asked = 0
        self._reported: float | None = None
        self._labels = self._trained = self._asked_labels = 0
        self._newest_label: float | None = None
        self._changed_days = 0

    def run(self) -> Year:
        """Simulates until everything that came is ingested."""
        for kind in BATCHES:
            self._at(0.0, self._ticker(kind))
        if self.load.answers is not None:
            self._at(INFERENCE_TICK_S, self._inferences)
            self._at(HOUR, self._drift)
        self._at(HOUR / 2, self._maintain)
        while self._events:
            second, _, action = heapq.heappop(self._events)
            low, high = self.load.down
            action(high if low <= second < high else second)
        self.year.left = sum(a.total - self._taken[name] for name, (_, a) in self.load.streams.items())
        self.year.left += sum(1 for batch in self.year.batches if batch.ingested is None)
        self.year.partitions_left = sum(map(len, self._partitions.values()))
        return self.year

    def _at(self, second: float, action: Callable[[float], None]) -> None:
        if second < math.inf:
            self._number += 1
            heapq.heappush(self._events, (second, self._number, action))

    # The sensors that close batches.

    def _ticker(self, kind: str) -> Callable[[float], None]:
        def tick(second: float) -> None:
            if second < self._daemon_free:  # the daemon evaluates one sensor after the other
                self._at(self._daemon_free, tick)
                return
            came = self._close(kind, second)
            asked = self._request(kind, second)
            costs, interval = self.costs, self.design.interval_s
            evaluation = costs.tick_s + came * costs.plan_s[kind] + self._open[kind] * costs.ask_s
            year = self.year
            year.ticks += 1
            year.longest_tick_s = max(year.longest_tick_s, evaluation)
            year.ticks_too_long += evaluation > 60
            year.busy_s += evaluation + asked * costs.request_s
            self._daemon_free = second + evaluation + asked * costs.request_s
            due = self._daemon_free if self._pending[kind] else self._next_due(kind, second)
            if due < math.inf:
                self._at(max(second + interval, math.ceil(due / interval) * interval), tick)

        return tick

    def _close(self, kind: str, second: float) -> int:
        """Closes what is due, and returns how many files were looked at."""
        came, now = 0, moment(second)
        for name, (of, arrivals) in self.load.streams.items():
            if of != kind:
                continue
            start, end = self._taken[name], arrivals.until(second)
            end = int(
                min(end, start + self.design.policy.data.batch_max_images + self.design.files_a_tick[kind] - came)
            )
            for first, last in due_parts(Waiting(arrivals, start, end), self.design.policy.data, now):
                if start + first != self._taken[name]:
                    raise RuntimeError(f"{name}: photographs before {start + first} are in no batch")
                batch = Batch(name, kind, start + first, start + last, second)
                self.year.batches.append(batch)
                self._pending[kind].append(batch)
                self._partitions[kind].append(batch)
                self._open[kind] += 1
                self._taken[name] = start + last
                came += last - first
        self.year.most_open = max(self.year.most_open, sum(self._open.values()))
        self.year.most_partitions = max(self.year.most_partitions, sum(map(len, self._partitions.values())))
        return came

    def _request(self, kind: str, second: float) -> int:
        asked = 0
        while self._pending[kind] and asked < self.design.requests_a_tick:
            batch = self._pending[kind].popleft()
            batch.requested += 1
            asked += 1
            self._ask(Run(kind, batch.end - batch.start, second + asked * self.costs.request_s, batch))
        return asked

    def _next_due(self, kind: str, second: float) -> float:
        """When a batch of the kind can be due at the earliest."""
        data, due = self.design.policy.data, math.inf
        for name, (of, arrivals) in self.load.streams.items():
            taken = self._taken[name]
            if of != kind or taken >= arrivals.total:
                continue
            if arrivals.at(taken) > second:
                due = min(due, arrivals.at(taken))
                continue
            due = min(due, arrivals.at(taken) + data.batch_max_wait_s, arrivals.slow_from(second))
            if taken + data.batch_max_images <= arrivals.total:
                due = min(due, arrivals.at(taken + data.batch_max_images - 1))
        return due if due == math.inf else max(due, second)

    # The queue of runs.

    def _ask(self, run: Run) -> None:
        self.year.asked_at.append(run.asked)
        self.year.runs[run.family] += 1
        self._number += 1
        heapq.heappush(self._queue, (-run.priority, self._number, run))
        self.year.most_queued = max(self.year.most_queued, len(self._queue) + len(self._held))
        self._at(math.ceil(run.asked / DEQUEUE_S) * DEQUEUE_S, self._start)

    def _start(self, second: float) -> None:
        """Starts what has room: by priority, then by age; batches have a limit of their own."""
        limit, batches = self.design.max_runs, sum(self._running[kind] for kind in BATCHES)
        while sum(self._running.values()) < limit:
            of_batch = batches < self.design.max_batch_runs
            if self._held and of_batch and (not self._queue or self._queue[0][0] >= 0):
                run = self._held.popleft()
            elif self._queue:
                run = heapq.heappop(self._queue)[2]
                if run.batch is not None and not of_batch:
                    self._held.append(run)
                    continue
            else:
                break
            batches += run.batch is not None
            self._running[run.family] += 1
            begins = max(second, run.asked, self._starts_from)
            self._starts_from = begins + self.costs.launch_s
            self.year.waited.setdefault(run.family, []).append(begins - run.asked)
            self._begin(run, begins)
        self.year.most_at_once = max(self.year.most_at_once, sum(self._running.values()))

    def _begin(self, run: Run, second: float) -> None:
        costs = self.costs
        work = costs.run_s.get(run.family, 10.0) + run.files * costs.file_s.get(run.family, 0.0)
        if run.family == "uploads":
            work += costs.lookup_s * sum(
                self._taken[name] for name, (of, _) in self.load.streams.items() if of == "uploads"
            )
        lost = self._rng.random() < costs.interrupted and run.family != "train"  # whose job outlives its run
        lasts = costs.start_s + (work * self._rng.random() if lost else work)
        self.year.task_s[run.family] += lasts

        def end(at: float) -> None:
            self._running[run.family] -= 1
            self._at(math.ceil(at / DEQUEUE_S) * DEQUEUE_S, self._start)
            if not lost:
                self._ended(run, at)

        self._at(second + lasts, end)
        if lost:  # run monitoring notices it, and Dagster or the sensor asks for the run again
            again = second + lasts + MONITOR_S + self.design.interval_s
            self._at(again, lambda at: self._ask(replace(run, asked=at, attempt=run.attempt + 1)))

    def _ended(self, run: Run, second: float) -> None:
        if run.batch is not None:
            run.batch.ingested = second
            self._open[run.family] -= 1
            if run.family == "labels":
                self._labels += run.files
                self._newest_label = second
                self._changed_days = self.days_touched
                self._at(second + QUALITY_TICK_S, self._quality)
                self._retrain(second)
        elif run.family == "train":
            self._trained = self._asked_labels
            for step in ("release",) * 3:
                self._ask(Run(step, 0, second))
            self._retrain(second)
        elif run.family == "inferences":
            self._at(second + INFERENCE_TICK_S, self._inferences)
        elif run.family == "drift":
            self._ask(Run("route", 0, second + INFERENCE_TICK_S, priority=10))
        elif run.family == "quality":
            self._at(second + QUALITY_TICK_S, self._quality)
        elif run.family == "maintain":
            self._remove_partitions(second)

    # What follows from them.

    days_touched = 5
    """On how many days the photographs of one batch of labels were answered."""

    def _quality(self, second: float) -> None:
        if self._changed_days and not self._running["quality"]:
            for _ in range(self._changed_days):
                self._ask(Run("quality", 0, second))
            self._changed_days = 0

    def _retrain(self, second: float) -> None:
        if self.load.answers is None:
            return
        policy, age = self.design.policy.training, second - (self._newest_label or 0.0)
        inputs = RetrainingInputs(
            labels=self._labels, trained=self._trained, training=self._asked_labels > self._trained,
            ingesting=False, newest_label_s=max(age, policy.debounce_s),
        )  # fmt: skip
        if isinstance(retraining_decision(inputs, policy).action, RetrainingDue):
            self._asked_labels = self._labels
            self._ask(Run("train", 0, second))

    def _inferences(self, second: float) -> None:
        """A run for the day, as soon as the one before has ended."""
        assert self.load.answers is not None
        answered = self.load.answers.until(second)
        if answered > self._answers_asked:
            self._ask(Run("inferences", answered - self._answers_asked, second))
            self._answers_asked = answered
        elif second < self._end:
            self._at(second + 60, self._inferences)

    def _drift(self, second: float) -> None:
        assert self.load.answers is not None
        monitoring = self.design.policy.monitoring
        until, span = self.load.answers.until, monitoring.window_hours * HOUR
        since = 0.0 if self._reported is None else self._reported
        days: tuple[tuple[date, int], ...] = tuple(
            (moment(day * DAY).date(), until(day * DAY + DAY) - until(day * DAY))
            for day in range(int(since // DAY), int(second // DAY) + 1)
        )
        inputs = DriftScheduleInputs(
            now=moment(second), new=until(second) - until(since), oldest_new=moment(since),
            in_window=until(second) - until(max(0.0, second - span)),
            reported_at=None if self._reported is None else moment(self._reported), days=days,
        )  # fmt: skip
        if window_to_measure(inputs, monitoring).action is not None:
            self._reported = second
            for _ in inputs.days[-self.design.requests_a_tick :]:
                self._ask(Run("profile", 0, second))
            self._ask(Run("drift", 0, second, priority=10))
        if second < self._end:
            self._at(second + QUALITY_TICK_S * 10, self._drift)

    def _maintain(self, second: float) -> None:
        self._ask(Run("maintain", 0, second))
        if second < self._end:
            self._at(second + HOUR, self._maintain)

    def _remove_partitions(self, second: float) -> None:
        before = oldest_kept(moment(second), self.design.policy.data.batch_retention_days)
        for partitions in self._partitions.values():
            removed = 0
            while partitions and removed < KEYS_A_RUN and partitions[0].ingested is not None:
                if f"{moment(partitions[0].closed):%Y%m%dT%H%M%S%f}" >= before:
                    break
                partitions.popleft()
                removed += 1
