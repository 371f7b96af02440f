"""What an error of AWS, or of the way to it, means: whether it can pass, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Literal

Trouble = Literal["throttled", "network", "credentials", "skew", "refused"]

_THROTTLED = frozenset(
    {
        "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException",
        "TooManyRequestsException", "RequestLimitExceeded", "LimitExceededException", "SlowDown",
    }
)  # fmt: skip
_AT_AWS = frozenset(
    {"ServerException", "InternalFailure", "InternalError", "ServiceUnavailable", "ServiceUnavailableException"}
)
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"})
_UNKNOWN_KEY = frozenset({"InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId"})
_CLOCK = frozenset({"RequestTimeTooSkewed", "RequestInTheFuture"})
_CLOCK_WORDS = ("signature expired", "signature not yet current")  # in errors of signatures, whatever their code
# EC2 gives it for both (Amazon EC2 API Reference, "Error codes for the Amazon EC2 API").
_CLOCK_OR_EXPIRED = "RequestExpired"
_SKEW = timedelta(minutes=5)  # that AWS tolerates
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})


def trouble_of(error: BaseException) -> Trouble | None:
    """Which kind of trouble an error is; None: it comes neither from AWS nor from the way to it."""
    if not _response(error):
        return _on_the_way(error)
    code = code_of(error)
    status = int(_response(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _EXPIRED or code in _UNKNOWN_KEY:
        return "credentials"
    if code in _CLOCK or any(words in message_of(error).lower() for words in _CLOCK_WORDS):
        return "skew"
    if code == _CLOCK_OR_EXPIRED:
        return "skew" if _differs(error) else "credentials"
    if code in _THROTTLED or status == 429:
        return "throttled"
    return "network" if code in _AT_AWS or status >= 500 else "refused"


def passes(trouble: Trouble | None) -> bool:
    """Whether the same request may succeed later without a change of its own: credentials can be renewed."""
    return trouble in ("throttled", "network", "credentials")


def code_of(error: BaseException) -> str:
    """AWS's code of an error, such as `ThrottlingException`, or the name of its class."""
    return str(_details(error).get("Code") or type(error).__name__)


def message_of(error: BaseException) -> str:
    """AWS's words for an error, without the operation that botocore puts before them."""
    return str(_details(error).get("Message") or error)


def explained(error: BaseException) -> str:
    """What happened and what to do, as one or two sentences."""
    trouble, code = trouble_of(error), code_of(error)
    quoted = f"({code}: {message_of(error).rstrip('.')})"
    if trouble == "skew":
        theirs = _headers(error).get("date", "a time that it did not tell")
        return (
            f"This machine's clock differs from AWS's: AWS has {theirs}, this machine "
            f"{datetime.now(UTC):%a, %d %b %Y %H:%M:%S} UTC {quoted}. Set the clock by NTP, for example with "
            "`timedatectl set-ntp true`."
        )
    if trouble == "credentials":
        if code in _EXPIRED or code == _CLOCK_OR_EXPIRED:
            what = "The AWS credentials have expired"
        elif code in _UNKNOWN_KEY:
            what = "AWS does not know the credentials of this process"
        else:
            what = "This process has no AWS credentials, or cannot read them"
        return f"{what} {quoted}. Renew them where it takes them from, or use a role, which renews them by itself."
    if trouble == "throttled":
        return f"AWS was asked too often {quoted}."
    if trouble == "network":
        return f"{'AWS had a fault of its own' if _response(error) else 'AWS could not be reached'} {quoted}."
    if code in _DENIED:
        return f"The role may not do this {quoted}. Ask for this permission in the role's policy."
    return f"{quoted[1:-1]}."


def _on_the_way(error: BaseException) -> Trouble | None:
    from botocore import exceptions  # type: ignore[import-untyped]
    from urllib3.exceptions import HTTPError

    credentials = (
        exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.CredentialRetrievalError,
        exceptions.MetadataRetrievalError, exceptions.SSOError, exceptions.TokenRetrievalError,
    )  # fmt: skip
    network = (
        exceptions.HTTPClientError, exceptions.ConnectionError, exceptions.ResponseStreamingError,
        exceptions.IncompleteReadError, exceptions.ChecksumError, HTTPError, ConnectionError, TimeoutError,
    )  # fmt: skip
    if isinstance(error, credentials):
        return "credentials"
    if isinstance(error, network):
        return "network"
    return "refused" if isinstance(error, exceptions.BotoCoreError) else None


def _response(error: BaseException) -> Mapping[str, Any]:
    """AWS's answer as botocore keeps it; empty: there was none."""
    response = getattr(error, "response", None)
    return response if isinstance(response, Mapping) else {}


def _details(error: BaseException) -> Mapping[str, Any]:
    return _response(error).get("Error") or {}


def _headers(error: BaseException) -> Mapping[str, str]:
    return _response(error).get("ResponseMetadata", {}).get("HTTPHeaders") or {}


def _differs(error: BaseException) -> bool:
    """Whether AWS's clock, as its answer has it, is not this machine's."""
    try:
        theirs = parsedate_to_datetime(_headers(error).get("date", ""))
    except ValueError:
        return False
    return abs(datetime.now(UTC) - theirs.astimezone(UTC)) > _SKEW
