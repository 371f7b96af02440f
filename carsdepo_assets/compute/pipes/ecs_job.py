"""A job on ECS from its first task to its end, whichever process watches it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._utils.interrupts import capture_interrupts, check_captured_interrupt

from carsdepo_assets.compute.pipes.aws_calls import CallFailed, JobUnobserved
from carsdepo_assets.compute.pipes.aws_errors import explained
from carsdepo_assets.compute.pipes.ecs_calls import EcsCalls, NoMachine, NotNow, PollPause, Seen, TaskLimits
from carsdepo_assets.compute.pipes.ecs_ending import Ending, ending, paid_s, ran_s
from carsdepo_assets.compute.pipes.ecs_record import Over, RecordStore, TaskEntry, TaskRecord
from carsdepo_assets.compute.pipes.ecs_request import CapacityProvider, client_token, started_by, with_provider

_FORGOTTEN = "ECS does not know its task any more, nor its exit code: stopped tasks are kept for about an hour"


@dataclass
class EcsJob:
    """One job: the tasks that it has had and the one that it has now."""

    name: str
    cluster: str
    container: str
    providers: tuple[CapacityProvider, ...]
    calls: EcsCalls
    limits: TaskLimits
    store: RecordStore
    log: Any
    """A Dagster context's log."""
    max_runtime_s: float | None
    _record: TaskRecord = field(default_factory=TaskRecord)
    _now: TaskEntry | None = None
    _at: int = 0
    """Which of the providers is asked next."""
    _refusals: int = 0
    """Answers of RunTask that started no task."""

    @property
    def round(self) -> int:
        """Tasks that go on from one another's checkpoint share a round; see TaskEntry."""
        return self._now.round if self._now is not None else self._record.round()

    @property
    def title(self) -> str:
        """The job and its task, for messages."""
        task = self._now or self._record.last
        return f"ECS job {self.name}" + (f" (task {task.arn.rpartition('/')[2]})" if task is not None else "")

    def take_up(self) -> None:
        """Finds the task that an earlier process started, where it runs still or ended well."""
        self._record = self.calls.asked_first(f"read the record of the tasks of {self.name}", self.store.read)
        last = self._record.last
        if last is not None and last.over is None:
            self._now = last
        else:
            listed = self.calls.asked_first(
                f"list the tasks of {self.name}", lambda: self.calls.under_way(self.cluster, started_by(self.name))
            )
            unrecorded = sorted(set(listed) - {task.arn for task in self._record.tasks})
            if unrecorded:  # its process died before it could record it
                self._add(TaskEntry(unrecorded[0], None, self._record.round()))
        if self._now is None:
            return
        self._at = next((i for i, p in enumerate(self.providers) if p.name == self._now.provider), 0)
        look = f"look at {self.title}"
        task = self.calls.asked_first(look, lambda: self.calls.look(self.cluster, self._arn())).task
        if task is None:
            self.log.warning(f"{self.title} is not known to ECS any more, nor is its exit code: starting again.")
            self._over("failed")
        elif task.get("lastStatus") == "STOPPED":
            end = ending(task, self.container)
            if end.kind == "ended well":
                self.log.info(f"{self.title} ended while nobody watched it: taking its report.")
                return
            self.log.warning(f"{self.title} had ended: {end.text}. Starting again.")
            self._over("failed" if end.kind == "failed" else end.kind, task)
        else:
            self.log.info(f"{self.title} is under way ({task.get('lastStatus')}): taking it up.")

    def to_its_end(self, request: Mapping[str, Any], relay: Callable[[], object]) -> str | None:
        """Starts the job where none was taken up, and waits for its end.

        Args:
            request: of RunTask, without capacity provider and client token.
            relay: relays the messages that have come; called at each look.

        Returns:
            What AWS says against the job; None: its container exited with code 0.
        """
        while True:
            if self._now is None:
                self._start(request)
            end = self._watch(relay)
            if end.kind == "ended well":
                return None
            if end.kind == "failed":
                return end.text
            title = self.title
            self._over(end.kind)
            if end.kind == "interrupted" and self.interruptions > self.limits.interruptions:
                return f"{end.text}, {self.interruptions} times"
            self._refusals += end.kind == "no capacity"
            if self._refusals >= self.limits.starts:
                return f"it did not start: {end.text}"
            self._next_provider()
            self.log.warning(f"{title}: {end.text}. Going on with {self._provider_text()}.")

    @property
    def last_arn(self) -> str:
        """ARN of the newest task."""
        task = self._now or self._record.last
        return task.arn if task is not None else ""

    @property
    def interruptions(self) -> int:
        """Machines of this round that AWS took back."""
        return sum(t.round == self.round and t.over == "interrupted" for t in self._record.tasks)

    def stop(self, reason: str, relay: Callable[[], object]) -> None:
        """Stops the job's task, if it has one, and waits for its end for a bounded time."""
        if self._now is None:
            return
        with capture_interrupts():
            self.log.warning(f"{self.title} is being stopped. {reason}")
            task = self.calls.stop(self.cluster, self._arn(), reason)
            if task is None:
                self.log.warning(self._look_after())
            try:
                relay()
            except Exception as error:
                self.log.warning(f"The last messages of {self.title} were not read. {explained(error)}")
            self._over("failed", task)

    def end(self, over: Over) -> None:
        """Records how the job ended."""
        self._over(over)

    def metadata(self, region: str) -> dict[str, Any]:
        """Where the job ran, for how long and for how much money, all tasks of its round together."""
        tasks = [t for t in self._record.tasks if t.round == self.round_of_last]
        last = tasks[-1]
        prices = {p.name: p.price_per_hour for p in self.providers}
        costs = [t.paid_s / 3600 * price for t in tasks if (price := prices.get(t.provider)) is not None]
        spot = {p.name: p.spot for p in self.providers}.get(last.provider, False)
        cluster = self.cluster.rpartition("/")[2]
        url = (
            f"https://{region}.console.aws.amazon.com/ecs/v2/clusters/{cluster}/tasks/{last.arn.rpartition('/')[2]}"
            f"?region={region}"
        )
        return {
            "job": self.name,
            "job_page": dg.MetadataValue.url(url),
            "capacity_provider": last.provider or "default",
            "capacity": "spot" if spot else "on-demand",
            "seconds": round(sum(t.ran_s for t in tasks), 1),
            "billable_seconds": round(sum(t.paid_s for t in tasks), 1),
            "interruptions": sum(t.over == "interrupted" for t in tasks),
            **({"money": round(sum(costs), 6)} if len(costs) == len(tasks) else {}),
        }

    @property
    def round_of_last(self) -> int:
        """The round of the newest task."""
        assert self._record.last is not None, "the job has had a task"
        return self._record.last.round

    def _start(self, request: Mapping[str, Any]) -> None:
        pause = PollPause(self.limits.poll_s, self.limits.poll_most_s)
        answers: dict[str, str] = {}
        rounds = 0
        while True:
            provider = self.providers[self._at]
            token = client_token(self.name, len(self._record.tasks) + 1, self._refusals)
            try:
                # An interruption between RunTask and the record would lose the task.
                with capture_interrupts():
                    arn = self.calls.run_task(with_provider(request, provider), token)
                    self._add(TaskEntry(arn, provider.name, self._record.round()))
                    interrupted = check_captured_interrupt()
                if interrupted:
                    raise DagsterExecutionInterruptedError
                self.log.info(f"{self.title} was started with {self._provider_text()}.")
                return
            except NoMachine as answer:
                self._refusals += 1
                answers[self._provider_text()] = str(answer)
                if self._at + 1 < len(self.providers):
                    was = self._provider_text()
                    self._next_provider()
                    self.log.warning(f"There is no capacity with {was} ({answer}): trying {self._provider_text()}.")
                    continue
                self._at = 0
            except NotNow as answer:
                self._refusals += answer.__cause__ is None  # a throttled request is repeated as it was
                answers[self._provider_text()] = str(answer)
            rounds += 1
            if rounds >= self.limits.starts:
                text = "; ".join(f"{name}: {answer}" for name, answer in answers.items())
                raise dg.Failure(
                    f"ECS job {self.name} could not be started in {rounds} attempts. {text} Ask AWS for a higher "
                    "quota, or name another capacity provider or other instance types.",
                    allow_retries=False,
                )
            pause.sleep(jitter=True)

    def _watch(self, relay: Callable[[], object]) -> Ending:
        """Until the task has stopped, or ECS does not know it any more."""
        pause = PollPause(self.limits.poll_s, self.limits.poll_most_s)
        status, missing = None, 0

        def look() -> Seen:
            seen = self.calls.look(self.cluster, self._arn())
            relay()
            return seen

        while True:
            try:
                seen = self.calls.patiently(f"watch {self.title}", look)
            except Exception as error:  # AWS, or Dagster's own storage
                why = str(error) if isinstance(error, CallFailed) else f"Could not watch {self.title}: {error!r}."
                raise JobUnobserved(
                    f"{why} The task goes on; a re-execution of this run takes it up.",
                    allow_retries=False,  # another try would not be this job
                ) from error
            if seen.task is None:
                missing += 1
                if missing >= self.limits.missing_polls:
                    return Ending("failed", _FORGOTTEN)
            else:
                missing = 0
                if seen.task.get("lastStatus") == "STOPPED":
                    self._count(seen.task)
                    return ending(seen.task, self.container)
                if seen.task.get("lastStatus") != status:
                    status = seen.task.get("lastStatus")
                    self.log.info(f"{self.title} is {status}.")
                    pause.reset()
                if (end := self._past_limits(seen.task, seen.at)) is not None:
                    return end
            pause.sleep()

    def _past_limits(self, task: Mapping[str, Any], now: datetime) -> Ending | None:
        """Stops a task that waits or runs for too long."""
        created = task.get("createdAt")
        waited = (now - created).total_seconds() if created is not None else 0.0
        if task.get("lastStatus") == "PROVISIONING" and waited > self.limits.provisioning_s:
            end = Ending("no capacity", f"no machine came within {self.limits.provisioning_s:.0f} s")
        elif self.max_runtime_s is not None and self._ran_before() + ran_s(task, now) > self.max_runtime_s:
            end = Ending("failed", f"it ran longer than its limit of {self.max_runtime_s:.0f} s and was stopped")
        else:
            return None
        stopped = self.calls.stop(self.cluster, self._arn(), f"The job's limit: {end.text}")
        if stopped is None:  # another task beside it would do the same work
            return Ending("failed", f"{end.text}. {self._look_after().rstrip('.')}")
        self._count(stopped)
        return end

    def _ran_before(self) -> float:
        return sum(t.ran_s for t in self._record.tasks if t.round == self.round and t is not self._now)

    def _look_after(self) -> str:
        return (
            f"{self.title} was not seen to stop. Look after it: aws ecs stop-task --cluster {self.cluster} "
            f"--task {self._arn()}"
        )

    def _arn(self) -> str:
        assert self._now is not None, "the job has a task"
        return self._now.arn

    def _add(self, entry: TaskEntry) -> None:
        self._record.tasks.append(entry)
        self._now = entry
        self._keep()

    def _count(self, task: Mapping[str, Any]) -> None:
        assert self._now is not None
        self._now.ran_s, self._now.paid_s = ran_s(task, None), paid_s(task)
        self._now.provider = task.get("capacityProviderName") or self._now.provider

    def _over(self, over: Over, task: Mapping[str, Any] | None = None) -> None:
        if self._now is None:
            return
        if task is not None:
            self._count(task)
        self._now.over = over
        self._now = None
        self._keep()

    def _keep(self) -> None:
        """Stores the record; a job whose record is not stored goes on, and is found by its startedBy."""
        try:
            self.store.write(self._record)
        except Exception as error:
            self.log.warning(f"The tasks of {self.title} were not recorded on S3. {explained(error)}")

    def _next_provider(self) -> None:
        self._at = min(self._at + 1, len(self.providers) - 1)

    def _provider_text(self) -> str:
        provider = self.providers[self._at]
        name = f"capacity provider {provider.name}" if provider.name else "the cluster's default capacity"
        return f"{name} ({'spot' if provider.spot else 'on-demand'})" if provider.name else name
