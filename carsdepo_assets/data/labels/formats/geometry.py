"""The bounding boxes of shapes that are no boxes, and boxes of a stored photograph in the frame of the upright one."""

from __future__ import annotations

import math
from collections.abc import Sequence

from carsdepo_assets.data.labels.formats.parsed import Xyxy

Point = tuple[float, float]


def points_of(numbers: Sequence[float]) -> list[Point]:
    """The points of the list x, y, x, y and so on."""
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def around(points: Sequence[Point]) -> Xyxy:
    """The bounding box of points; NaN where one is."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    if not all(math.isfinite(v) for v in (*xs, *ys)):
        return (math.nan, math.nan, math.nan, math.nan)  # min and max pass over a NaN
    return min(xs), min(ys), max(xs), max(ys)


def around_rotated(x: float, y: float, width: float, height: float, degrees: float, about: Point) -> Xyxy:
    """The bounding box of the rectangle with a corner at x, y, rotated clockwise (y points down) about a point.

    Width and height may be negative: then the rectangle extends to the left, or up.
    """
    corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
    if degrees == 0 or not math.isfinite(degrees):
        return around(corners if degrees == 0 else [(math.nan, math.nan)])
    # Quarter turns exactly: cos(90 degrees) is 6e-17 in floating point.
    quarters = {0.0: (1.0, 0.0), 90.0: (0.0, 1.0), 180.0: (-1.0, 0.0), 270.0: (0.0, -1.0)}
    quarter = quarters.get(degrees % 360)
    cos, sin = quarter or (math.cos(math.radians(degrees)), math.sin(math.radians(degrees)))
    (cx, cy) = about
    return around([(cx + (a - cx) * cos - (b - cy) * sin, cy + (a - cx) * sin + (b - cy) * cos) for a, b in corners])


def around_ellipse(cx: float, cy: float, rx: float, ry: float, degrees: float) -> Xyxy:
    """The bounding box of an ellipse with two radii, rotated about its centre."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    dx, dy = math.hypot(rx * cos, ry * sin), math.hypot(rx * sin, ry * cos)
    return cx - dx, cy - dy, cx + dx, cy + dy


def upright(box: Xyxy, width: float, height: float, orientation: int) -> Xyxy:
    """A box of the photograph as it is stored, in the frame that its EXIF orientation turns it to.

    Args:
        box: (x1, y1, x2, y2) in pixels of the stored photograph.
        width: of the upright photograph, in pixels.
        height: of the upright photograph, in pixels.
        orientation: 5 to 8, as EXIF counts (CIPA DC-008, tag 0x0112): those that exchange width and height.
    """
    x1, y1, x2, y2 = box[1], box[0], box[3], box[2]  # 5: transposed
    if orientation in (6, 7):
        x1, x2 = width - x2, width - x1
    if orientation in (7, 8):
        y1, y2 = height - y2, height - y1
    return x1, y1, x2, y2
