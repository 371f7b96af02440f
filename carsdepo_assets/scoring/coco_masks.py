"""The box around a mask of COCO: polygons, or runs of pixels (RLE, column by column), as lists or as COCO's text.

A mask stands for its box where a file has no `bbox`, as pycocotools' `loadRes` takes results of segmentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LARGEST = 2**40  # pixels of a mask: more than any photograph, and its square stays a whole number


class MaskError(ValueError):
    """A segmentation is none of COCO's; the message says what is wrong with it."""


def box_around(segmentation: Any) -> list[float]:
    """The box around a mask.

    Args:
        segmentation: polygons ([[x, y, x, y, ...], ...]), or runs ({"size": [height, width], "counts": list or text}).

    Returns:
        x, y, width, height in pixels; zeros for a mask without a pixel.

    Raises:
        MaskError: it is neither.
    """
    if isinstance(segmentation, Mapping):
        return _around_runs(segmentation)
    if isinstance(segmentation, list) and segmentation and all(isinstance(p, list) for p in segmentation):
        return _around_polygons(segmentation)
    raise MaskError("it is neither a list of polygons nor an object with size and counts")


def _around_polygons(polygons: list[list[Any]]) -> list[float]:
    values = [v for polygon in polygons for v in polygon]
    if any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
        raise MaskError("a polygon has a value that is no number")
    if any(len(polygon) < 6 or len(polygon) % 2 for polygon in polygons):
        raise MaskError("a polygon is not x, y, x, y ... of three points or more")
    try:
        x, y = np.array(values[::2], float), np.array(values[1::2], float)
    except OverflowError as error:
        raise MaskError("a polygon has a value that is not finite") from error
    return [float(v) for v in (x.min(), y.min(), x.max() - x.min(), y.max() - y.min())]


def run_lengths(mask: Mapping[str, Any]) -> NDArray[np.int64]:
    """The lengths of a mask's runs, of pixels outside and inside in turn, down the columns.

    Args:
        mask: {"size": [height, width], "counts": list or text}.

    Raises:
        MaskError: it is none, or its runs are longer than its pixels.
    """
    size, counts = mask.get("size"), mask.get("counts")
    if not isinstance(size, list) or len(size) != 2 or any(type(v) is not int or v < 1 for v in size):
        raise MaskError(f"its size {size!r:.60} is not [height, width]")
    height, width = size
    if height * width > _LARGEST:
        raise MaskError(f"its size {size!r:.60} is larger than any photograph")
    if isinstance(counts, str):
        lengths = _decoded(counts)
    elif isinstance(counts, list) and all(type(v) is int and 0 <= v <= _LARGEST for v in counts):
        lengths = np.array(counts, np.int64)
    else:
        raise MaskError("its counts are neither a text nor a list of whole numbers")
    if len(lengths) and (lengths.min() < 0 or lengths.sum() > height * width):
        raise MaskError(f"its counts do not fit {height} x {width} pixels")
    return lengths


def _around_runs(mask: Mapping[str, Any]) -> list[float]:
    ends = np.cumsum(run_lengths(mask))
    height = mask["size"][0]
    first, last = ends[:-1:2], ends[1::2]  # of each run of pixels that are in the mask
    filled = last > first[: len(last)]
    first, last = first[: len(last)][filled], last[filled] - 1
    if not len(first):
        return [0.0, 0.0, 0.0, 0.0]
    x1, x2 = int(first.min() // height), int(last.max() // height)
    if (first // height != last // height).any():  # a run that goes on into the next column has its bottom and top
        y1, y2 = 0, height - 1
    else:
        y1, y2 = int((first % height).min()), int((last % height).max())
    return [float(x1), float(y1), float(x2 - x1 + 1), float(y2 - y1 + 1)]


def _decoded(text: str) -> NDArray[np.int64]:
    """The lengths of runs in COCO's compressed text (maskApi.c, rleFrString).

    Five bits a character; from the fourth length on a text has the difference to the length before the previous one.
    """
    lengths: list[int] = []
    value, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 50:
            raise MaskError("its counts are not COCO's text of runs")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value |= -1 << shift
        if len(lengths) > 2:
            value += lengths[-2]
        if not 0 <= value <= _LARGEST:
            raise MaskError("its counts are not COCO's text of runs")
        lengths.append(value)
        value, shift = 0, 0
    if shift:
        raise MaskError("its counts end within a number")
    return np.array(lengths, np.int64)
