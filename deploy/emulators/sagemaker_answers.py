"""Answers of the emulated SageMaker, as moto gives them, and its events."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any


def refused(message: str) -> Exception:
    """The error that refuses a request."""
    from moto.sagemaker.exceptions import ValidationError

    error: Exception = ValidationError(message)
    return error


def result_of(answer: dict[str, Any]) -> Any:
    """An answer with a body."""
    from moto.core.responses import ActionResult

    return ActionResult(answer)


def empty() -> Any:
    """An answer without a body."""
    from moto.core.responses import EmptyResult

    return EmptyResult()


def refusal_in_json(start: Callable[..., Any], status: int, code: str, content: dict[str, Any]) -> Iterable[bytes]:
    """The answer of the runtime that refuses a request, as WSGI has it."""
    body = json.dumps(content).encode()
    start(f"{status} Error", [("Content-Type", "application/json"), ("x-amzn-errortype", code)])
    return [body]


def eventbridge_event(
    kind: str, arn: str, detail: dict[str, Any], account: str, region: str, at: datetime
) -> dict[str, Any]:
    """An event as EventBridge brings it to a queue."""
    return {
        "version": "0", "id": str(uuid.uuid4()), "detail-type": kind, "source": "aws.sagemaker", "account": account,
        "time": f"{at:%Y-%m-%dT%H:%M:%SZ}", "region": region, "resources": [arn], "detail": detail,
    }  # fmt: skip
