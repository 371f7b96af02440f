"""Reads LabelMe JSON: the shapes of one photograph, in pixels. The photograph inside (`imageData`) is left alone."""

from __future__ import annotations

import math
from pathlib import PurePosixPath
from typing import Any

from carsdepo_assets.data.labels.formats.documents import LabelDocument, LabelledPhotograph, Shape
from carsdepo_assets.data.labels.formats.geometry import Point, around
from carsdepo_assets.data.labels.formats.json_values import loads, number, numbers, shown, text
from carsdepo_assets.data.labels.formats.parsed import NotReadable, Problem, Xyxy
from carsdepo_assets.data.labels.formats.scores import has_score

_LEAST = {"rectangle": 2, "polygon": 3, "circle": 2, "mask": 2, "rotation": 3}  # points of the shapes that are read


def read(name: str, data: bytes) -> LabelDocument:
    """Reads a LabelMe file. One without shapes means that the photograph was reviewed and shows no damage.

    Raises:
        NotReadable: It is no LabelMe.
    """
    document = loads(data, "LabelMe")
    if not isinstance(document, dict) or not isinstance(document.get("shapes"), list):
        raise NotReadable("LabelMe: shapes must be a list; [] where the photograph was looked at and shows nothing")
    sizes = [number(document.get(side)) for side in ("imageWidth", "imageHeight")]
    width, height = (size if size is not None and size > 0 else None for size in sizes)
    path = text(document.get("imagePath"))
    photograph = LabelledPhotograph(path or PurePosixPath(name).stem, width=width, height=height, of_file=True)
    flags = document.get("flags")
    photograph.stated = [name for name, on in flags.items() if on is True] if isinstance(flags, dict) else []
    for i, shape in enumerate(document["shapes"], 1):
        _shape(photograph, shape, f"shape {i}")
    classes = {shape.source_class for shape in photograph.shapes}
    return LabelDocument([photograph], class_names={name: name for name in sorted(classes)})


def _shape(photograph: LabelledPhotograph, shape: Any, which: str) -> None:
    def problem(reason: str, detail: str) -> None:
        photograph.problems.append(Problem(reason, f"{which}: {detail}"))

    if not isinstance(shape, dict):
        problem("malformed", f"{shown(shape, 40)} is no shape")
        return
    kind = shape.get("shape_type") or "polygon"  # versions before 3.0 had polygons only
    label = text(shape.get("label"))
    if has_score(shape):
        problem("prediction", "it has a score: it is a prediction, not a label")
    elif not isinstance(kind, str) or kind not in _LEAST:
        problem("unsupported_shape", f"{shown(kind, 40)} has no area of its own: draw a rectangle or a polygon")
    elif label is None:
        problem("unknown_class", "it has no label")
    else:
        points = _points(shape.get("points"))
        if points is None or len(points) < _LEAST[kind]:
            problem("malformed", f"{kind} needs {_LEAST[kind]} points [x, y] or more")
            return
        note = "" if kind == "rectangle" and len(points) == 2 else f"{kind}, its bounding box taken"
        photograph.shapes.append(Shape(label, _box(kind, points), which, note=note))


def _points(value: Any) -> list[Point] | None:
    pairs = [numbers(point) for point in value] if isinstance(value, list) else [None]
    points = [(pair[0], pair[1]) for pair in pairs if pair is not None and len(pair) == 2]
    return points if len(points) == len(pairs) else None


def _box(kind: str, points: list[Point]) -> Xyxy:
    if kind != "circle":
        return around(points)
    (cx, cy), (x, y) = points[0], points[1]  # the centre and a point of the circle
    radius = math.hypot(x - cx, y - cy)
    return cx - radius, cy - radius, cx + radius, cy + radius
