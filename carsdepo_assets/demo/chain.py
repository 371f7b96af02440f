"""The chain of a model in production: the fields that `carsdepo lineage --json` has for it, wherever it was made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# Their keys are data: names of batches, splits, packages.
OPEN = frozenset(
    f"model.dataset.{name}" for name in ("splits", "upload_batches", "label_batches", "revisions_by_origin")
)


def fields_of(trace: Any) -> set[str]:
    """The names of all fields of a trace, with dots between the levels; entries of a list count as one."""
    return set(_fields(trace, ""))


def _fields(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, Mapping) and path not in OPEN:
        for name, inner in value.items():
            below = f"{path}.{name}" if path else str(name)
            yield below
            yield from _fields(inner, below)
    elif isinstance(value, list):
        for inner in value:
            yield from _fields(inner, f"{path}[]")
