"""deploy/aws/front_handler.py: what clients of the front get, whoever answers or refuses."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest
from botocore.response import StreamingBody
from botocore.stub import Stubber

from deploy.aws import front_handler as front

BOUNDARY = "multipart/form-data; boundary=b"
FORM = b"--b\r\nphotographs \xff\xd8\x00\xfe\r\n--b--\r\n"


@pytest.fixture(scope="module")
def client() -> Any:
    return botocore.session.get_session().create_client(
        "sagemaker-runtime", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x"
    )


@pytest.fixture
def runtime(client: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stubber]:
    monkeypatch.setitem(front._clients, "sagemaker-runtime", client)
    monkeypatch.setenv("ENDPOINT", "carsdepo-staging-production")
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


@pytest.fixture
def callers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stubber]:
    """The S3 that says which version callers get; nothing was read before."""
    s3 = botocore.session.get_session().create_client(
        "s3", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    monkeypatch.setitem(front._clients, "s3", s3)
    monkeypatch.setattr(front, "_named", {})
    monkeypatch.setenv("CALLERS_BUCKET", "carsdepo")
    monkeypatch.setenv("CALLERS_KEY", "carsdepo-serving/callers/p.json")
    with Stubber(s3) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def says(callers: Stubber, content: bytes) -> None:
    where = {"Bucket": "carsdepo", "Key": "carsdepo-serving/callers/p.json"}
    callers.add_response("get_object", {"Body": StreamingBody(io.BytesIO(content), len(content))}, where)


def event(body: bytes = FORM, content_type: str = BOUNDARY, **more: Any) -> dict[str, Any]:
    return {
        "httpMethod": "POST",
        "path": "/v1/inspections",
        "headers": {"Content-Type": content_type, "content-length": str(len(body))},
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
        "requestContext": {"requestId": "r-1"},
        **more,
    }


def answers(runtime: Stubber, content: Any, sent: bytes = FORM, content_type: str = BOUNDARY, **named: str) -> None:
    data = json.dumps(content).encode()
    expected = {
        "EndpointName": "carsdepo-staging-production",
        "ContentType": content_type,
        "Accept": "application/json",
        "Body": sent,
        **(named or {"InferenceId": "r-1"}),
    }
    runtime.add_response("invoke_endpoint", {"Body": StreamingBody(io.BytesIO(data), len(data))}, expected)


def refusal(answer: dict[str, Any]) -> tuple[int, str, str]:
    content = json.loads(answer["body"])
    assert content.keys() == {"error", "request_id"}
    assert answer["headers"]["Content-Type"] == "application/json"
    return answer["statusCode"], content["error"]["reason"], content["error"]["detail"]


def test_the_answer_comes_through_without_what_is_captured(runtime: Stubber) -> None:
    answers(runtime, {"request_id": "of the service", "photographs": [{}], "records": [{"secret": 1}]})
    answer = front.handler(event(), None)
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"]) == {"request_id": "of the service", "photographs": [{}]}


def test_health_is_the_services(runtime: Stubber) -> None:
    answers(runtime, {"ready": True}, b"{}", front.HEALTH_QUESTION)
    answer = front.handler({"httpMethod": "GET", "path": "/healthz", "requestContext": {"requestId": "r-1"}}, None)
    assert (answer["statusCode"], json.loads(answer["body"])) == (200, {"ready": True})


@pytest.mark.parametrize(
    ("changed", "status", "reason"),
    [
        ({"httpMethod": "GET"}, 404, "not_found"),
        ({"path": "/v1/else"}, 404, "not_found"),
        ({"headers": {"content-type": "image/jpeg"}}, 415, "not_multipart"),
        ({"headers": None}, 415, "not_multipart"),
        ({"headers": {"content-type": "multipart/form-data"}}, 400, "bad_form"),
        ({"headers": {"content-type": BOUNDARY + "b" * 1024}}, 400, "bad_form"),
        ({"headers": {"CONTENT-TYPE": BOUNDARY, "Content-Length": "4500001"}}, 413, "too_large"),
        ({"headers": {"content-type": BOUNDARY, "content-length": "9" * 5000}}, 413, "too_large"),
        ({"body": base64.b64encode(b"x" * 4_500_001).decode()}, 413, "too_large"),
        ({"body": "no base64"}, 400, "bad_form"),
        ({"body": None}, 422, "no_photographs"),
    ],
)
def test_what_is_refused_before_the_endpoint(
    runtime: Stubber, changed: dict[str, Any], status: int, reason: str
) -> None:
    assert refusal(front.handler({**event(), **changed}, None))[:2] == (status, reason)


def test_the_largest_request_goes_through(runtime: Stubber) -> None:
    body = b"x" * front.MOST_BYTES
    answers(runtime, {}, body)
    sent = event(body)
    assert len(json.dumps(sent)) <= 6 * 2**20  # of Lambda's synchronous requests
    assert front.handler(sent, None)["statusCode"] == 200


@pytest.mark.parametrize(
    ("code", "more", "status", "reason", "after"),
    [
        ("ModelError", {"OriginalStatusCode": 422, "OriginalMessage": '{"error": {"reason": "truncated", "detail": "d"}}'}, 422, "truncated", None),  # noqa: E501
        ("ModelError", {"OriginalStatusCode": 503, "OriginalMessage": '{"error": {"reason": "busy", "detail": "d"}}'}, 503, "busy", "1"),  # noqa: E501
        ("ModelError", {"OriginalStatusCode": 500, "OriginalMessage": "Traceback"}, 502, "failed", None),
        ("ModelError", {"OriginalStatusCode": 500, "OriginalMessage": '{"error": "text"}'}, 502, "failed", None),
        ("ServiceUnavailable", {}, 503, "busy", "1"),
        ("ModelNotReadyException", {}, 503, "busy", "5"),
        ("ThrottlingException", {}, 503, "busy", "1"),
        ("ValidationError", {}, 503, "not_ready", "30"),
        ("AccessDeniedException", {}, 502, "failed", None),
    ],
)  # fmt: skip
def test_errors_have_the_services_form(
    runtime: Stubber, code: str, more: dict[str, Any], status: int, reason: str, after: str | None
) -> None:
    runtime.add_client_error("invoke_endpoint", code, "message", modeled_fields=more)
    answer = front.handler(event(), None)
    assert refusal(answer)[:2] == (status, reason)
    assert answer["headers"].get("Retry-After") == after


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b"7", b"\xff", b"null"])
def test_an_answer_that_is_not_the_services_is_a_refusal_in_its_form(runtime: Stubber, content: bytes) -> None:
    answer = {"Body": StreamingBody(io.BytesIO(content), len(content)), "ContentType": "application/json"}
    runtime.add_response("invoke_endpoint", answer)
    assert refusal(front.handler(event(), None))[:2] == (502, "failed")


def test_a_strange_request_id_is_not_handed_on(runtime: Stubber) -> None:
    data = b"{}"
    expected = {
        "EndpointName": "carsdepo-staging-production",
        "ContentType": BOUNDARY,
        "Accept": "application/json",
        "Body": FORM,
    }
    runtime.add_response("invoke_endpoint", {"Body": StreamingBody(io.BytesIO(data), 2)}, expected)
    assert front.handler(event(requestContext={"requestId": "a b"}), None)["statusCode"] == 200


ONE, TWO = ({"InferenceId": "r-1", "TargetModel": f"v{n}-{n:016x}-{n:016x}.tar.gz"} for n in (1, 2))
NONE = {"InferenceId": "r-1"}


def object_of(named: dict[str, str]) -> bytes:
    return json.dumps({"target_model": named.get("TargetModel"), "digest": "d", "sequence": 1}).encode()


def test_the_version_that_callers_get_is_read_and_kept_for_a_while(
    runtime: Stubber, callers: Stubber, monkeypatch: pytest.MonkeyPatch
) -> None:
    says(callers, object_of(ONE))
    for _ in range(2):
        answers(runtime, {}, **ONE)
        assert front.handler(event(), None)["statusCode"] == 200
    monkeypatch.setitem(front._named, "at", front._named["at"] - front.FRESH_S - 1)  # some seconds later
    says(callers, object_of(TWO))  # a rollback, say
    answers(runtime, {}, **TWO)
    assert front.handler(event(), None)["statusCode"] == 200


@pytest.mark.parametrize("content", [b'{"target_model": null}', b"", b"[1]", b"{}"])
def test_no_version_is_named_where_the_object_names_none(runtime: Stubber, callers: Stubber, content: bytes) -> None:
    says(callers, content)
    answers(runtime, {}, **NONE)
    assert front.handler(event(), None)["statusCode"] == 200


@pytest.mark.parametrize("code", ["NoSuchKey", "AccessDenied"])
def test_an_endpoint_of_one_version_has_no_object(runtime: Stubber, callers: Stubber, code: str) -> None:
    callers.add_client_error("get_object", code)
    answers(runtime, {}, **NONE)
    assert front.handler(event(), None)["statusCode"] == 200


@pytest.mark.parametrize(
    ("read", "asked"),
    [
        ([ONE, TWO], [ONE, TWO]),  # the version was removed meanwhile
        ([ONE, ONE], [ONE, NONE]),  # the endpoint has one version by now
        ([ONE, NONE], [ONE, NONE]),
        ([NONE, ONE], [NONE, ONE]),  # it has several by now
    ],
)
def test_a_refused_name_is_read_again_and_asked_once_more(
    runtime: Stubber, callers: Stubber, read: list[dict[str, str]], asked: list[dict[str, str]]
) -> None:
    for named in read:
        says(callers, object_of(named))
    expected = {
        "EndpointName": "carsdepo-staging-production", "ContentType": BOUNDARY, "Accept": "application/json",
        "Body": FORM,
    }  # fmt: skip
    runtime.add_client_error("invoke_endpoint", "ValidationError", expected_params={**expected, **asked[0]})
    answers(runtime, {}, **asked[1])
    assert front.handler(event(), None)["statusCode"] == 200


def test_without_another_name_a_refusal_stays_one(runtime: Stubber, callers: Stubber) -> None:
    for _ in range(2):
        says(callers, object_of(NONE))
    runtime.add_client_error("invoke_endpoint", "ValidationError")
    assert refusal(front.handler(event(), None))[:2] == (503, "not_ready")


@pytest.mark.slow
def test_s3_that_does_not_answer_leaves_the_version_of_before(
    runtime: Stubber, callers: Stubber, monkeypatch: pytest.MonkeyPatch
) -> None:
    callers.add_client_error("get_object", "SlowDown")
    assert refusal(front.handler(event(), None))[:2] == (503, "busy")  # nothing was read before
    says(callers, object_of(ONE))
    answers(runtime, {}, **ONE)
    assert front.handler(event(), None)["statusCode"] == 200
    monkeypatch.setitem(front._named, "at", front._named["at"] - front.FRESH_S - 1)
    callers.add_client_error("get_object", "SlowDown")
    answers(runtime, {}, **ONE)
    assert front.handler(event(), None)["statusCode"] == 200


def test_the_web_acl_refuses_what_the_function_refuses() -> None:
    import re

    from deploy.aws.templates import template

    rule = template("front")["Resources"]["Door"]["Properties"]["Rules"][0]["Statement"]["AndStatement"]["Statements"][
        1
    ]
    pattern = rule["NotStatement"]["Statement"]["RegexMatchStatement"]["RegexString"]
    for size, passes in {0: True, 999_999: True, 1_000_000: True, 3_999_999: True, 4_499_999: True,
                         front.MOST_BYTES: True, front.MOST_BYTES + 1: False, 4_600_000: False, 5_000_000: False,
                         10_000_000: False, 10**12: False}.items():  # fmt: skip
        assert bool(re.search(pattern, str(size))) is passes, size
    assert not re.search(pattern, "")


def test_the_limit_is_what_lambda_and_the_endpoint_take() -> None:
    """A form comes to the function in base64, within an event that has the headers twice: 10,240 bytes each.

    Lambda: "Payload size, 6 MB" (developer guide, "Lambda quotas"), in errors 6,291,456 bytes. InvokeEndpoint: AWS's
    own model of the API, which botocore carries.
    """
    lambda_takes = 6 * 1024**2
    event = len(base64.b64encode(b"x" * front.MOST_BYTES)) + 2 * 10_240 + 8_192  # and what API Gateway says of itself
    assert event <= lambda_takes
    takes = botocore.session.get_session().get_service_model("sagemaker-runtime").shape_for("BodyBlob")
    assert takes.metadata["max"] >= front.MOST_BYTES
    assert len(base64.b64encode(b"x" * 5_000_000)) > lambda_takes  # a photograph of 12 megapixels: refused, docs say so
