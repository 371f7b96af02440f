"""What the bytes of a file that is no photograph say it is: label lines, a list of photographs, a table, or neither."""

from __future__ import annotations

import csv
import json
import re
from pathlib import PurePosixPath
from typing import Literal

from carsdepo_assets.imaging.formats import PHOTOGRAPH_SUFFIXES
from carsdepo_assets.lake.text_files import decoded

TextContent = Literal["labels", "paths", "empty", "text", "no text"]
# Formats by the suffixes that their files have; what a file is, its content says.
SUFFIXES = {
    ".txt": ("yolo",),
    ".json": ("coco", "labelme", "labelstudio", "datumaro", "groundtruth"),
    ".jsonl": ("groundtruth",),
    ".manifest": ("groundtruth",),
    ".xml": ("voc", "cvat"),
}
_BOX_COLUMNS = ({"xmin", "ymin", "xmax", "ymax"}, {"x_min", "y_min", "x_max", "y_max"}, {"x1", "y1", "x2", "y2"})
_VIA_COLUMNS = {"region_shape_attributes"}
_BOX_FIELDS = {
    "bbox", "bboxes", "bndbox", "boundingbox", "boundingboxes", "bounding_box", "bounding_boxes", "box", "boxes",
    "coordinates", "polygon", "polygons", "rectangle", "rectangles", "robndbox", "segmentation", "shape_attributes",
}  # fmt: skip
_SIDE_NAMES = {
    "x", "y", "x1", "y1", "xmin", "ymin", "x_min", "y_min", "left", "top", "cx", "cy", "width", "height", "all_points_x"
}  # fmt: skip
_BOX_ELEMENTS = {"annotation", "annotations", "object", "xmin", "points"}
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_SIDES = 4  # numbers of a box
_LINES = 20


def text_content(data: bytes) -> TextContent:
    """What a .txt file holds: lines of labels, paths of photographs, nothing, or anything else."""
    try:
        text = decoded(data)
    except ValueError:
        return "no text"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return "empty"
    if any(_is_label_line(line) for line in lines[:_LINES]):
        return "labels"
    if all(PurePosixPath(line.replace("\\", "/")).suffix.lower() in PHOTOGRAPH_SUFFIXES for line in lines[:_LINES]):
        return "paths"
    return "text"


def _is_label_line(line: str) -> bool:
    fields = line.split()
    try:
        numbers = [float(field) for field in fields]
    except ValueError:
        return False
    return len(numbers) >= 5


def is_label_table(data: bytes) -> bool:
    """Whether a file is a table of boxes: its header says so, or its first line has a photograph and four numbers."""
    try:
        first = decoded(data[: 2**16]).lstrip().partition("\n")[0]
        header = {name.strip().casefold() for name in next(csv.reader([first]), [])}
    except (ValueError, csv.Error):
        return False
    if any(columns <= header for columns in _BOX_COLUMNS) or not _VIA_COLUMNS.isdisjoint(header):
        return True
    cells = [cell.strip(" \"'") for cell in re.split(r"[,;\t ]", first)]
    named = any(PurePosixPath(cell).suffix.lower() in PHOTOGRAPH_SUFFIXES for cell in cells)
    return named and sum(1 for cell in cells if _NUMBER.fullmatch(cell)) >= _SIDES


def has_boxes_in_json(data: bytes) -> bool:
    """Whether JSON has a box in a field that is called as those of labels are, such as VIA's `shape_attributes`."""
    waiting = [json.loads(data)]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            for name, below in value.items():
                if str(name).casefold() in _BOX_FIELDS and _is_box(below):
                    return True
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return False


def _is_box(value: object) -> bool:
    """Whether a table has a side of a box, or a list four numbers, or a list's first value is such a table or list."""
    if isinstance(value, dict):
        return any(str(name).casefold() in _SIDE_NAMES for name in value)
    if not isinstance(value, list) or not value:
        return False
    numbers = [one for one in value if isinstance(one, (int, float)) and not isinstance(one, bool)]
    return len(numbers) >= _SIDES or (isinstance(value[0], (dict, list)) and _is_box(value[0]))


def has_boxes_in_xml(data: bytes) -> bool:
    """Whether XML has elements that are called as those of labels are, whatever their capitals and namespace."""
    from xml.parsers import expat

    names: set[str] = set()
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda name, _: names.add(name.rpartition(":")[2].casefold())
    parser.Parse(data, True)
    return not names.isdisjoint(_BOX_FIELDS | _BOX_ELEMENTS)


def json_problem(data: bytes) -> str | None:
    """Why a file is no JSON; None where it is."""
    try:
        json.loads(data)
    except RecursionError:
        return "nested too deeply"
    except ValueError as error:  # JSON and encodings; numbers of thousands of digits
        return str(error)[:200]
    return None


def xml_problem(data: bytes) -> str | None:
    """Why a file is no XML; None where it is. Entities are not expanded here: the text is only walked."""
    from xml.parsers import expat

    parser = expat.ParserCreate()
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        return str(error)[:200]
    return None
