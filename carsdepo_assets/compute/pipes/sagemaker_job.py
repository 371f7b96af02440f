"""Runs one SageMaker job to its end for the training and the processing client, and takes up one that goes on.

A job's name is the client's handle on it across processes. Names are tried in the order `name`, `name-2`, ...: the
first that is not Failed or Stopped is the job of this call; where there is none of that name, it is created.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import dagster as dg
from dagster import PipesClient
from dagster._core.definitions.resource_annotation import TreatAsResourceParam
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.pipes.client import PipesClientCompletedInvocation
from dagster._core.pipes.context import PipesSession
from dagster._core.pipes.utils import open_pipes_session
from dagster._utils.interrupts import capture_interrupts

from carsdepo_assets.compute.pipes.aws_calls import AwsClients, CallFailed, JobUnobserved, PatientCalls, PatientPut
from carsdepo_assets.compute.pipes.aws_errors import code_of
from carsdepo_assets.compute.pipes.job_report import JobFailed, the_materialization
from carsdepo_assets.compute.pipes.job_requests import Price, attempt_name, job_name
from carsdepo_assets.compute.pipes.s3_channel import S3PrefixContextInjector, S3PrefixMessageReader

Context = dg.AssetExecutionContext | dg.OpExecutionContext
Description = Mapping[str, Any]
Build = Callable[[str, PipesSession], dict[str, Any]]

COMPLETED, FAILED, STOPPED, STOPPING = "Completed", "Failed", "Stopped", "Stopping"
OVER = (COMPLETED, FAILED, STOPPED)
MOST_ATTEMPTS = 50
_GROWTH = 1.5  # of the pause between two questions while nothing changes


class NoInstance(JobFailed):
    """A job got no instance."""


@dataclass(frozen=True)
class _Work:
    """What one call of `run` is about."""

    context: Context
    calls: PatientCalls
    build: Build
    extras: dict[str, Any] | None
    price: Price


class SageMakerJobClient(PipesClient, TreatAsResourceParam):
    """What the clients of SageMaker's kinds of jobs share.

    Args:
        bucket: S3 bucket for the Pipes context and messages, in the region of the jobs.
        prefix: key prefix in it; each job has a folder below.
        region_name: of the jobs; None: boto3's own.
        session: makes boto3 sessions; called again when credentials are refused. None: boto3.Session.
        client: a boto3 SageMaker client to use as it is; its credentials cannot be renewed by this client.
        s3_client: the same for S3.
        forward_termination: a cancelled run stops its job.
        poll_interval: seconds between two questions to SageMaker, at least, and between two looks for messages.
        poll_interval_max: what the first grows to while nothing changes.
        stop_timeout: seconds to wait for a job to stop; SageMaker gives its container 120.
        patience: seconds of throttling or network trouble after which a job is left to itself.
        short_patience: the same for refused credentials and a wrong clock.
        sleep: waits for a number of seconds.
        clock: seconds that only grow.
    """

    NOUN: ClassVar[str]  # "training job": in messages
    KIND: ClassVar[str]  # "training_job": in the names of boto3's methods
    FIELD: ClassVar[str]  # "TrainingJob": in the names of request and response fields

    def __init__(
        self,
        bucket: str,
        prefix: str = "dagster-pipes",
        *,
        region_name: str | None = None,
        session: Callable[[], Any] | None = None,
        client: Any = None,
        s3_client: Any = None,
        forward_termination: bool = True,
        poll_interval: float = 5.0,
        poll_interval_max: float = 30.0,
        stop_timeout: float = 300.0,
        patience: float = 3600.0,
        short_patience: float = 300.0,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.bucket, self.prefix = bucket, prefix.strip("/")
        self.forward_termination = forward_termination
        self.poll_interval, self.poll_interval_max = poll_interval, max(poll_interval, poll_interval_max)
        self.stop_timeout, self.patience, self.short_patience = stop_timeout, patience, short_patience
        self._clients = AwsClients(session, region_name, {"sagemaker": client, "s3": s3_client})
        self._sleep, self._clock = sleep, clock
        self._asked_at: float | None = None  # when SageMaker was last asked

    @property
    def region_name(self) -> str:
        """Of the jobs."""
        return str(self._clients["sagemaker"].meta.region_name)

    def folder(self, name: str) -> str:
        """The key prefix of a job's context and messages."""
        return f"{self.prefix}/{name}" if self.prefix else name

    @abstractmethod
    def _metadata(self, name: str, description: Description, price: Price) -> dict[str, Any]:
        """What AWS knows of a job that has ended, for its materialization."""

    @abstractmethod
    def _trouble(self, description: Description) -> list[str]:
        """What AWS says against a job that has ended; empty: it is Completed."""

    def _no_capacity(self, description: Description) -> bool:
        return str(description.get("FailureReason", "")).startswith("CapacityError")

    def _run(
        self, context: Context, name: str, build: Build, extras: dict[str, Any] | None, price: Price
    ) -> PipesClientCompletedInvocation:
        """Takes up or starts a job and waits for its end; returns its results.

        Raises:
            NoInstance: AWS had no instance for it.
            JobFailed: it did not succeed, or could not be started.
            JobUnobserved: it goes on, and AWS cannot be asked about it.
        """
        calls = self._calls(context, self.patience, self.short_patience)
        work = _Work(context, calls, build, extras, price)
        base = job_name(name)
        for attempt in range(1, MOST_ATTEMPTS + 1):
            one = attempt_name(base, attempt)
            try:
                before = self._describe(calls, one, at_once=True)
                if before is not None and self._status(before) == STOPPING:
                    context.log.info(f"The {self.NOUN} {one} is being stopped: waiting for its end.")
                    before = self._until_over(calls, one)
            except CallFailed as error:
                raise JobUnobserved(f"{error} This call started no {self.NOUN}; one named {one} may run.") from error
            if before is not None and self._status(before) in (FAILED, STOPPED):
                context.log.info(f"The {self.NOUN} {one} is {self._status(before)}: going on to the next attempt.")
                continue
            try:
                return self._attempt(work, one, before)
            except JobFailed as error:
                if before is None or self._status(before) != COMPLETED:
                    raise
                context.log.warning(f"{error.description} It ended before this call: going on to the next attempt.")
        raise JobFailed(f"{MOST_ATTEMPTS} {self.NOUN}s of the name {base} did not succeed: start the run afresh.")

    def _attempt(self, work: _Work, name: str, before: Description | None) -> PipesClientCompletedInvocation:
        """One job, to be created unless `before` describes it."""
        context, s3 = work.context, self._clients.standing("s3")
        reader = S3PrefixMessageReader(s3, self.bucket, self.folder(name))
        injector = S3PrefixContextInjector(PatientPut(s3, work.calls), self.bucket, self.folder(name))
        with open_pipes_session(
            context=context, context_injector=injector, message_reader=reader, extras=work.extras
        ) as session:
            request = work.build(name, session) if before is None else None
            try:
                if request is not None:
                    self._create(work.calls, name, request)
                    context.log.info(f"Started the {self.NOUN} {name}: {self._console(name)}")
                else:
                    context.log.info(f"Taking up the {self.NOUN} {name}, which an earlier call started.")
                description = self._wait(work, name, reader)
                work.calls(f"read the messages of {name}", reader.finish)
            except (DagsterExecutionInterruptedError, KeyboardInterrupt):
                if self.forward_termination:
                    with capture_interrupts():  # a second one must not leave the job to itself
                        self._stop(work, name)
                raise
            except dg.Failure:
                raise
            except Exception as error:  # AWS, or Dagster's own storage
                raise self._unobserved(name, error) from error
        figures = self._metadata(name, description, work.price)
        try:
            trouble = [*self._trouble(description), *reader.refused]
            the_materialization(session, f"SageMaker {self.NOUN} {name}", trouble, reader.missing)
        except JobFailed as error:
            kind = NoInstance if self._no_capacity(description) else JobFailed
            raise kind(description=error.description, metadata={**error.metadata, **figures}) from None
        if reader.remark:
            context.log.warning(f"{name}: {reader.remark}")
        return PipesClientCompletedInvocation(session, metadata=figures)

    def _create(self, calls: PatientCalls, name: str, request: dict[str, Any]) -> None:
        try:
            calls(f"create the {self.NOUN} {name}", lambda: self._create_once(request), at_once=True)
        except CallFailed as error:
            if error.trouble == "network":  # the request may have arrived
                raise
            raise JobFailed(f"{error} {self._advice(error)}".rstrip()) from error

    def _create_once(self, request: dict[str, Any]) -> None:
        """A second request after one whose answer was lost meets the job that the first one created."""
        try:
            self._ask("create", **request)
        except Exception as error:
            if code_of(error) != "ResourceInUse":
                raise

    def _advice(self, error: CallFailed) -> str:
        if error.code == "ResourceLimitExceeded":
            return (
                "Ask for a higher quota in the console of Service Quotas, service Amazon SageMaker, in region "
                f"{self.region_name}, under the name that AWS gives above; or choose another instance type."
            )
        if error.code in ("AccessDenied", "AccessDeniedException"):
            return f"The credentials of this process need the permission sagemaker:Create{self.FIELD} and iam:PassRole."
        return ""

    def _wait(self, work: _Work, name: str, reader: S3PrefixMessageReader) -> Description:
        """Relays messages until the job is over; asks SageMaker ever less often while nothing changes."""
        pause, last = self.poll_interval, ""
        ask_at = self._clock()
        while True:
            work.calls(f"read the messages of {name}", reader.poll)
            if reader.closed:  # the end is near
                pause = self.poll_interval
                ask_at = min(ask_at, (self._asked_at or 0.0) + pause)
            if self._clock() >= ask_at:
                description = self._describe(work.calls, name)
                if description is None:
                    raise CallFailed(f"SageMaker does not know the {self.NOUN} {name}.", "refused", "ResourceNotFound")
                if self._status(description) in OVER:
                    return description
                state = f"{self._status(description)}, {self._secondary(description)}"
                pause = self.poll_interval if state != last else min(pause * _GROWTH, self.poll_interval_max)
                if state != last:
                    work.context.log.info(f"The {self.NOUN} {name} is {state.rstrip(', ')}.")
                last, ask_at = state, self._clock() + pause
            self._sleep(self.poll_interval)

    def _stop(self, work: _Work, name: str) -> None:
        """Stops a job in whatever state it is, and waits for its end, though not for ever."""
        context = work.context
        calls = self._calls(context, self.stop_timeout, self.stop_timeout)  # whoever cancels waits no longer
        context.log.warning(f"Stopping the {self.NOUN} {name}.")
        try:
            calls(f"stop the {self.NOUN} {name}", lambda: self._ask("stop", **self._named(name)), at_once=True)
        except CallFailed as error:
            if error.code not in ("ResourceNotFound", "ValidationException"):  # those: it is over, or never began
                context.log.error(f"{error} Stop it by hand: {self._by_hand('stop', name)}")
                return
        try:
            description = self._until_over(calls, name)
        except CallFailed as error:
            context.log.error(f"{error} Whether it stopped is not known: {self._console(name)}")
            return
        if description is None:
            context.log.info(f"There is no {self.NOUN} {name}: nothing runs.")
        elif self._status(description) in OVER:
            context.log.info(f"The {self.NOUN} {name} is {self._status(description)}.")
        else:
            context.log.error(
                f"The {self.NOUN} {name} is still {self._status(description)} after {self.stop_timeout:g} s: see "
                f"{self._console(name)}"
            )

    def _until_over(self, calls: PatientCalls, name: str) -> Description | None:
        """The description of a job that was asked to stop, when it is over or after `stop_timeout` seconds."""
        ends = self._clock() + self.stop_timeout
        while True:
            last = self._describe(calls, name)
            if last is None or self._status(last) in OVER or self._clock() >= ends:
                return last
            self._sleep(self.poll_interval)

    def _describe(self, calls: PatientCalls, name: str, at_once: bool = False) -> Description | None:
        """What AWS knows of a job, None: nothing. Waits where the last question is less than `poll_interval` ago."""

        def ask() -> Description | None:
            if self._asked_at is not None:
                wait = self._asked_at + self.poll_interval - self._clock()
                if wait > 0:
                    self._sleep(wait)
            self._asked_at = self._clock()
            try:
                return dict(self._ask("describe", **self._named(name)))
            except Exception as error:
                if code_of(error) == "ResourceNotFound" or (
                    code_of(error) == "ValidationException" and ("not find" in str(error) or "not found" in str(error))
                ):
                    return None
                raise

        return calls(f"describe the {self.NOUN} {name}", ask, at_once=at_once)

    def _calls(self, context: Context, patience: float, short_patience: float) -> PatientCalls:
        return PatientCalls(
            self._clients, context.log.warning, self.poll_interval, patience, short_patience, self._sleep, self._clock
        )

    def _ask(self, verb: str, **request: Any) -> Any:
        return getattr(self._clients["sagemaker"], f"{verb}_{self.KIND}")(**request)

    def _named(self, name: str) -> dict[str, str]:
        return {f"{self.FIELD}Name": name}

    def _status(self, description: Description) -> str:
        return str(description[f"{self.FIELD}Status"])

    def _secondary(self, description: Description) -> str:
        return str(description.get("SecondaryStatus", ""))

    def _console(self, name: str) -> str:
        path = "jobs" if self.KIND == "training_job" else "processing-jobs"
        region = self.region_name
        return f"https://{region}.console.aws.amazon.com/sagemaker/home?region={region}#/{path}/{name}"

    def _console_link(self, name: str) -> dg.MetadataValue:
        return dg.MetadataValue.url(self._console(name))

    def _by_hand(self, verb: str, name: str) -> str:
        kind = self.KIND.replace("_", "-")
        return f"aws sagemaker {verb}-{kind} --{kind}-name {name} --region {self.region_name}"

    def _unobserved(self, name: str, error: Exception) -> JobUnobserved:
        return JobUnobserved(
            f"{str(error).rstrip('.')}. The {self.NOUN} {name} goes on by itself. Re-execute this run from the failed "
            "step: it takes the job up and reads all its messages. To end the job instead: "
            f"{self._by_hand('stop', name)}"
        )
