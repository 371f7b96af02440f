"""Reads COCO JSON: images, categories, and annotations with `bbox` [x, y, width, height] in pixels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from carsdepo_assets.data.label_formats.parsed import Parsed, Problem


class NotCoco(ValueError):
    """The file is no COCO document; the message says what is missing."""


@dataclass(frozen=True)
class CocoImage:
    """One image of a COCO file; width and height are as the file gives them, unchecked."""

    file_name: str
    width: Any
    height: Any
    annotations: list[dict[str, Any]]


def read(data: bytes) -> tuple[list[CocoImage], list[Problem], dict[str, str]]:
    """Reads a COCO file. An image without annotations was reviewed and shows no damage.

    Returns:
        The images with their annotations; the annotations that name no image; the category names by id, as text.

    Raises:
        NotCoco: the bytes are no COCO document.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:  # JSON and UTF-8 errors are ValueErrors
        raise NotCoco(f"not JSON: {error}") from error
    if not isinstance(document, dict) or not all(isinstance(document.get(k), list) for k in ("images", "annotations")):
        raise NotCoco("needs the lists images and annotations")
    lists: dict[str, list[dict[str, Any]]] = {}
    for image in document["images"]:
        if not isinstance(image, dict) or not _name(image.get("file_name")) or not _is_id(image.get("id")):
            raise NotCoco(f"an image without id and file_name: {str(image)[:100]}")
        if str(image["id"]) in lists:
            raise NotCoco(f"two images have the id {str(image['id'])[:40]}: whose annotations are whose?")
        lists[str(image["id"])] = []
    stray = []
    for note in document["annotations"]:
        named = isinstance(note, dict) and _is_id(note.get("image_id"))
        if not named or str(note["image_id"]) not in lists:
            stray.append(Problem("no_photograph", f"annotation of no image in this file: {str(note)[:100]}"))
        else:
            lists[str(note["image_id"])].append(note)
    categories = document.get("categories")
    names = {
        str(c["id"]): str(c["name"])
        for c in (categories if isinstance(categories, list) else [])
        if isinstance(c, dict) and {"id", "name"} <= c.keys()
    }
    images = [
        CocoImage(i["file_name"], i.get("width"), i.get("height"), lists[str(i["id"])]) for i in document["images"]
    ]
    return images, stray, names


def parse(image: CocoImage, width: int, height: int, classes: Mapping[str, int]) -> Parsed:
    """The labels of one photograph.

    A file that gives another size means another frame (unrotated or resized), so that its boxes are refused.

    Args:
        image: the photograph's part of the file.
        width: of the upright photograph, in pixels.
        height: of the upright photograph, in pixels.
        classes: our class id by the file's category id, as text.
    """
    parsed = Parsed()
    if (image.width, image.height) not in ((None, None), (width, height)):
        parsed.problems.append(
            Problem(
                "size_differs",
                f"the file says {str(image.width)[:20]} x "
                f"{str(image.height)[:20]}, the upright photograph is {width} x {height}",
            )
        )
        return parsed
    for note in image.annotations:
        which, category = f"annotation {str(note.get('id', 'without id'))[:40]}", str(note.get("category_id"))
        if category not in classes:
            parsed.problems.append(
                Problem("unknown_class", f"{which}: category {category[:40]}; known are {', '.join(classes)}")
            )
        elif note.get("iscrowd") not in (None, 0, False):
            parsed.problems.append(Problem("crowd", f"{which}: iscrowd stands for an unknown number of damages"))
        else:
            _box(parsed, note, which, classes[category], width, height)
    return parsed


def _box(parsed: Parsed, note: Mapping[str, Any], which: str, class_id: int, width: int, height: int) -> None:
    if note.get("bbox") is not None:
        values = _numbers(note["bbox"])
        if values is None or len(values) != 4:
            parsed.problems.append(
                Problem("malformed", f"{which}: bbox {str(note['bbox'])[:80]}: [x, y, width, height] expected")
            )
            return
        x, y, w, h = values
        parsed.add(class_id, (x, y, x + w, y + h), width, height, None)
        return
    rings = note.get("segmentation")
    points: list[float] | None = []
    for ring in rings if isinstance(rings, list) else []:
        numbers = _numbers(ring)
        points = points + numbers if points is not None and numbers is not None and len(numbers) % 2 == 0 else None
    if not points or len(points) < 6:
        parsed.problems.append(Problem("malformed", f"{which}: neither a bbox nor a polygon"))
        return
    parsed.note(f"{which}: polygon, its bounding box taken")
    xs, ys = points[::2], points[1::2]
    parsed.add(class_id, (min(xs), min(ys), max(xs), max(ys)), width, height, None)


def _numbers(value: Any) -> list[float] | None:
    """None unless a list of numbers; one too large for a float is infinite."""
    if not isinstance(value, list) or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in value):
        return None
    return [float(v) if isinstance(v, float) or abs(v) < 2**1000 else float("inf") for v in value]


def _is_id(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _name(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip("/. \\"))
