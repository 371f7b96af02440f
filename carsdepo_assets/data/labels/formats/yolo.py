"""Reads YOLO text: a line is a class id and shares of the upright image: a box, an oriented box or a polygon.

Lines of more than five numbers mean different things by the tool that wrote them, and the file does not say which. What
can be told apart with certainty is read; what cannot is refused, so that no score, id or keypoint becomes a corner.
"""

from __future__ import annotations

import math
import re
from pathlib import PurePosixPath

from carsdepo_assets.data.labels.formats.documents import LabelDocument, LabelledPhotograph, Shape
from carsdepo_assets.data.labels.formats.geometry import Point, around, points_of
from carsdepo_assets.data.labels.formats.parsed import NotReadable, Problem, Xyxy
from carsdepo_assets.lake.text_files import decoded

_CLASS = re.compile(r"\d{1,9}(\.0+)?", re.ASCII)  # some tools write 0.0
_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
_COMMA_DECIMAL = re.compile(r"[+-]?\d+,\d+", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)
_MOST_KEYPOINTS = 140  # of a face or a whole body; longer lines are outlines
_EDGE = 0.05  # share of the image by which a plausible box may lie outside
Lines = list[tuple[int, list[str]]]


def read(name: str, data: bytes) -> LabelDocument:
    """Reads a YOLO file. One without lines means that the photograph was reviewed and shows no damage.

    Raises:
        NotReadable: It is no text.
    """
    path = PurePosixPath(name)
    photograph = LabelledPhotograph(str(path.with_suffix("")) if path.name else name, unit="shares", of_file=True)
    lines = lines_of(data)
    long = {len(fields) for _, fields in lines if len(fields) > 5}
    for number, fields in lines:
        _line(photograph, fields, number, len(long) == 1)
    return LabelDocument([photograph])


def lines_of(data: bytes) -> Lines:
    """The fields of each line that has any, with the line's number from 1.

    Raises:
        NotReadable: It is no text.
    """
    try:
        text = decoded(data)
    except ValueError as error:
        raise NotReadable(f"no text: {error}", "not_text") from error
    if any(ord(c) < 32 and c not in "\t\n\v\f\r\x1a" for c in text):
        raise NotReadable(
            "no text: it has control characters, as a file has that was not written to its end", "not_text"
        )
    lines = enumerate(re.split(r"\r\n|\r|\n", text.replace("\x1a", "")), 1)
    return [(number, fields) for number, line in lines if (fields := line.split())]


def is_number(text: str) -> bool:
    """Whether a field is a number, NaN and infinity too."""
    return _NUMBER.fullmatch(text) is not None


def is_prediction(fields: list[str]) -> bool:
    """Whether a line has what a detector or a tracker appends: a score, an object's number, or both."""
    if len(fields) < 6 or not all(map(is_number, fields)):
        return False
    if len(fields) == 6:
        return True
    if _has_visibility([float(field) for field in fields[1:]]):
        return False
    # A share beyond 1 is no corner; an object's number is whole and begins at 1.
    return len(fields) % 2 == 1 and _WHOLE.fullmatch(fields[-1]) is not None and float(fields[-1]) > 1


def _line(photograph: LabelledPhotograph, fields: list[str], number: int, alike: bool) -> None:
    shown = " ".join(fields)[:120]

    def problem(reason: str, detail: str) -> None:
        photograph.problems.append(Problem(reason, f"{detail}: {shown}", number))

    if any(_COMMA_DECIMAL.fullmatch(field) for field in fields):
        problem("decimal_comma", "numbers with a decimal comma; YOLO has points, as in 0.5")
    elif len(fields) == 1 and fields[0].count(",") >= 4:
        problem("malformed", "separated by commas; YOLO has spaces")
    elif not all(map(is_number, fields)):
        problem("malformed", "not numbers")
    elif not all(math.isfinite(float(field)) for field in fields):
        problem("not_a_number", "not finite")
    elif not _CLASS.fullmatch(fields[0]):
        problem("unknown_class", f"class {fields[0][:20]} is no class id")
    else:
        box = _read(fields, alike)
        if isinstance(box, Problem):
            problem(box.reason, box.detail)
            return
        xyxy, note = box
        photograph.shapes.append(Shape(str(int(float(fields[0]))), xyxy, "", number, note))


def _read(fields: list[str], alike: bool) -> tuple[Xyxy, str] | Problem:
    """The box of a line, with a note; a Problem for one that is no box, or may be something else.

    Args:
        fields: numbers, of which the first is a class id.
        alike: whether all lines of the file that are longer than a box have as many numbers.
    """
    values = [float(field) for field in fields[1:]]
    count = len(values)
    if count == 4:
        return _centred(values), ""
    if is_prediction(fields):
        return Problem("prediction", "a box with a score or an object's number is a prediction, not a label")
    if count < 6:
        return Problem("malformed", f"{count + 1} numbers, 5 or a polygon expected")
    if _has_visibility(values):
        return _centred(values), "keypoints left out"
    if count % 2:
        return Problem(
            "malformed", f"{count + 1} numbers are no polygon; with a score at its end it would be a prediction"
        )
    points = points_of(values)
    if count == 6 and _WHOLE.fullmatch(fields[-1]):
        return Problem("prediction", "three corners, or a box with a score and an object's number")
    if _is_one(fields[-1]) and max(y for _, y in points[:-1]) < 0.99:
        return Problem("ambiguous_line", "a polygon, or one with a score and an object's number")
    if alike and _may_be_keypoints(values) and (count == 6 or not _is_simple(points)):
        return Problem("ambiguous_line", "corners of a polygon, or a box with keypoints")
    xyxy = around(points)
    if count == 8:
        return xyxy, "oriented box, its bounding box taken"
    return xyxy, "polygon, its bounding box taken"


def _centred(values: list[float]) -> Xyxy:
    x, y, w, h = values[:4]
    return x - w / 2, y - h / 2, x + w / 2, y + h / 2


def _is_one(field: str) -> bool:
    return _WHOLE.fullmatch(field) is not None and float(field) == 1


def _has_visibility(values: list[float]) -> bool:
    """Whether a box and triples x, y, visibility are there, as in YOLO's pose format."""
    triples = [values[i : i + 3] for i in range(4, len(values), 3)]
    if (len(values) - 4) % 3 or not triples or any(v not in (0, 1, 2) for _, _, v in triples):
        return False
    if len(values) % 2:
        return True  # no polygon has an odd number
    return any(v == 2 for _, _, v in triples) or _holds(values, [(x, y) for x, y, _ in triples])


def _may_be_keypoints(values: list[float]) -> bool:
    """Whether the numbers may be a box and keypoints without visibility, all within it or absent (0, 0)."""
    return len(values) <= 4 + 2 * _MOST_KEYPOINTS and _holds(values, points_of(values[4:]))


def _holds(values: list[float], points: list[Point]) -> bool:
    x1, y1, x2, y2 = _centred(values)
    if not (-_EDGE <= x1 < x2 <= 1 + _EDGE and -_EDGE <= y1 < y2 <= 1 + _EDGE):
        return False
    return all((x1 <= x <= x2 and y1 <= y <= y2) or (x, y) == (0, 0) for x, y in points)


def _is_simple(points: list[Point]) -> bool:
    """Whether no two sides of a polygon cross."""
    sides = list(zip(points, points[1:] + points[:1], strict=True))
    return not any(_cross(a, b) for i, a in enumerate(sides) for b in sides[i + 2 :])


def _cross(one: tuple[Point, Point], other: tuple[Point, Point]) -> bool:
    def turn(a: Point, b: Point, c: Point) -> float:
        return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])

    (a, b), (c, d) = one, other
    return turn(a, b, c) * turn(a, b, d) < 0 and turn(c, d, a) * turn(c, d, b) < 0
