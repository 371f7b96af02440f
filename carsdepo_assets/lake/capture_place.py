"""Where the answers of a stage are captured, and how long that may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CapturePlace:
    """Where a service's answers are captured."""

    folder: str
    """The key in the lake below which the segments lie by year, month, day and hour (UTC)."""
    grace_s: float = 120.0
    """Seconds that a segment may take to arrive beyond the age at which it closes: a far cap."""
