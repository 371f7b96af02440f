"""Reads and writes COCO files: ground truth (cocodataset.org/#format-data) and results (#format-results).

Files are read strictly: whatever does not fit is an error that names the entry. Boxes in files are [x, y, width,
height] in pixels. A class id here is the position of a category in the order of category ids.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.scoring.boxes import Detections, Truth
from carsdepo_assets.scoring.evaluation import Evaluation, evaluate

ImageId = int | str
_LONGEST_SIDE = 2**31 - 1  # pixels: more than a photograph's format can say


class CocoFileError(ValueError):
    """A file is not what it should be; the message names the file and the entry, and says what to correct."""


@dataclass(frozen=True)
class GroundTruth:
    """The content of a ground truth file; what belongs to images is in the file's order."""

    image_ids: list[ImageId]
    """one an image"""
    file_names: list[str]
    """one an image"""
    image_sizes: list[tuple[int, int]]
    """(width, height) in pixels, one an image"""
    class_names: list[str]
    """by class id"""
    category_ids: list[int]
    """the file's category ids, by class id"""
    truths: list[Truth]
    """labelled boxes, one entry an image"""


def load_ground_truth(path: Path) -> GroundTruth:
    """Reads a COCO ground truth file.

    Raises:
        CocoFileError: it is not JSON, keys are missing, ids are doubled or unknown, a box is not finite or has no area,
            or a region is marked as a crowd.
    """
    content = _read(path)
    if not isinstance(content, dict):
        raise CocoFileError(
            f"{path}: COCO ground truth is an object with images, annotations and categories; "
            f"this is a {type(content).__name__}. Is it a results file? Give that as predictions."
        )
    for key in ("images", "annotations", "categories"):
        if not isinstance(content.get(key), list):
            raise CocoFileError(f'{path}: "{key}" is missing or no list.')
    names: dict[int, str] = {}
    for n, row in enumerate(content["categories"]):
        where = f"{path}: categories[{n}]"
        category, name = _field(row, "id", where), _field(row, "name", where)
        if type(category) is not int or not isinstance(name, str):
            raise CocoFileError(f"{where}: id must be a whole number and name a text, not {category!r} and {name!r}.")
        if category in names or name in names.values():
            raise CocoFileError(f"{where}: category {category} ({name}) is there twice.")
        names[category] = name
    if not names:
        raise CocoFileError(f"{path}: categories is empty: name at least one class.")
    category_ids = sorted(names)
    class_of = {category: c for c, category in enumerate(category_ids)}

    index: dict[ImageId, int] = {}
    files, sizes = [], []
    for n, row in enumerate(content["images"]):
        where = f"{path}: images[{n}]"
        image_id = _image_id(row, where)
        if image_id in index:
            raise CocoFileError(f"{where}: image id {image_id!r} is there twice.")
        index[image_id] = n
        sizes.append((_side(row, "width", where), _side(row, "height", where)))
        files.append(str(row.get("file_name", image_id)))

    boxes: list[list[list[float]]] = [[] for _ in index]
    classes: list[list[int]] = [[] for _ in index]
    for n, row in enumerate(content["annotations"]):
        where = f"{path}: annotations[{n}]"
        image, box, class_id = _row(row, where, index, class_of)
        if row.get("iscrowd"):
            raise CocoFileError(f"{where}: iscrowd is set; crowd regions are not scored here. Remove or split it.")
        if box[2] <= box[0] or box[3] <= box[1]:
            raise CocoFileError(f"{where}: bbox {row['bbox']} has no area. Remove it.")
        boxes[image].append(box)
        classes[image].append(class_id)
    truths = [
        Truth(np.array(b, float).reshape(-1, 4), np.array(c, np.int64)) for b, c in zip(boxes, classes, strict=True)
    ]
    return GroundTruth(list(index), files, sizes, [names[c] for c in category_ids], category_ids, truths)


def load_results(path: Path, truth: GroundTruth) -> list[Detections]:
    """Reads a COCO results file.

    Args:
        path: the file.
        truth: the ground truth that it belongs to.

    Returns:
        The detections of each image of `truth`, empty where the file has none.

    Raises:
        CocoFileError: it is not JSON, keys are missing, an id is unknown, or a box or score is out of range.
    """
    content = _read(path)
    if not isinstance(content, list):
        raise CocoFileError(
            f"{path}: COCO results are a list of {{image_id, category_id, bbox, score}}; "
            f"this is a {type(content).__name__}. Is it a ground truth file?"
        )
    index = {image_id: n for n, image_id in enumerate(truth.image_ids)}
    class_of = {category: c for c, category in enumerate(truth.category_ids)}
    boxes: list[list[list[float]]] = [[] for _ in index]
    scores: list[list[float]] = [[] for _ in index]
    classes: list[list[int]] = [[] for _ in index]
    for n, row in enumerate(content):
        where = f"{path}: [{n}]"
        image, box, class_id = _row(row, where, index, class_of)
        score = _number(_field(row, "score", where), "score", where)
        if not 0 <= score <= 1:
            raise CocoFileError(f"{where}: score {score} is outside 0..1. Give probabilities, not logits or percent.")
        boxes[image].append(box)
        scores[image].append(score)
        classes[image].append(class_id)
    return [
        Detections(np.array(b, float).reshape(-1, 4), np.array(s, float), np.array(c, np.int64))
        for b, s, c in zip(boxes, scores, classes, strict=True)
    ]


def save_ground_truth(
    path: Path,
    truths: Sequence[Truth],
    class_names: Sequence[str],
    image_sizes: Sequence[tuple[int, int]],
    file_names: Sequence[str],
) -> GroundTruth:
    """Writes a COCO ground truth file. Ids of images and annotations count from 1; a category id is class id + 1.

    Args:
        path: the file; missing folders above it are created.
        truths: labelled boxes, one entry an image.
        class_names: by class id.
        image_sizes: (width, height) of each image, in pixels.
        file_names: of the images.

    Returns:
        The same as load_ground_truth reads it.
    """
    images = [
        {"id": n + 1, "file_name": name, "width": int(w), "height": int(h)}
        for n, (name, (w, h)) in enumerate(zip(file_names, image_sizes, strict=True))
    ]
    rows = [
        {
            "image_id": n + 1,
            "category_id": int(c) + 1,
            "bbox": _xywh(b),
            "area": float(np.prod(_xywh(b)[2:])),
            "iscrowd": 0,
        }
        for n, t in zip(range(len(images)), truths, strict=True)
        for b, c in zip(t.xyxy, t.classes, strict=True)
    ]
    _write(
        path,
        {
            "images": images,
            "annotations": [{"id": n + 1, **row} for n, row in enumerate(rows)],
            "categories": [{"id": c + 1, "name": name} for c, name in enumerate(class_names)],
        },
    )
    return GroundTruth(
        [n + 1 for n in range(len(images))],
        list(file_names),
        [(int(w), int(h)) for w, h in image_sizes],
        list(class_names),
        [c + 1 for c in range(len(class_names))],
        list(truths),
    )


def save_results(
    path: Path,
    detections: Sequence[Detections],
    image_ids: Sequence[ImageId],
    file_names: Sequence[str],
    category_ids: Sequence[int] | None = None,
) -> int:
    """Writes a COCO results file, with the image's file_name in each row.

    Args:
        path: the file; missing folders above it are created.
        detections: one entry an image.
        image_ids: of the images.
        file_names: of the images.
        category_ids: by class id; None: class id + 1.

    Returns:
        The number of rows written.
    """
    rows = []
    for d, image_id, name in zip(detections, image_ids, file_names, strict=True):
        for box, score, c in zip(d.xyxy, d.scores, d.classes, strict=True):
            category = int(category_ids[c]) if category_ids is not None else int(c) + 1
            rows.append(
                {
                    "image_id": image_id,
                    "file_name": name,
                    "category_id": category,
                    "bbox": _xywh(box),
                    "score": float(score),
                }
            )
    _write(path, rows)
    return len(rows)


def evaluate_files(
    ground_truth: Path,
    predictions: Path,
    *,
    iou: float = 0.5,
    max_detections: int = 100,
    threshold: float | None = None,
) -> Evaluation:
    """Evaluates the predictions of any system, given as COCO files.

    Args:
        ground_truth: a COCO ground truth file.
        predictions: a COCO results file.
        iou: overlap from which a detection matches a labelled box.
        max_detections: detections of an image and class that count, the best ones.
        threshold: score at and above which a detection counts; None: the one with the best F1 on these images.

    Raises:
        CocoFileError: a file is not what it should be.
    """
    truth = load_ground_truth(ground_truth)
    return evaluate(
        truth.truths,
        load_results(predictions, truth),
        truth.class_names,
        truth.image_sizes,
        iou=iou,
        max_detections=max_detections,
        threshold=threshold,
    )


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise CocoFileError(f"{path}: cannot be read: {error.strerror}.") from error
    except ValueError as error:  # JSON and UTF-8 errors, and numbers with thousands of digits
        raise CocoFileError(f"{path}: not JSON: {error}.") from error
    except RecursionError as error:
        raise CocoFileError(f"{path}: nested too deeply to be read: it is no COCO file.") from error


def check_place(path: Path) -> None:
    """Checks before the work that a file can be written at a path.

    Args:
        path: the file; folders above it may be missing.

    Raises:
        CocoFileError: it is a folder, or what should be a folder above it is a file.
    """
    if path.is_dir():
        raise CocoFileError(f"{path} is a folder. Name the file to write, such as {path / 'results.json'}.")
    above = next(p for p in path.absolute().parents if p.exists())
    if not above.is_dir():
        raise CocoFileError(f"{path} cannot be written: {above} is a file and no folder. Name another file.")


def _write(path: Path, content: Any) -> None:
    check_place(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(json.dumps(content, allow_nan=False))
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _field(row: Any, key: str, where: str) -> Any:
    if not isinstance(row, Mapping):
        raise CocoFileError(f"{where}: expected an object, not {row!r:.60}.")
    if key not in row:
        raise CocoFileError(f'{where}: "{key}" is missing; it has {", ".join(row) or "no keys"}.')
    return row[key]


def _image_id(row: Any, where: str, key: str = "id") -> ImageId:
    value = _field(row, key, where)
    if type(value) is not int and not isinstance(value, str):
        raise CocoFileError(f"{where}: {key} {value!r} is neither a whole number nor a text.")
    return value


def _number(value: Any, key: str, where: str) -> float:
    try:
        if not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value):
            return float(value)
    except OverflowError:  # a whole number beyond the largest float
        pass
    raise CocoFileError(f"{where}: {key} {value!r:.60} is not a finite number.")


def _side(row: Any, key: str, where: str) -> int:
    value = _field(row, key, where)
    if type(value) is not int or not 1 <= value <= _LONGEST_SIDE:
        raise CocoFileError(f"{where}: {key} {value!r:.60} is not a number of pixels.")
    return value


def _row(
    row: Any, where: str, index: Mapping[ImageId, int], class_of: Mapping[int, int]
) -> tuple[int, list[float], int]:
    """Position of the image, box as xyxy, class id."""
    image_id, category = _image_id(row, where, "image_id"), _field(row, "category_id", where)
    if image_id not in index:
        some = ", ".join(repr(i) for i in list(index)[:3])
        raise CocoFileError(
            f"{where}: image_id {image_id!r} is not among the {len(index)} images of the ground truth "
            f"({some} ...). Use its image ids."
        )
    if type(category) is not int or category not in class_of:
        raise CocoFileError(
            f"{where}: category_id {category!r} is not among the categories {list(class_of)}. "
            "Ground truth and predictions must number the classes alike."
        )
    box = _field(row, "bbox", where)
    if not isinstance(box, list) or len(box) != 4:
        raise CocoFileError(f"{where}: bbox {box!r:.60} is not [x, y, width, height].")
    x, y, w, h = (_number(v, "bbox", where) for v in box)
    if w < 0 or h < 0:
        raise CocoFileError(f"{where}: bbox {box} has a negative side; COCO boxes are [x, y, width, height].")
    if not math.isfinite((x + w) * (y + h)) or not math.isfinite(w * h):
        raise CocoFileError(f"{where}: bbox {box!r:.60} is too large: its area is not a finite number.")
    return index[image_id], [x, y, x + w, y + h], class_of[category]


def _xywh(xyxy: NDArray[np.float64]) -> list[float]:
    x1, y1, x2, y2 = (float(v) for v in xyxy)
    return [x1, y1, x2 - x1, y2 - y1]
