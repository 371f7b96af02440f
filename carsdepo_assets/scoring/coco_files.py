"""Reads and writes COCO files: ground truth (cocodataset.org/#format-data) and results (#format-results).

Files are read strictly: whatever does not fit is an error that names the entry. Boxes in files are [x, y, width,
height] in pixels. A class id here is the position of a category in the order of category ids.

What pycocotools takes is read as it takes it: ids that are texts, or whole numbers written as 7.0; images without width
and height; annotations without area; a segmentation where there is no bbox; crowd regions. As there, an annotation's
`ignore` says nothing: only `iscrowd` makes a region to be ignored.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.scoring.boxes import Detections, Truth
from carsdepo_assets.scoring.coco_entries import (
    CategoryId,
    CocoFileError,
    ImageId,
    boxed_entry,
    drawn,
    entry_id,
    is_crowd,
    number,
    required,
    side,
)
from carsdepo_assets.scoring.evaluation import Evaluation, evaluate


@dataclass(frozen=True)
class GroundTruth:
    """The content of a ground truth file; what belongs to images is in the file's order."""

    image_ids: list[ImageId]
    """one an image"""
    file_names: list[str]
    """one an image"""
    image_sizes: list[tuple[int, int]] | None
    """(width, height) in pixels, one an image; None where the file does not say them of every image"""
    class_names: list[str]
    """by class id"""
    category_ids: list[CategoryId]
    """the file's category ids, by class id"""
    truths: list[Truth]
    """labelled boxes, one entry an image"""


def load_ground_truth(path: Path) -> GroundTruth:
    """Reads a COCO ground truth file.

    Raises:
        CocoFileError: it is not JSON, keys are missing, ids are doubled or unknown, or a box is not finite or has no
            area.
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
    names: dict[CategoryId, str] = {}
    for n, row in enumerate(content["categories"]):
        where = f"{path}: categories[{n}]"
        category, name = entry_id(row, where), required(row, "name", where)
        if not isinstance(name, str):
            raise CocoFileError(f"{where}: name must be a text, not {name!r:.60}.")
        if category in names or name in names.values():
            raise CocoFileError(f"{where}: category {category} ({name}) is there twice.")
        names[category] = name
    if not names:
        raise CocoFileError(f"{path}: categories is empty: name at least one class.")
    category_ids = sorted(names, key=_by_id)
    class_of = {category: c for c, category in enumerate(category_ids)}

    index: dict[ImageId, int] = {}
    files: list[str] = []
    sizes: list[tuple[int, int] | None] = []
    for n, row in enumerate(content["images"]):
        where = f"{path}: images[{n}]"
        image_id = entry_id(row, where)
        if image_id in index:
            raise CocoFileError(f"{where}: image id {image_id!r} is there twice.")
        index[image_id] = n
        width, height = side(row, "width", where), side(row, "height", where)
        sizes.append(None if width is None or height is None else (width, height))
        files.append(str(row.get("file_name", image_id)))

    boxes: list[list[list[float]]] = [[] for _ in index]
    classes: list[list[int]] = [[] for _ in index]
    crowds: list[list[bool]] = [[] for _ in index]
    for n, row in enumerate(content["annotations"]):
        where = f"{path}: annotations[{n}]"
        image, box, class_id = boxed_entry(row, where, index, class_of)
        if box[2] <= box[0] or box[3] <= box[1]:
            raise CocoFileError(f"{where}: {drawn(row)} has no area. Remove it.")
        crowds[image].append(is_crowd(row, where))
        boxes[image].append(box)
        classes[image].append(class_id)
    truths = [
        Truth(np.array(b, float).reshape(-1, 4), np.array(c, np.int64), np.array(k, bool) if any(k) else None)
        for b, c, k in zip(boxes, classes, crowds, strict=True)
    ]
    all_sizes = [size for size in sizes if size is not None]
    return GroundTruth(
        list(index),
        files,
        all_sizes if len(all_sizes) == len(sizes) else None,
        [names[c] for c in category_ids],
        category_ids,
        truths,
    )


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
        image, box, class_id = boxed_entry(row, where, index, class_of)
        score = number(required(row, "score", where), "score", where)
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
    category_ids: Sequence[CategoryId] | None = None,
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
            category = category_ids[c] if category_ids is not None else int(c) + 1
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
    detections = load_results(predictions, truth)
    # Of detections of equal score the one on the earlier image comes first, and pycocotools goes by the images' ids.
    order = sorted(range(len(detections)), key=lambda n: _by_id(truth.image_ids[n]))
    return evaluate(
        [truth.truths[n] for n in order],
        [detections[n] for n in order],
        truth.class_names,
        None if truth.image_sizes is None else [truth.image_sizes[n] for n in order],
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


def _by_id(one: int | str) -> tuple[bool, int | str]:
    return isinstance(one, str), one


def _xywh(xyxy: NDArray[np.float64]) -> list[float]:
    x1, y1, x2, y2 = (float(v) for v in xyxy)
    return [x1, y1, x2 - x1, y2 - y1]
