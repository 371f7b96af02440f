"""Calls of AWS by a client that waits for a job: which are tried again, and what the errors of the others mean.

A job must not be lost because a question about it fails: throttling, the network, a clock and credentials can recover
while the job goes on.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

import dagster as dg

Trouble = Literal["throttled", "network", "credentials", "skew", "refused"]
T = TypeVar("T")

_THROTTLED = frozenset(
    {
        "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException",
        "TooManyRequestsException", "RequestLimitExceeded", "SlowDown", "ServiceUnavailable",
    }
)  # fmt: skip
_CREDENTIALS = frozenset(
    {
        "ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired",
        "UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId",
    }
)  # fmt: skip
_SKEWED = "RequestTimeTooSkewed"
_SIGNATURES = frozenset({"InvalidSignatureException", "SignatureDoesNotMatch"})
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


def trouble_of(error: Exception) -> Trouble | None:
    """Which kind of trouble an error of botocore is; None: it is none of botocore's."""
    from botocore import exceptions  # type: ignore[import-untyped]

    if isinstance(error, exceptions.ClientError):
        code = code_of(error)
        message = str(error.response.get("Error", {}).get("Message", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code in _CREDENTIALS:
            return "credentials"
        if code == _SKEWED or (code in _SIGNATURES and ("expired" in message or "not yet current" in message)):
            return "skew"
        if code in _THROTTLED or status == 429:
            return "throttled"
        return "network" if status >= 500 else "refused"
    if isinstance(
        error,
        exceptions.NoCredentialsError
        | exceptions.PartialCredentialsError
        | exceptions.CredentialRetrievalError
        | exceptions.SSOError
        | exceptions.TokenRetrievalError,
    ):
        return "credentials"
    if isinstance(error, exceptions.HTTPClientError | exceptions.ConnectionError | exceptions.ResponseStreamingError):
        return "network"
    if isinstance(error, exceptions.BotoCoreError):
        return "refused"
    return None


def code_of(error: Exception) -> str:
    """AWS's code of an error, or the name of its class."""
    response: Mapping[str, Any] = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code") or type(error).__name__)


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
        log: gets a line before each further try.
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
                return call()
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
                    raise CallFailed(
                        f"Could not {what}: {words_of(error, trouble)}", trouble, code_of(error)
                    ) from error
                self._log(f"Could not {what}: {words_of(error, trouble)} Trying again in {wait:.3g} s.")
                self._sleep(wait * random.uniform(1.0, 1.2))
                wait = min(wait * 2, LONGEST_WAIT_S)


def words_of(error: Exception, trouble: Trouble) -> str:
    """What an error means and what to do about it."""
    text = f"{error}".rstrip(".")
    if trouble == "credentials":
        return f"AWS refuses the credentials of this process ({text}). Renew them where it takes them from."
    if trouble == "skew":
        headers = getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPHeaders", {})
        theirs = headers.get("date", "unknown")
        return (
            f"This machine's clock differs from AWS's: AWS has {theirs}, this machine {datetime.now(UTC):%H:%M:%S} UTC "
            f"({text}). Set the clock, for example by `timedatectl set-ntp true`."
        )
    return f"{text}."
