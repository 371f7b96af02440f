"""Splits a picture into bands of a few rows, so that intermediate arrays stay in the processor's cache."""

from __future__ import annotations

from collections.abc import Iterator

# 400 KB of float32. Measured on 60 photographs: bands of 25,000 numbers, or whole pictures, take 4 to 5 % more time.
_NUMBERS_AT_ONCE = 100_000


def bands(height: int, width: int) -> Iterator[slice]:
    """Slices that divide the rows of an array; width is the number of values in each row."""
    step = max(1, _NUMBERS_AT_ONCE // width)
    for top in range(0, height, step):
        yield slice(top, min(top + step, height))
