"""Hits and misses on photographs of test, one of each group, as a JPEG for a person to look at; it is not committed."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.real_photographs.data import CLASSES, Photographs
from carsdepo_assets.scoring.boxes import Detections, Truth
from carsdepo_assets.scoring.matching import flatten, match

COLUMNS, SIDE, QUALITY = 6, 220, 65
HIT, FALSE, LABEL = (80, 200, 60), (60, 60, 230), (255, 170, 40)  # BGR


def write_contact_sheet(photographs: Photographs, out: Path, name: str, threshold: float) -> Path:
    """Writes OUT/NAME.jpg from OUT/NAME.boxes.json.

    Args:
        photographs: The labelled photographs.
        out: The folder of results.
        name: Of the training.
        threshold: The least score of the boxes that are shown.

    Returns:
        The file. Labels are blue, detections green where they match a label at an IoU of 0.5, else red.
    """
    boxes = json.loads((out / f"{name}.boxes.json").read_text())["test"]
    tiles, groups = [], set()
    for image in photographs.split("test"):
        group = photographs.group_of[image.image_id]
        if group in groups:
            continue
        groups.add(group)
        rows = np.array(boxes[image.image_id], float).reshape(-1, 6)
        rows = rows[rows[:, 4] >= threshold]
        detections = Detections(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64))
        flat = flatten([Truth(image.xyxy, image.classes)], [detections], len(CLASSES))
        hits = match(flat, 0.5).det_truth >= 0
        tile, scale = cv2.imread(str(image.path)), SIDE / max(image.width, image.height)
        tile = cv2.resize(tile, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        for box in image.xyxy:
            _draw(tile, box * scale, LABEL)
        for box, hit in zip(flat.det_xyxy, hits, strict=True):
            _draw(tile, box * scale, HIT if hit else FALSE)
        tiles.append(cv2.copyMakeBorder(tile, 0, SIDE - tile.shape[0], 0, SIDE - tile.shape[1], cv2.BORDER_CONSTANT))
    blank = np.zeros((SIDE, SIDE, 3), np.uint8)
    tiles += [blank] * (-len(tiles) % COLUMNS)
    sheet = np.vstack([np.hstack(tiles[i : i + COLUMNS]) for i in range(0, len(tiles), COLUMNS)])
    target = out / f"{name}.jpg"
    cv2.imwrite(str(target), sheet, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return target


def _draw(tile: NDArray[np.uint8], box: NDArray[np.float64], colour: tuple[int, int, int]) -> None:
    x1, y1, x2, y2 = box.round().astype(int).tolist()
    cv2.rectangle(tile, (x1, y1), (x2, y2), colour, 2)
