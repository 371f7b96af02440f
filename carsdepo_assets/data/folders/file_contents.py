"""What the bytes of a file that is no photograph say it is: label lines, a list of photographs, a table, or neither."""

from __future__ import annotations

import csv
import json
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
    """Whether a CSV file is a table of boxes, as some tools export it."""
    try:
        first = decoded(data[: 2**16]).lstrip().partition("\n")[0]
        header = {name.strip().casefold() for name in next(csv.reader([first]), [])}
    except (ValueError, csv.Error):
        return False
    return any(columns <= header for columns in _BOX_COLUMNS) or not _VIA_COLUMNS.isdisjoint(header)


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
