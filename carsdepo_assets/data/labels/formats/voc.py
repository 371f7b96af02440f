"""Reads Pascal VOC XML: an `annotation` of one photograph, with an `object` for each damage.

Coordinates are taken as edges of pixels counted from 0, which is what the tools of today write (labelImg, CVAT, Label
Studio, Roboflow, Datumaro). The datasets of the VOC challenge themselves number pixels from 1 and include the last one:
they name themselves in `source/database`, and their left and upper edges are taken as one less.
"""

from __future__ import annotations

import math
import re
from pathlib import PurePosixPath
from xml.etree.ElementTree import Element

from carsdepo_assets.data.labels.formats.documents import LabelDocument, LabelledPhotograph, Shape
from carsdepo_assets.data.labels.formats.geometry import around, around_rotated
from carsdepo_assets.data.labels.formats.parsed import NotReadable, Problem, Xyxy
from carsdepo_assets.data.labels.formats.scores import element_has_score
from carsdepo_assets.data.labels.formats.xml_values import child_text, parse_xml, to_number, to_size

_BOXES = ("bndbox", "robndbox", "polygon")
_CHALLENGE = re.compile(r"the voc\s?20\d\d", re.IGNORECASE)


def read(name: str, data: bytes) -> LabelDocument:
    """Reads a VOC file. One without objects means that the photograph was reviewed and shows no damage.

    Raises:
        NotReadable: It is no VOC.
    """
    root = parse_xml(data, "Pascal VOC")
    if root.tag != "annotation":
        raise NotReadable(f"Pascal VOC: the root is {root.tag[:40]}, not annotation")
    file_name = child_text(root, "filename") or PurePosixPath(child_text(root, "path").replace("\\", "/")).name
    photograph = LabelledPhotograph(
        file_name or PurePosixPath(name).stem,
        width=to_size(root.findtext("size/width")),
        height=to_size(root.findtext("size/height")),
        of_file=True,
    )
    from_one = 1.0 if _CHALLENGE.match((root.findtext("source/database") or "").strip()) else 0.0
    objects = list(root.iter("object"))  # in a list of objects, too
    for number, one in enumerate(objects, 1):
        _object(photograph, one, f"object {number}", from_one)
    read = {id(box) for one in objects for box in one}
    parts = {id(inner) for one in objects for part in one.iterfind("part") for inner in part.iter()}
    if any(_is_box(one) and id(one) not in read | parts for one in root.iter()):
        photograph.problems.append(Problem("malformed", "a box that is in no object, or not directly in it"))
    classes = {shape.source_class for shape in photograph.shapes}
    return LabelDocument([photograph], class_names={name: name for name in sorted(classes)})


def _object(photograph: LabelledPhotograph, element: Element, which: str, from_one: float) -> None:
    if child_text(element, "deleted") == "1":
        photograph.notes.append(f"{which}: deleted in its tool, left out")
        return
    label = child_text(element, "name")
    if element_has_score(element, apart="part"):
        photograph.problems.append(Problem("prediction", f"{which} has a score: it is a prediction, not a label"))
    elif not label:
        photograph.problems.append(Problem("unknown_class", f"{which} has no name"))
    else:
        box, note = _box(element)
        if box is None:
            photograph.problems.append(Problem("malformed", f"{which}: {note}"))
            return
        box = (box[0] - from_one, box[1] - from_one, box[2], box[3])
        notes = [note, "difficult" if child_text(element, "difficult") == "1" else ""]
        photograph.shapes.append(Shape(label, box, which, note=", ".join(filter(None, notes))))


def _box(element: Element) -> tuple[Xyxy | None, str]:
    """The box with a note; None with what is wrong."""
    if double := next((tag for tag in _BOXES if len(element.findall(tag)) > 1), None):
        return None, f"more than one {double}: each damage is an object of its own"
    bndbox = element.find("bndbox")
    if bndbox is not None:
        values = [to_number(child_text(bndbox, tag)) for tag in ("xmin", "ymin", "xmax", "ymax")]
        numbers = [value for value in values if value is not None]
        if len(numbers) < 4:
            return None, "bndbox needs xmin, ymin, xmax and ymax, numbers with a point"
        return (numbers[0], numbers[1], numbers[2], numbers[3]), ""
    rotated = element.find("robndbox")  # roLabelImg
    if rotated is not None:
        values = [to_number(child_text(rotated, tag)) for tag in ("cx", "cy", "w", "h", "angle")]
        numbers = [value for value in values if value is not None]
        if len(numbers) < 5:
            return None, "robndbox needs cx, cy, w, h and angle"
        cx, cy, w, h, angle = numbers
        box = around_rotated(cx - w / 2, cy - h / 2, w, h, math.degrees(angle), (cx, cy))
        return box, "rotated box, its bounding box taken"
    polygon = element.find("polygon")
    if polygon is not None:
        points = _polygon(polygon)
        if points is None or len(points) < 3:
            return None, "polygon needs three points or more"
        return around(points), "polygon, its bounding box taken"
    return None, "neither bndbox nor polygon"


def _is_box(element: Element) -> bool:
    return element.tag in _BOXES or element.find("xmin") is not None


def _polygon(polygon: Element) -> list[tuple[float, float]] | None:
    """Points as LabelMe's XML has them (pt with x and y), or as Roboflow's (x1, y1, x2, y2 and so on)."""
    pairs = [(child_text(pt, "x"), child_text(pt, "y")) for pt in polygon.findall("pt")]
    number = 1
    while polygon.find(f"x{number}") is not None:
        pairs.append((child_text(polygon, f"x{number}"), child_text(polygon, f"y{number}")))
        number += 1
    points = [(to_number(x), to_number(y)) for x, y in pairs]
    numbers = [(x, y) for x, y in points if x is not None and y is not None]
    return numbers if len(numbers) == len(points) else None
