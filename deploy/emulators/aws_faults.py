"""Stands before an emulator of AWS: counts the calls, and answers some of them with the errors that a test asks for.

Codes of errors: Amazon SageMaker API reference, "Common Errors"; Amazon S3 API reference, "Error responses"; AWS
General Reference, "Signature Version 4" for requests whose time differs by more than five minutes.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.sax.saxutils import escape

_CREDENTIAL = re.compile(r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/")
_TOLERANCE = timedelta(minutes=5)


@dataclass(frozen=True)
class Call:
    """One request to AWS."""

    operation: str
    """Such as DescribeTrainingJob or PutObject."""
    at: float
    """Seconds of time.monotonic."""
    access_key: str


@dataclass
class _Fault:
    operation: str
    code: str
    message: str
    status: int
    times: int
    late: bool


@dataclass
class Faults:
    """A WSGI application around another one."""

    application: Callable[..., Iterable[bytes]]
    calls: list[Call] = field(default_factory=list)
    skew_s: float = 0.0
    """Seconds by which AWS's clock is ahead of this machine's."""
    quotas: dict[str, float] = field(default_factory=dict)
    """SageMaker's quotas by name, as Service Quotas tells them."""
    expired: set[str] = field(default_factory=set)
    """Access keys whose session has expired."""
    _faults: list[_Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fail(
        self, operation: str, code: str, message: str = "", status: int = 400, times: int = 1, late: bool = False
    ) -> None:
        """Lets the next `times` calls of an operation fail; a `late` fault comes after the work was done."""
        with self._lock:
            self._faults.append(_Fault(operation, code, message or code, status, times, late))

    def count(self, operation: str) -> int:
        """How often an operation was called."""
        return sum(call.operation == operation for call in list(self.calls))

    def times(self, operation: str) -> list[float]:
        """When an operation was called, in seconds of time.monotonic."""
        return [call.at for call in list(self.calls) if call.operation == operation]

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answers a request, or hands it on."""
        signed = _CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
        access_key, service = (signed[1], signed[3]) if signed else ("", "")
        operation = _operation(environ, service)
        self.calls.append(Call(operation, time.monotonic(), access_key))
        refusal = self._refusal(environ, access_key, service)
        if refusal is not None:
            return self._answer(start_response, service, *refusal)
        fault = self._fault(operation)
        if fault is not None:
            if fault.late:
                for _ in self.application(environ, lambda status, headers, error=None: lambda body: None):
                    continue
            return self._answer(start_response, service, fault.code, fault.message, fault.status)
        if operation == "ListServiceQuotas":
            quotas = [
                {"ServiceCode": "sagemaker", "QuotaName": name, "QuotaCode": f"L-{i:08X}", "Value": value}
                for i, (name, value) in enumerate(sorted(self.quotas.items()))
            ]
            body = json.dumps({"Quotas": quotas}).encode()
            start_response("200 OK", [("Content-Type", "application/x-amz-json-1.1")])
            return [body]
        return self.application(environ, start_response)

    def _refusal(self, environ: dict[str, Any], access_key: str, service: str) -> tuple[str, str, int] | None:
        if access_key and access_key in self.expired:
            message = "The security token included in the request is expired"
            return ("ExpiredToken" if service == "s3" else "ExpiredTokenException", message, 400)
        sent = environ.get("HTTP_X_AMZ_DATE")
        now = self._now()
        if sent and abs(now - datetime.strptime(sent, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)) > _TOLERANCE:
            if service == "s3":
                text = "The difference between the request time and the current time is too large."
                return "RequestTimeTooSkewed", text, 403
            early = now - _TOLERANCE
            text = (
                f"Signature expired: {sent} is now earlier than {early:%Y%m%dT%H%M%SZ} ({now:%Y%m%dT%H%M%SZ} - 5 min.)"
            )
            return "InvalidSignatureException", text, 403
        return None

    def _fault(self, operation: str) -> _Fault | None:
        with self._lock:
            for fault in self._faults:
                if fault.operation == operation and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    def _now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.skew_s)

    def _answer(self, start: Callable[..., Any], service: str, code: str, message: str, status: int) -> Iterable[bytes]:
        headers = [("Date", f"{self._now():%a, %d %b %Y %H:%M:%S GMT}")]
        if service == "s3":
            text = f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"
            start(f"{status} Error", [*headers, ("Content-Type", "application/xml")])
            return [text.encode()]
        start(f"{status} Error", [*headers, ("Content-Type", "application/x-amz-json-1.1"), ("x-amzn-errortype", code)])
        return [json.dumps({"__type": code, "message": message}).encode()]


def _operation(environ: dict[str, Any], service: str) -> str:
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    if target:
        return str(target).rpartition(".")[2]
    method, path, query = environ["REQUEST_METHOD"], environ.get("PATH_INFO", ""), environ.get("QUERY_STRING", "")
    if service != "s3":
        return f"{method} {path}"
    key = path.strip("/").partition("/")[2]
    if not key:
        return "ListObjectsV2" if "list-type=2" in query else f"{method} bucket"
    return {"PUT": "PutObject", "GET": "GetObject", "HEAD": "HeadObject", "DELETE": "DeleteObject"}.get(method, method)
