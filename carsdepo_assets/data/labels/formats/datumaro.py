"""Reads Datumaro JSON: `categories` with a list of label names, and `items` with annotations in pixels."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from carsdepo_assets.data.labels.formats.documents import LabelDocument, LabelledPhotograph, Shape
from carsdepo_assets.data.labels.formats.geometry import around, around_ellipse, around_rotated, points_of
from carsdepo_assets.data.labels.formats.json_values import column, identifier, loads, number, numbers, shown, text
from carsdepo_assets.data.labels.formats.parsed import NotReadable, Problem, Xyxy
from carsdepo_assets.data.labels.formats.rle import rle_box
from carsdepo_assets.data.labels.formats.scores import has_score

_NO_SHAPE = ("label", "caption")  # about the photograph as a whole


def read(name: str, data: bytes) -> LabelDocument:
    """Reads a Datumaro file, called as its subset. An item without annotations was reviewed and shows no damage.

    Raises:
        NotReadable: It is no Datumaro.
    """
    document = loads(data, "Datumaro")
    if not isinstance(document, dict) or not isinstance(document.get("items"), list):
        raise NotReadable("Datumaro: an object with categories and a list of items is expected")
    names = _label_names(document.get("categories"))
    result = LabelDocument(class_names={one: one for one in names})
    for item in document["items"]:
        file_name = _file_name(item)
        if file_name is None:
            result.problems.append(Problem("no_photograph", f"an item without id and path: {shown(item, 100)}"))
            continue
        attributes = item.get("attr")
        group = column(attributes.get("group")) if isinstance(attributes, dict) else None
        photograph = LabelledPhotograph(file_name, split=PurePosixPath(name).stem, group=group)
        media = next((m for k in ("image", "media") if isinstance(m := item.get(k), dict)), {})
        size = numbers(media.get("size"))
        if size is not None and len(size) == 2 and min(size) > 0:
            photograph.height, photograph.width = size
        annotations = item.get("annotations")
        if not isinstance(annotations, list):
            photograph.problems.append(Problem("malformed", "annotations must be a list, [] where nothing is seen"))
            annotations = []
        for number_, note in enumerate(annotations, 1):
            _annotation(photograph, note, f"annotation {number_}", names)
        result.photographs.append(photograph)
    return result


def _label_names(categories: Any) -> list[str]:
    label = categories.get("label") if isinstance(categories, dict) else None
    labels = label.get("labels") if isinstance(label, dict) else None
    if not isinstance(labels, list):
        return []
    names = [text(one.get("name")) if isinstance(one, dict) else None for one in labels]
    # Labels are known by their position: where one has no name, no later one may move up.
    return [name or f"label {i} without a name" for i, name in enumerate(names)]


def _file_name(item: Any) -> str | None:
    if not isinstance(item, dict):
        return None
    media = next((m for k in ("image", "media") if isinstance(m := item.get(k), dict)), {})
    name = text(media.get("path")) or identifier(item.get("id"))
    return name if name is not None and name.strip("/. \\") else None


def _annotation(photograph: LabelledPhotograph, note: Any, which: str, names: list[str]) -> None:
    def problem(reason: str, detail: str) -> None:
        photograph.problems.append(Problem(reason, f"{which}: {detail}"))

    if not isinstance(note, dict):
        problem("malformed", f"{shown(note, 40)} is no annotation")
        return
    kind = note.get("type")
    if kind in _NO_SHAPE:
        photograph.notes.append(f"{which}: {kind} of the whole photograph, left out")
        if kind == "label":
            label = identifier(note.get("label_id"))
            has_name = label is not None and label.isdigit() and int(label) < len(names)
            photograph.stated.append(names[int(label)] if has_name and label else f"label {shown(label, 40)}")
        return
    written = note.get("attributes")
    attributes: dict[str, Any] = written if isinstance(written, dict) else {}
    if has_score(note):
        problem("prediction", "it has a score: it is a prediction, not a label")
        return
    label = identifier(note.get("label_id"))
    if label is None or not label.isdigit() or int(label) >= len(names):
        problem("unknown_class", f"label_id {shown(note.get('label_id'), 40)} is none of the {len(names)} labels")
        return
    box, told = _box(kind, note, attributes)
    if box is None:
        supported = kind in ("bbox", "polygon", "mask", "ellipse", "rotated_bbox")
        problem("malformed" if supported else "unsupported_shape", told)
    else:
        photograph.shapes.append(Shape(names[int(label)], box, which, note=told))


def _box(kind: Any, note: dict[str, Any], attributes: dict[str, Any]) -> tuple[Xyxy | None, str]:
    """The box with a note; None with what is wrong."""
    if kind == "bbox":
        values, rotation = numbers(note.get("bbox")), number(attributes.get("rotation", 0))
        if values is None or len(values) != 4 or rotation is None:
            return None, f"bbox {shown(note.get('bbox'))}: [x, y, width, height] expected"
        x, y, w, h = values
        if rotation == 0:
            return (x, y, x + w, y + h), ""
        box = around_rotated(x, y, w, h, rotation, (x + w / 2, y + h / 2))
        return box, "rotated box, its bounding box taken"
    if kind == "rotated_bbox":
        values = numbers(note.get("points"))  # centre, width, height, angle
        if values is None or len(values) != 5:
            return None, "rotated_bbox needs five points: cx, cy, w, h and r"
        cx, cy, w, h, r = values
        return around_rotated(cx - w / 2, cy - h / 2, w, h, r, (cx, cy)), "rotated box, its bounding box taken"
    if kind == "polygon":
        values = numbers(note.get("points"))
        if values is None or len(values) < 6 or len(values) % 2:
            return None, "polygon needs three points or more"
        return around(points_of(values)), "polygon, its bounding box taken"
    if kind == "ellipse":
        values = numbers(note.get("points"))
        if values is None or len(values) != 4:
            return None, "ellipse needs its bounding box as points"
        x1, y1, x2, y2 = values
        box = around_ellipse((x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) / 2, (y2 - y1) / 2, 0)
        return box, "ellipse, its bounding box taken"
    if kind == "mask":
        box_or_none = rle_box(note.get("rle"))
        return box_or_none, "its rle cannot be read" if box_or_none is None else "mask, its bounding box taken"
    return None, f"{shown(kind, 40)} has no area of its own: draw a box or a polygon"
