"""A picture a few rows at a time: what is computed on the way then stays in the processor's cache."""

from __future__ import annotations

from collections.abc import Iterator

# 400 KB of float32. Measured in turns on 60 photographs: 25,000 and a whole picture take 4 to 5 % more CPU time.
_NUMBERS_AT_ONCE = 100_000


def bands(height: int, width: int) -> Iterator[slice]:
    """Slices of rows that together are all rows of an array of this height and so many numbers a row."""
    step = max(1, _NUMBERS_AT_ONCE // width)
    for top in range(0, height, step):
        yield slice(top, min(top + step, height))
