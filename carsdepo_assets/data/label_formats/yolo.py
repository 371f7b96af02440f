"""Reads YOLO text: `class x_center y_center width height` as shares of the upright image; longer lines are polygons."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from carsdepo_assets.data.label_formats.parsed import Parsed, Problem

_CLASS = re.compile(r"\d{1,9}(\.0+)?")  # some tools write 0.0


def parse(data: bytes, width: int, height: int, classes: Mapping[str, int]) -> Parsed:
    """The labels of one photograph.

    A file without lines means that the photograph was reviewed and shows no damage. A polygon (`class x y x y x y` and
    so on) becomes its bounding box. A sixth number (a score) is refused, as predictions are not labels.

    Args:
        data: the file's bytes.
        width: of the upright photograph, in pixels.
        height: of the upright photograph, in pixels.
        classes: our class id by the file's class id, as text.
    """
    parsed = Parsed()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        parsed.problems.append(Problem("not_text", f"not UTF-8 at byte {error.start}"))
        return parsed
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        fields = line.split()
        if fields:
            _line(parsed, fields, number, width, height, classes)
    return parsed


def _line(parsed: Parsed, fields: list[str], number: int, width: int, height: int, classes: Mapping[str, int]) -> None:
    shown = " ".join(fields)[:120]
    try:
        values = [float(v) for v in fields]
    except ValueError:
        parsed.problems.append(Problem("malformed", f"not numbers: {shown}", number))
        return
    if not all(math.isfinite(v) for v in values):
        parsed.problems.append(Problem("not_a_number", shown, number))
        return
    polygon = len(values) >= 7 and len(values) % 2 == 1
    if len(values) != 5 and not polygon:
        parsed.problems.append(Problem("malformed", f"{len(values)} numbers, 5 or a polygon expected: {shown}", number))
        return
    class_id = classes.get(str(int(values[0]))) if _CLASS.fullmatch(fields[0]) else None
    if class_id is None:
        class_ids = ", ".join(classes)
        parsed.problems.append(Problem("unknown_class", f"class {fields[0][:20]}; known are {class_ids}", number))
        return
    if polygon:
        xs, ys = values[1::2], values[2::2]
        box = (min(xs) * width, min(ys) * height, max(xs) * width, max(ys) * height)
        parsed.note("polygon, its bounding box taken", number)
    else:
        x, y, w, h = values[1:]
        box = ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
    parsed.add(class_id, box, width, height, number)
