"""Which errors of AWS pass by themselves, and what to do about the others."""

from __future__ import annotations

from typing import Any

_THROTTLED = {
    "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException",
    "TooManyRequestsException", "RequestLimitExceeded", "LimitExceededException", "SlowDown",
}  # fmt: skip
_AT_AWS = {"ServerException", "InternalFailure", "InternalError", "ServiceUnavailable", "ServiceUnavailableException"}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException"}
_UNKNOWN_KEY = {"InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId"}
_CLOCK = {"RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"}
_CLOCK_WORDS = ("signature expired", "signature not yet current")  # InvalidSignatureException of the JSON services
_OWN_FAULTS = (
    "NoCredentials",
    "PartialCredentials",
    "ParamValidation",
    "NoRegion",
    "UnknownService",
    "ProfileNotFound",
)
_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}


def code(error: BaseException) -> str:
    """AWS's code of an error, such as `ThrottlingException`; empty where it is no answer of AWS."""
    response: dict[str, Any] = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def message(error: BaseException) -> str:
    """AWS's words for an error, without the operation that botocore puts before them."""
    response: dict[str, Any] = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Message") or error)


def throttled(error: BaseException) -> bool:
    """Whether AWS was asked too often."""
    return code(error) in _THROTTLED


def passes(error: BaseException) -> bool:
    """Whether the same request may succeed later: throttled, an outage, or credentials that are renewed."""
    if not code(error):
        at_network = isinstance(error, OSError) or type(error).__module__.partition(".")[0] in ("botocore", "urllib3")
        return at_network and not type(error).__name__.startswith(_OWN_FAULTS)
    status = int(getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return throttled(error) or code(error) in _AT_AWS | _EXPIRED or status >= 500


def clock_is_wrong(error: BaseException) -> bool:
    """Whether AWS refused the time with which a request was signed."""
    return code(error) in _CLOCK or any(words in message(error).lower() for words in _CLOCK_WORDS)


def explained(error: BaseException) -> str:
    """What happened and what to do, as one or two sentences."""
    name, text = code(error), message(error).rstrip(".")
    if clock_is_wrong(error):
        return (
            f"AWS refused the time of this machine's clock ({name}: {text}). Requests are valid for a few minutes "
            "only: set the clock by NTP, such as with chrony or systemd-timesyncd."
        )
    if name in _EXPIRED:
        return (
            f"The AWS credentials have expired ({name}: {text}). Use a role, which renews them by itself, or get new "
            "ones and start this process again."
        )
    if name in _UNKNOWN_KEY or type(error).__name__.startswith(("NoCredentials", "PartialCredentials")):
        return f"AWS does not know the credentials, or there are none ({name or type(error).__name__}: {text})."
    if name in _DENIED:
        return f"The role may not do this ({name}: {text}). Ask for this permission in the role's policy."
    if throttled(error):
        return f"AWS was asked too often ({name}: {text})."
    return f"{name}: {text}." if name else f"{type(error).__name__}: {text}."
