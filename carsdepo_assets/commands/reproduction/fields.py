"""One field of the comparison of a model with the one that was made again, and what all of them come to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Part = Literal["environment", "data", "training", "weights", "figures"]
FieldState = Literal["same", "differs", "missing", "not recorded"]
SHOWN = 20  # fields of single photographs; the last one tells how many more there are


class NotReproducible(ValueError):
    """Nothing can be made again there; the message says why, and what to do."""


@dataclass(frozen=True)
class ComparedField:
    """One field of a model and of the one that was made again."""

    part: Part
    """environment: may differ, and explains what else does. All others must be the same."""
    name: str
    state: FieldState
    """not recorded: the model is of a release that did not keep it, or it has no such figure."""
    expected: str = ""
    """As the model's records have it."""
    got: str = ""
    """As it is now."""
    note: str = ""
    """A sentence for a person."""


@dataclass(frozen=True)
class Reproduction:
    """The outcome of a reproduction."""

    model: str
    """Digest of the model."""
    folder: str
    """Where it was made again."""
    fields: tuple[ComparedField, ...]
    verdict: Literal["same", "differs", "not made again"]
    """not made again: what it was made of is not there, or is not the same any more."""
    why: tuple[str, ...]
    """Sentences on what differs and what explains it; empty where all is the same."""
    notes: tuple[str, ...] = ()
    """What a person should know besides, such as where the initial weights come from."""
    made_again: str | None = None
    """Digest of the model that was made again; None: none was."""

    def as_json(self) -> dict[str, Any]:
        """The outcome as values of JSON."""
        return asdict(self)


def compared(part: Part, name: str, expected: Any, got: Any, note: str = "") -> ComparedField:
    """Compares two values; an expected None was not recorded."""
    if expected is None:
        return ComparedField(part, name, "not recorded", "", text_of(got), note)
    state: FieldState = "same" if expected == got else "differs"
    return ComparedField(part, name, state, text_of(expected), text_of(got), note)


def text_of(value: Any) -> str:
    """A value for a table: all digits of a number, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{v} {k}" for k, v in value.items())
    return str(value)


def bounded(fields: Sequence[ComparedField]) -> list[ComparedField]:
    """The first fields of many, and one that counts the others."""
    if len(fields) <= SHOWN:
        return list(fields)
    more, last = len(fields) - SHOWN + 1, fields[SHOWN - 1]
    return [*fields[: SHOWN - 1], ComparedField(last.part, f"{more} more of them", last.state)]


def unlike(fields: Iterable[ComparedField]) -> list[ComparedField]:
    """The fields that are not the same, the environment left out: it explains and does not decide."""
    return [f for f in fields if f.state in ("differs", "missing") and f.part != "environment"]


def explanations(fields: Iterable[ComparedField]) -> list[str]:
    """Sentences on the fields of the environment that differ."""
    return [
        f"{f.name}: {f.expected} then, {f.got or 'none'} now."
        for f in fields
        if f.part == "environment" and f.state == "differs"
    ]
