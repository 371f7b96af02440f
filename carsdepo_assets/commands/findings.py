"""What a check of `carsdepo doctor` results in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    what: str
    """What was checked."""
    value: str
    """What was found."""
    ok: bool
    """Whether the loop can run with it."""
    advice: str = ""
    """What to do about it."""
