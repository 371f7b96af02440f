"""Calls of AWS by a client that waits for a job: by clients that are renewed, and again after trouble that can pass.

A job must not be lost because a question about it fails: throttling, the network, a clock and credentials can recover
while the job goes on.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import dagster as dg

from carsdepo_assets.compute.pipes.aws_errors import Trouble, code_of, explained, trouble_of

T = TypeVar("T")

LONGEST_WAIT_S = 60.0  # seconds between two tries


class JobUnobserved(dg.Failure):
    """AWS could not be asked about a job that goes on; `description` says how to take it up again."""


class CallFailed(Exception):
    """A call of AWS failed for good; the text says what and why, `trouble` the kind."""

    def __init__(self, text: str, trouble: Trouble, code: str) -> None:
        super().__init__(text)
        self.trouble = trouble
        self.code = code
        """AWS's code of the error, or the name of botocore's class."""


class AwsClients:
    """boto3 clients by the name of their service, of a session that is opened anew when its credentials are refused.

    botocore renews by itself only what it took from a refreshable provider, such as a role; a new session reads
    variables, files and providers again.

    Args:
        session: makes a boto3 session; None: boto3's own, in `region_name`.
        region_name: None: the session's own.
        clients: used as they are for their services, and never renewed.
    """

    def __init__(
        self,
        session: Callable[[], Any] | None = None,
        region_name: str | None = None,
        clients: Mapping[str, Any] | None = None,
    ) -> None:
        self._make, self._region = session, region_name
        self._given = {k: v for k, v in (clients or {}).items() if v is not None}
        self._session: Any = None
        self._clients: dict[str, Any] = {}

    def __getitem__(self, service: str) -> Any:
        """The client of a service. It tries nothing again by itself: its owner counts the calls."""
        if service in self._given:
            return self._given[service]
        if service not in self._clients:
            from botocore.config import Config  # type: ignore[import-untyped]

            attempts = 1 if service == "sagemaker" else 3
            config = Config(retries={"mode": "standard", "total_max_attempts": attempts})
            self._clients[service] = self._current().client(service, config=config)
        return self._clients[service]

    def renew(self) -> None:
        """Opens a new session at the next call."""
        self._session = None
        self._clients = {}

    def standing(self, service: str) -> Any:
        """What can be used as the client of a service for ever, as each call goes to the newest one."""
        return _Newest(self, service)

    def _current(self) -> Any:
        if self._session is None:
            import boto3

            self._session = self._make() if self._make is not None else boto3.Session(region_name=self._region)
        return self._session


class _Newest:
    def __init__(self, clients: AwsClients, service: str) -> None:
        self._clients, self._service = clients, service

    def __getattr__(self, name: str) -> Any:
        return getattr(self._clients[self._service], name)


class PatientCalls:
    """Calls AWS again after trouble that can pass, with growing pauses.

    Args:
        clients: renewed when credentials are refused.
        log: gets a line before each further try, and one when AWS answers again.
        first_wait_s: seconds before the second try; doubled for each further one, up to LONGEST_WAIT_S.
        patience_s: seconds of throttling or network trouble without one success before the call fails.
        short_patience_s: the same for credentials and clocks, which a person has to mend.
        sleep: waits for a number of seconds.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        clients: AwsClients,
        log: Callable[[str], None],
        first_wait_s: float = 5.0,
        patience_s: float = 3600.0,
        short_patience_s: float = 300.0,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clients, self._log = clients, log
        self._first_wait_s, self._patience_s, self._short_patience_s = first_wait_s, patience_s, short_patience_s
        self._sleep, self._clock = sleep, clock

    def __call__(self, what: str, call: Callable[[], T], *, at_once: bool = False) -> T:
        """Returns what the call returns.

        Args:
            what: the call in words, such as "describe training job carsdepo-1".
            call: calls AWS.
            at_once: a person's trouble (credentials, clock) is no reason to wait; credentials are read anew once.

        Raises:
            CallFailed: AWS refused, or the patience is used up.
        """
        began, wait, tries = self._clock(), self._first_wait_s, 0
        while True:
            try:
                answer = call()
            except Exception as error:
                trouble = trouble_of(error)
                if trouble is None:
                    raise
                tries += 1
                if trouble == "credentials":
                    self._clients.renew()
                patience = self._patience_s if trouble in ("throttled", "network") else self._short_patience_s
                if at_once and trouble in ("credentials", "skew"):
                    patience = 0.0 if tries > 1 or trouble == "skew" else self._short_patience_s
                if trouble == "refused" or self._clock() + wait - began > patience:
                    raise CallFailed(f"Could not {what}: {explained(error)}", trouble, code_of(error)) from error
                self._log(f"Could not {what}: {explained(error)} Trying again in {wait:.3g} s.")
                self._sleep(wait * random.uniform(1.0, 1.2))
                wait = min(wait * 2, LONGEST_WAIT_S)
            else:
                if tries:
                    self._log(f"AWS answers again, at try {tries + 1}: {what}.")
                return answer


class PatientPut:
    """A client of S3 that stores an object by a call that is tried again.

    Args:
        client: a boto3 S3 client.
        calls: try it again.
    """

    def __init__(self, client: Any, calls: PatientCalls) -> None:
        self._client, self._calls = client, calls

    def put_object(self, **request: Any) -> Any:
        """As boto3's.

        Raises:
            JobUnobserved: AWS refused, or the patience is used up.
        """
        what = f"store s3://{request['Bucket']}/{request['Key']}"
        try:
            return self._calls(what, lambda: self._client.put_object(**request), at_once=True)
        except CallFailed as error:
            raise JobUnobserved(f"{error} This call started no job; one that runs goes on.") from error
