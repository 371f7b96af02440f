"""Tells the format of a label file by its content."""

from __future__ import annotations

import json
import re
from pathlib import PurePosixPath
from typing import Any, Literal

from carsdepo_assets.data.labels.formats import yolo
from carsdepo_assets.data.labels.formats.json_values import loads
from carsdepo_assets.data.labels.formats.parsed import NotReadable
from carsdepo_assets.data.labels.formats.xml_values import parse_xml
from carsdepo_assets.lake.text_files import decoded

Format = Literal["yolo", "coco", "voc", "cvat", "labelme", "labelstudio", "groundtruth", "datumaro", "predictions"]
"""predictions: what a model wrote, which is no label and is refused as such."""

_OF_VOC = {"filename", "object", "size", "bndbox"}
_HEAD = 2**16  # characters of a file that is no whole JSON or XML any more, in which its format is looked for


def recognise(name: str, data: bytes) -> Format | None:
    """The format of a label file; of one that was cut off, the format that its beginning has.

    Args:
        name: the file's name or path, whose suffix counts in any case.
        data: the file's bytes.

    Returns:
        None where it is no label file.
    """
    suffix = PurePosixPath(name).suffix.lower()
    start = data.lstrip(b"\xef\xbb\xbf\xff\xfe\0 \t\r\n")[:1]
    if suffix == ".xml" or start == b"<":
        return _of_xml(data)
    if suffix in (".json", ".jsonl", ".manifest", ".ndjson") or start in (b"{", b"["):
        return _of_json(data)
    return _of_text(data) if suffix == ".txt" else None


def _of_text(data: bytes) -> Format | None:
    try:
        lines = [fields for _, fields in yolo.lines_of(data)]
    except NotReadable:
        return "yolo"  # what a label file became that was not written to its end; the reader says so
    if not lines:
        return "yolo"
    if all(yolo.is_prediction(fields) or _is_tracker(fields) for fields in lines):
        return "predictions"
    return "yolo" if 2 * sum(map(_like_a_label, lines)) >= len(lines) else None


def _like_a_label(fields: list[str]) -> bool:
    """Whether most of a line are numbers: a label's line, even where it is spoilt."""
    fields = [part for field in fields for part in re.split("[,;]", field) if part]
    return len(fields) >= 4 and sum(map(yolo.is_number, fields)) >= len(fields) - 1


def _is_tracker(fields: list[str]) -> bool:
    """A line of the MOT challenge's results: frame, id, left, top, width, height, confidence, and -1 thrice."""
    parts = [part.strip() for part in " ".join(fields).split(",")]
    return len(parts) == 10 and parts[-3:] == ["-1"] * 3 and all(map(yolo.is_number, parts))


def _of_xml(data: bytes) -> Format | None:
    try:
        root = parse_xml(data, "XML")
    except NotReadable:
        head = _head(data)
        if re.search(r"<annotations[\s>]", head, re.I) and re.search(r"<(image|meta|track|version)[\s>]", head, re.I):
            return "cvat"
        return "voc" if re.search(r"<annotation[\s>]", head, re.I) else None
    if root.tag == "annotations":
        return "cvat"
    is_voc = root.tag == "annotation" and any(e.tag in _OF_VOC for e in root.iter())
    return "voc" if is_voc else None


def _of_json(data: bytes) -> Format | None:
    try:
        document = loads(data, "JSON", unique=False)
    except NotReadable:
        return _of_lines(data) or _of_broken(_head(data))
    if isinstance(document, dict):
        return _of_object(document)
    return _of_list(document) if isinstance(document, list) else None


def _of_object(document: dict[str, Any]) -> Format | None:
    keys = document.keys()
    if "source-ref" in keys or ("source" in keys and any(k.endswith("-metadata") for k in keys)):
        return "groundtruth"
    if "images" in keys and ("annotations" in keys or "categories" in keys):
        return "coco"
    if isinstance(document.get("items"), list) and "categories" in keys:
        return "datumaro"
    if "shapes" in keys and keys & {"imagePath", "imageData", "imageHeight", "imageWidth", "version", "flags"}:
        return "labelme"
    return "labelstudio" if _is_task(document) else None


def _is_task(task: Any) -> bool:
    """Whether it is a task of Label Studio with its annotations, or a row of its JSON-MIN."""
    if not isinstance(task, dict):
        return False
    if isinstance(task.get("data"), dict) and task.keys() & {"annotations", "completions", "predictions"}:
        return True
    if isinstance(task.get("task"), dict) and isinstance(task.get("result"), list):
        return True
    if {"annotation_id", "annotator"} <= task.keys() or {"annotation_id", "lead_time"} <= task.keys():
        return True
    regions = (one for value in task.values() if isinstance(value, list) for one in value if isinstance(one, dict))
    return any(key.endswith("labels") and key != "labels" for region in regions for key in region)


def _of_list(document: list[Any]) -> Format | None:
    rows = [row for row in document if isinstance(row, dict)]
    if rows and all("image_id" in row and ("score" in row or "category_id" in row) for row in rows):
        return "predictions"
    return "labelstudio" if any(map(_is_task, rows)) else None


def _of_lines(data: bytes) -> Format | None:
    """A manifest has an object a line; one of them may be broken."""
    try:
        lines = decoded(data).splitlines()
    except ValueError:
        return None
    for line in lines[:1000]:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        return "groundtruth" if isinstance(row, dict) and _of_object(row) == "groundtruth" else None
    return None


def _of_broken(head: str) -> Format | None:
    """By the names of the fields at the beginning."""

    def has(*names: str) -> bool:
        return all(re.search(rf'"{name}"\s*:', head) for name in names)

    if has("source-ref"):
        return "groundtruth"
    if has("items", "categories"):
        return "datumaro"
    if has("shapes") and (has("imagePath") or has("version")):
        return "labelme"
    if head.lstrip().startswith("[") and (has("annotations", "data") or has("predictions", "data")):
        return "labelstudio"
    return "coco" if has("images") and (has("file_name") or has("annotations") or has("categories")) else None


def _head(data: bytes) -> str:
    try:
        return decoded(data[:_HEAD])
    except ValueError:
        return data[:_HEAD].decode("latin-1")
