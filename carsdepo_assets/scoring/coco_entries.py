"""Reads the entries of COCO files: ids, sides, numbers and boxes, with errors that name the entry."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from carsdepo_assets.scoring.coco_masks import MaskError, box_around

ImageId = int | str
CategoryId = int | str
_LONGEST_SIDE = 2**31 - 1  # pixels: more than a photograph's format can say


class CocoFileError(ValueError):
    """A file is not what it should be; the message names the file and the entry, and says what to correct."""


def required(row: Any, key: str, where: str) -> Any:
    """The value of a key that an entry must have."""
    if not isinstance(row, Mapping):
        raise CocoFileError(f"{where}: expected an object, not {row!r:.60}.")
    if key not in row:
        raise CocoFileError(f'{where}: "{key}" is missing; it has {", ".join(row) or "no keys"}.')
    return row[key]


def entry_id(row: Any, where: str, key: str = "id") -> int | str:
    """An id; one that is written as 7.0, as table programs do, is 7."""
    value = required(row, key, where)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int and not isinstance(value, str):
        raise CocoFileError(f"{where}: {key} {value!r:.60} is neither a whole number nor a text.")
    return value


def is_crowd(row: Mapping[str, Any], where: str) -> bool:
    """Whether a labelled box is a crowd region."""
    value = row.get("iscrowd", 0)
    if value not in (0, 1, None):
        raise CocoFileError(f"{where}: iscrowd {value!r:.60} is neither 0 nor 1.")
    return bool(value)


def number(value: Any, key: str, where: str) -> float:
    """A finite number."""
    try:
        if not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value):
            return float(value)
    except OverflowError:  # a whole number beyond the largest float
        pass
    raise CocoFileError(f"{where}: {key} {value!r:.60} is not a finite number.")


def side(row: Any, key: str, where: str) -> int | None:
    """The width or height of an image in pixels; None where the entry does not say it."""
    value = row.get(key)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or not 1 <= value <= _LONGEST_SIDE:
        raise CocoFileError(f"{where}: {key} {value!r:.60} is not a number of pixels.")
    return value


def boxed_entry(
    row: Any, where: str, index: Mapping[ImageId, int], class_of: Mapping[CategoryId, int]
) -> tuple[int, list[float], int]:
    """Reads what labelled boxes and detections have in common.

    Args:
        row: the entry.
        where: names the file and the entry, for messages.
        index: position of each image, by its id.
        class_of: class id, by category id.

    Returns:
        Position of the image, box as x1, y1, x2, y2, class id.

    Raises:
        CocoFileError: keys are missing, an id is unknown, or the box is none.
    """
    image_id, category = entry_id(row, where, "image_id"), entry_id(row, where, "category_id")
    if image_id not in index:
        some = ", ".join(repr(i) for i in list(index)[:3])
        raise CocoFileError(
            f"{where}: image_id {image_id!r:.60} is not among the {len(index)} images of the ground truth "
            f"({some} ...). Use its image ids{_other_type(image_id, index)}."
        )
    if category not in class_of:
        raise CocoFileError(
            f"{where}: category_id {category!r:.60} is not among the categories {list(class_of)}. "
            f"Ground truth and predictions must number the classes alike{_other_type(category, class_of)}."
        )
    box = _box(row, where)
    if not isinstance(box, list) or len(box) != 4:
        raise CocoFileError(f"{where}: bbox {box!r:.60} is not [x, y, width, height].")
    x, y, w, h = (number(v, "bbox", where) for v in box)
    if w < 0 or h < 0:
        raise CocoFileError(f"{where}: bbox {box} has a negative side; COCO boxes are [x, y, width, height].")
    if not math.isfinite((x + w) * (y + h)) or not math.isfinite(w * h):
        raise CocoFileError(f"{where}: bbox {box!r:.60} is too large: its area is not a finite number.")
    return index[image_id], [x, y, x + w, y + h], class_of[category]


def _other_type(wanted: int | str, ids: Mapping[int | str, int]) -> str:
    """A hint where the other file has the same id as a text, or as a number."""
    other = next((one for one in ids if str(one) == str(wanted)), None)
    return "" if other is None else f": {other!r:.60} and not {wanted!r:.60}"


def drawn(row: Mapping[str, Any]) -> str:
    """What the box of an entry was read from, for messages."""
    return f"bbox {row['bbox']!r:.60}" if row.get("bbox") else "segmentation"


def _box(row: Mapping[str, Any], where: str) -> Any:
    """What the entry says as its box: bbox, or the box around its segmentation."""
    if row.get("bbox") or not row.get("segmentation"):
        return required(row, "bbox", where)
    try:
        return box_around(row["segmentation"])
    except MaskError as error:
        raise CocoFileError(f"{where}: there is no bbox, and of the segmentation {error}.") from error
