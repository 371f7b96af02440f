"""A picture a few rows at a time: what is computed on the way then stays in the processor's cache."""

from __future__ import annotations

from collections.abc import Iterator

# 100 KB of float32 a plane. Measured on 108 pictures: 5,000 and a whole picture take 15 to 20 % longer.
_NUMBERS_AT_ONCE = 25_000


def bands(height: int, width: int) -> Iterator[slice]:
    """Slices of rows that together are all rows of an array of this height and so many numbers a row."""
    step = max(1, _NUMBERS_AT_ONCE // width)
    for top in range(0, height, step):
        yield slice(top, min(top + step, height))
