"""The function between API Gateway and the endpoint of production: the standard library, and botocore as Lambda has it.

`POST /v1/inspections` takes the service's form and gives the service's answer. `GET /healthz` gives its health. Errors
have the service's form, {"error": {"reason", "detail"}, "request_id"}, whoever refused. The variable ENDPOINT has the
endpoint's name. What is captured of an answer (`records`) stays with SageMaker's data capture: clients do not get it.

Where the endpoint has several versions, the object that CALLERS_BUCKET and CALLERS_KEY name says which one clients
get, as the ledger has it; release code writes it. It is read again after FRESH_S, and at once where the endpoint
refuses what was asked: it may just have come to have several versions, or one.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import time
from collections.abc import Mapping
from typing import Any

MOST_BYTES = 4_500_000  # in base64 it fits into the 6 MB that Lambda takes; the web ACL of front.yaml has it too
HEALTH_QUESTION = "application/vnd.carsdepo.health+json"  # as of carsdepo_assets/lake/data_capture.py
_BUSY = ("ServiceUnavailable", "ThrottlingException", "InternalDependencyException")
FRESH_S = 5.0  # seconds for which a version that was read is used without another look
_ABSENT = ("NoSuchKey", "404", "AccessDenied", "403")  # S3 says the latter of what is not there, without ListBucket
_clients: dict[str, Any] = {}
_named: dict[str, Any] = {}
"""The version that was read last, and when."""


class Refused(Exception):
    """A request that gets no inspection: status, a reason for programs, a detail for people, seconds to wait."""

    def __init__(self, status: int, reason: str, detail: str, retry_after_s: int | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.status, self.reason, self.detail, self.retry_after_s = status, reason, detail, retry_after_s


def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Answers a request of API Gateway's proxy integration.

    Args:
        event: the request, in the form of payload version 1.0.
        context: of the function's call; not used.
    """
    request_id = str((event.get("requestContext") or {}).get("requestId") or "")
    try:
        question = (event.get("httpMethod"), str(event.get("path") or "").rstrip("/"))
        if question == ("GET", "/healthz"):
            return _answer(200, _invoke(b"{}", HEALTH_QUESTION, request_id))
        if question == ("POST", "/v1/inspections"):
            content_type, body = form_of(event)
            return _answer(200, _without_records(_invoke(body, content_type, request_id)))
        raise Refused(404, "not_found", "there are POST /v1/inspections and GET /healthz")
    except Refused as refused:
        error = {"error": {"reason": refused.reason, "detail": refused.detail}, "request_id": request_id}
        after = {} if refused.retry_after_s is None else {"Retry-After": str(refused.retry_after_s)}
        return _answer(refused.status, json.dumps(error), after)


def _without_records(text: str) -> str:
    """An answer as clients get it.

    Raises:
        Refused: it is no answer of the service.
    """
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise Refused(502, "failed", "the endpoint of production gave no answer that can be read")
    answer.pop("records", None)
    return json.dumps(answer)


def form_of(event: Mapping[str, Any]) -> tuple[str, bytes]:
    """The content type and the body of a request.

    Raises:
        Refused: it is no form, or is too large.
    """
    headers = {str(name).lower(): str(value) for name, value in (event.get("headers") or {}).items()}
    content_type = headers.get("content-type", "")
    if not content_type.lower().startswith("multipart/form-data"):
        detail = f"send multipart/form-data with the field `photographs`, not {content_type!r}"
        raise Refused(415, "not_multipart", detail)
    if not re.search(r"boundary=\S", content_type, re.IGNORECASE) or len(content_type) > 1024:
        raise Refused(400, "bad_form", "Content-Type has no boundary, or is too long")
    announced = headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > MOST_BYTES:
        raise _too_large()
    text = event.get("body") or ""
    try:
        body = base64.b64decode(text, validate=True) if event.get("isBase64Encoded") else text.encode("utf-8")
    except (binascii.Error, UnicodeError) as error:
        raise Refused(400, "bad_form", f"the body cannot be read: {error}") from error
    if len(body) > MOST_BYTES:
        raise _too_large()
    if not body:
        raise Refused(422, "no_photographs", "the form has no file in the field `photographs`")
    return content_type, body


def _too_large() -> Refused:
    detail = f"a request has at most {MOST_BYTES} bytes here: send photographs one by one, or smaller"
    return Refused(413, "too_large", detail)


def _invoke(body: bytes, content_type: str, request_id: str) -> str:
    """The endpoint's answer.

    Raises:
        Refused: with the service's own reason where the service refused, or why the endpoint does not answer.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    # Data capture keeps it, so that a client's request is found among what was captured.
    named = {"InferenceId": request_id} if re.fullmatch(r"[A-Za-z0-9-]{1,64}", request_id) else {}
    request = {
        "EndpointName": os.environ["ENDPOINT"], "ContentType": content_type, "Accept": "application/json",
        "Body": body, **named,
    }  # fmt: skip
    try:
        target = target_model()
        try:
            answer = _client().invoke_endpoint(**request, **target)
        except ClientError as error:
            # ValidationError: no such endpoint or version, or one that has no versions. What it has may have changed.
            if error.response["Error"]["Code"] != "ValidationError" or "CALLERS_KEY" not in os.environ:
                raise
            newest = target_model(is_fresh=True)
            other = newest if newest != target else {}  # the same: it may have one version meanwhile
            if other == target:
                raise
            answer = _client().invoke_endpoint(**request, **other)
        return str(answer["Body"].read().decode("utf-8", errors="replace"))
    except ClientError as error:
        raise refusal_of(error.response) from error
    except BotoCoreError as error:
        raise Refused(503, "not_ready", "the endpoint of production does not answer: try again", 5) from error


def target_model(is_fresh: bool = False) -> dict[str, str]:
    """The argument TargetModel of InvokeEndpoint; none where the endpoint has one version.

    Args:
        is_fresh: it is read again, whenever it was read last.

    Raises:
        Refused: S3 cannot be asked, and nothing was read before.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    if "CALLERS_KEY" not in os.environ:
        return {}
    if is_fresh or "at" not in _named or time.monotonic() - _named["at"] > FRESH_S:
        try:
            where = {"Bucket": os.environ["CALLERS_BUCKET"], "Key": os.environ["CALLERS_KEY"]}
            name = json.loads(_client("s3").get_object(**where)["Body"].read())["target_model"]
        except (ClientError, BotoCoreError) as error:
            response = error.response if isinstance(error, ClientError) else {}
            if (response.get("Error") or {}).get("Code") not in _ABSENT:
                if "target" in _named:
                    return dict(_named["target"])
                raise Refused(503, "busy", "which version is served could not be read: try again", 1) from error
            name = None
        except (ValueError, LookupError, TypeError):  # release code sets it right at its next look
            return dict(_named.get("target", {}))
        _named.update(at=time.monotonic(), target={"TargetModel": str(name)} if name else {})
    return dict(_named["target"])


def refusal_of(response: Mapping[str, Any]) -> Refused:
    """What a client is told of an error of InvokeEndpoint."""
    code = str((response.get("Error") or {}).get("Code") or "")
    if code == "ModelError":
        status = int(response.get("OriginalStatusCode") or 500)
        try:
            error = json.loads(response.get("OriginalMessage") or "")["error"]
            reason, detail = str(error["reason"]), str(error["detail"])
        except (ValueError, LookupError, TypeError):
            return Refused(502, "failed", f"the service failed with status {status}")
        return Refused(status, reason, detail, 1 if status in (429, 503) else None)
    if code == "ModelNotReadyException":
        return Refused(503, "busy", "the version is being loaded: try again", 5)
    if code in _BUSY:
        return Refused(503, "busy", "the endpoint of production is busy: try again", 1)
    if code == "ValidationError":  # also: there is no such endpoint
        return Refused(503, "not_ready", "no model is in production yet, or it is being exchanged: try again", 30)
    return Refused(502, "failed", f"the endpoint of production refused the front: {code}")


def _client(service: str = "sagemaker-runtime") -> Any:
    if service not in _clients:
        from botocore.config import Config
        from botocore.session import get_session

        # With S3's less than API Gateway's 29 seconds; a photograph that was answered late must not be captured twice.
        config = Config(read_timeout=24, connect_timeout=3, retries={"max_attempts": 0})
        if service == "s3":
            config = Config(read_timeout=1, connect_timeout=1, retries={"total_max_attempts": 2})
        _clients[service] = get_session().create_client(service, config=config)
    return _clients[service]


def _answer(status: int, body: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    return {"statusCode": status, "headers": {"Content-Type": "application/json", **(headers or {})}, "body": body}
