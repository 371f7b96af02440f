"""The bounding box of a mask in COCO's run-length encoding, from its runs, without the mask itself.

The form is that of pycocotools (`maskApi.c`): runs of 0 and 1 in turn, beginning with 0, down the columns; compressed,
each run (from the third on, its difference from the run two before) is written in 5 bits a character.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from carsdepo_assets.data.label_formats.json_values import numbers
from carsdepo_assets.data.label_formats.parsed import Xyxy


def rle_box(segmentation: Any) -> Xyxy | None:
    """The bounding box (x1, y1, x2, y2) in pixels of a mask {"counts", "size"}; None for what is none, or empty."""
    if not isinstance(segmentation, dict):
        return None
    size, counts = numbers(segmentation.get("size")), segmentation.get("counts")
    if size is None or len(size) != 2 or not all(0 < side < 10**6 and side.is_integer() for side in size):
        return None
    height, width = int(size[0]), int(size[1])
    runs = _uncompressed(counts) if isinstance(counts, str) else _whole(counts)
    if runs is None or any(run < 0 for run in runs) or sum(runs) != width * height:
        return None
    ends = list(accumulate(runs))
    ones = [(end - run, end - 1) for run, end in zip(runs[1::2], ends[1::2], strict=True) if run]
    if not ones:
        return None
    left, right = ones[0][0] // height, ones[-1][1] // height
    # A run that goes on in the next column has pixels at the bottom of one and at the top of the other.
    turns = any(first // height != last // height for first, last in ones)
    top = 0 if turns else min(first % height for first, _ in ones)
    bottom = height - 1 if turns else max(last % height for _, last in ones)
    return float(left), float(top), float(right + 1), float(bottom + 1)


def _whole(counts: Any) -> list[int] | None:
    parts = numbers(counts)
    return None if parts is None or not all(one.is_integer() for one in parts) else [int(one) for one in parts]


def _uncompressed(counts: str) -> list[int] | None:
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    return None if shift else runs
