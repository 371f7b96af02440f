"""The limits of AWS's own API model, which botocore carries and does not check: lengths, patterns, choices."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any


def violations(operation: str, request: dict[str, Any], service: str = "sagemaker") -> list[str]:
    """What AWS would refuse in a request, in its words; empty: nothing."""
    return list(_violations(_model(service).operation_model(operation).input_shape, request, ""))


@lru_cache
def _model(service: str) -> Any:
    import botocore.session  # type: ignore[import-untyped]

    return botocore.session.get_session().get_service_model(service)


def _violations(shape: Any, value: Any, path: str) -> Iterator[str]:
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            if value.get(name) is not None:
                yield from _violations(member, value[name], f"{path}.{name}".lstrip("."))
        return
    if shape.type_name in ("boolean", "timestamp", "blob"):
        return
    limits, failed = shape.metadata, f"at '{path}' failed to satisfy constraint: Member must"
    numeric = shape.type_name in ("integer", "long", "float", "double")
    size, kind = (value, "value") if numeric else (len(value), "length")
    if "max" in limits and size > limits["max"]:
        yield f"Value {failed} have {kind} less than or equal to {limits['max']}"
    if "min" in limits and size < limits["min"]:
        yield f"Value {failed} have {kind} greater than or equal to {limits['min']}"
    if shape.type_name == "list":
        for i, item in enumerate(value, 1):
            yield from _violations(shape.member, item, f"{path}.{i}.member")
    elif shape.type_name == "map":
        for key, item in value.items():
            yield from _violations(shape.key, key, f"{path}.key")
            yield from _violations(shape.value, item, f"{path}.{key}.value")
    elif shape.type_name == "string":
        pattern = limits.get("pattern")
        if pattern and "\\p{" not in pattern and not re.fullmatch(pattern, value):
            yield f"Value '{value}' {failed} satisfy regular expression pattern: {pattern}"
        if shape.enum and value not in shape.enum:
            yield f"Value '{value}' {failed} satisfy enum value set: {shape.enum[:5]} ..."
