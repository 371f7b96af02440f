"""Calls of SageMaker for the release: what is there, and what may be made twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from carsdepo_assets.compute.pipes.aws_errors import code_of, message_of

_REFUSED = frozenset({"ValidationException", "ValidationError", "ResourceNotFound", "ResourceNotFoundException"})
_ABSENT = ("could not find", "does not exist", "not found")
_THERE = ("already exist", "already existing")
_BUSY = ("cannot update in-progress", "in-progress endpoint", "is in progress", "currently being", "updating")


def is_absent(error: BaseException) -> bool:
    """Whether an error says that what was asked for does not exist."""
    return code_of(error) in _REFUSED and any(words in message_of(error).lower() for words in _ABSENT)


def is_there(error: BaseException) -> bool:
    """Whether an error says that what was to be made exists: a step before this one made it."""
    code = code_of(error)
    return code in ("ResourceInUse", "ConflictException") or (
        code in _REFUSED and any(words in message_of(error).lower() for words in _THERE)
    )


def is_busy(error: BaseException) -> bool:
    """Whether an error says that an endpoint is being changed: another process was faster."""
    return code_of(error) in _REFUSED and any(words in message_of(error).lower() for words in _BUSY)


def described(client: Any, kind: str, **name: str) -> dict[str, Any] | None:
    """What Describe says of a thing; None where it does not exist.

    Args:
        client: a boto3 client of SageMaker.
        kind: such as endpoint_config.
        name: the operation's argument.
    """
    try:
        answer: dict[str, Any] = getattr(client, f"describe_{kind}")(**name)
    except Exception as error:
        if is_absent(error):
            return None
        raise
    return answer


def create_once(client: Any, kind: str, request: dict[str, Any]) -> bool:
    """Creates a thing whose name says what it is; False where it exists, whoever made it.

    Args:
        client: a boto3 client of SageMaker.
        kind: such as endpoint_config.
        request: of Create.
    """
    try:
        getattr(client, f"create_{kind}")(**request)
    except Exception as error:
        if is_there(error):
            return False
        raise
    return True


def removed(client: Any, kind: str, **name: str) -> bool:
    """Deletes a thing; False where it does not exist."""
    try:
        getattr(client, f"delete_{kind}")(**name)
    except Exception as error:
        if is_absent(error):
            return False
        raise
    return True


def listed(client: Any, kind: str, field: str, **filters: Any) -> Iterator[dict[str, Any]]:
    """All entries of a list, page by page.

    Args:
        client: a boto3 client of SageMaker.
        kind: such as endpoint_configs.
        field: of the answer, such as EndpointConfigs.
        filters: the operation's arguments.
    """
    token: dict[str, str] = {}
    while True:
        page = getattr(client, f"list_{kind}")(**filters, **token)
        yield from page.get(field, ())
        if not page.get("NextToken"):
            return
        token = {"NextToken": page["NextToken"]}
