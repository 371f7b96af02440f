"""compute/pipes/aws_errors.py: each error is one kind of trouble, and is explained with what to do about it."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from botocore import exceptions
from urllib3.exceptions import ProtocolError

from carsdepo_assets.compute.pipes.aws_errors import code_of, explained, passes, trouble_of

LONG_AGO = "Thu, 01 Jan 2026 12:00:00 GMT"


def error(code: str, message: str = "words", status: int = 400, date: str = LONG_AGO) -> exceptions.ClientError:
    metadata = {"HTTPStatusCode": status, "HTTPHeaders": {"date": date}}
    return exceptions.ClientError({"Error": {"Code": code, "Message": message}, "ResponseMetadata": metadata}, "Op")  # type: ignore[arg-type]


NOW = "the moment of the test"  # minutes may lie between the collection of the tests and this one


def answered(raised: Exception) -> Exception:
    """The error, its answer dated as its table says."""
    if isinstance(raised, exceptions.ClientError) and raised.response["ResponseMetadata"]["HTTPHeaders"]["date"] == NOW:
        raised.response["ResponseMetadata"]["HTTPHeaders"]["date"] = format_datetime(datetime.now(UTC), usegmt=True)
    return raised


class WithAResponseOfAnotherKind(Exception):
    """As those of requests and httpx."""

    response = object()


@pytest.mark.parametrize(
    ("raised", "trouble"),
    [
        (error("ThrottlingException"), "throttled"),
        (error("SlowDown", status=503), "throttled"),
        (error("LimitExceededException"), "throttled"),
        (error("Anything", status=429), "throttled"),
        (error("InternalFailure", status=500), "network"),
        (error("ServerException"), "network"),
        (error("ServiceUnavailable", status=503), "network"),
        (error("Anything", status=502), "network"),
        (exceptions.EndpointConnectionError(endpoint_url="x"), "network"),
        (exceptions.ReadTimeoutError(endpoint_url="x"), "network"),
        (exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2), "network"),
        (ProtocolError("cut off"), "network"),
        (ConnectionResetError("reset"), "network"),
        (TimeoutError("too long"), "network"),
        (error("ExpiredTokenException"), "credentials"),
        (error("TokenRefreshRequired"), "credentials"),
        (error("UnrecognizedClientException"), "credentials"),
        (exceptions.NoCredentialsError(), "credentials"),
        (exceptions.MetadataRetrievalError(error_msg="x"), "credentials"),
        (error("RequestExpired", date=NOW), "credentials"),
        (error("RequestExpired"), "skew"),
        (error("RequestTimeTooSkewed", status=403), "skew"),
        (error("RequestInTheFuture"), "skew"),
        (error("InvalidSignatureException", "Signature expired: ..."), "skew"),
        (error("SignatureDoesNotMatch", "Signature not yet current: ..."), "skew"),
        (error("InvalidSignatureException", "The request signature we calculated does not match"), "refused"),
        (error("ValidationException"), "refused"),
        (error("AccessDenied", status=403), "refused"),
        (exceptions.NoRegionError(), "refused"),
        (exceptions.ProfileNotFound(profile="x"), "refused"),
        (ValueError("ours"), None),
        (FileNotFoundError("ours"), None),
        (WithAResponseOfAnotherKind("ours"), None),
    ],
)
def test_each_error_is_one_kind_of_trouble(raised: Exception, trouble: str | None) -> None:
    raised = answered(raised)
    assert trouble_of(raised) == trouble
    assert passes(trouble_of(raised)) == (trouble in ("throttled", "network", "credentials"))


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (error("ThrottlingException"), "AWS was asked too often (ThrottlingException: words)."),
        (error("InternalError", status=500), "AWS had a fault of its own (InternalError: words)."),
        (exceptions.EndpointConnectionError(endpoint_url="x"), "AWS could not be reached (EndpointConnectionError: "),
        (error("ExpiredToken"), "The AWS credentials have expired (ExpiredToken: words). Renew them"),
        (error("RequestExpired", date=NOW), "The AWS credentials have expired (RequestExpired: words). Renew them"),
        (error("InvalidClientTokenId"), "AWS does not know the credentials of this process (InvalidClientTokenId"),
        (exceptions.NoCredentialsError(), "This process has no AWS credentials, or cannot read them (NoCredentials"),
        (error("RequestInTheFuture"), f"This machine's clock differs from AWS's: AWS has {LONG_AGO}, this machine "),
        (error("AccessDenied"), "The role may not do this (AccessDenied: words). Ask for this permission in the role"),
        (error("ValidationException", "words."), "ValidationException: words."),
        (ValueError("ours"), "ValueError: ours."),
    ],
)
def test_each_kind_of_trouble_is_explained(raised: Exception, words: str) -> None:
    assert explained(answered(raised)).startswith(words)


def test_an_answer_without_a_code_is_called_by_its_class() -> None:
    assert code_of(exceptions.ClientError({}, "Op")) == "ClientError"
    assert code_of(exceptions.NoCredentialsError()) == "NoCredentialsError"
