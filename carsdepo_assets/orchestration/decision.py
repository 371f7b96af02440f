"""The answer of a rule that a sensor asks: what to do now, or nothing, and why. Pure: no Dagster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True)
class Decision(Generic[T_co]):
    """What a rule decides from the state that it was given. T_co: the type of what there is to do."""

    action: T_co | None
    """What to do now; None: nothing."""
    message: str
    """Why nothing is done, or what the action is about; for people."""
