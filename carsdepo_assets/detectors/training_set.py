"""Reads a dataset of the lake as the image files and box arrays that a detector trains on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.detectors.base import TrainingImage, TrainingSet
from carsdepo_assets.lake.datasets import read_manifest
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.scoring.false_alarm_causes import Negatives


class EmptyTrainingSet(ValueError):
    """The dataset has no photograph in a split that is needed."""


def training_set(
    lake: Lake, version: str, splits: Sequence[str] = ("train", "val"), *, class_names: Sequence[str]
) -> TrainingSet:
    """Reads the processed images of a dataset and their boxes.

    Args:
        lake: The lake that holds the dataset.
        version: The dataset's version.
        splits: Which splits to read; the first one is required.
        class_names: The model's classes in the order of their ids.

    Returns:
        The images with their boxes in the processed images' pixels.

    Raises:
        EmptyTrainingSet: The first split has no photograph.
    """
    rows = [r for r in read_manifest(lake, version).to_pylist() if r["split"] in splits]
    data = TrainingSet(tuple(class_names), [training_image(lake, row) for row in rows])
    if not data.split(splits[0]):
        raise EmptyTrainingSet(
            f"dataset {version} has no photograph in split {splits[0]}: import labelled photographs of more cars."
        )
    return data


def training_image(lake: Lake, row: Mapping[str, Any]) -> TrainingImage:
    """One row of a dataset's manifest: its processed image, brought to this machine, and boxes in its pixels."""
    xyxy, classes = boxes_of(row)
    size = np.array([row["processed_width"], row["processed_height"]] * 2, dtype=np.float64)
    return TrainingImage(
        image_id=row["image_id"],
        path=lake.local_path(row["object_key"]),
        split=row["split"],
        width=row["processed_width"],
        height=row["processed_height"],
        xyxy=np.minimum(xyxy * row["scale"], size),
        classes=classes,
    )


def boxes_of(row: Mapping[str, Any]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The labelled boxes of one row of a dataset's manifest.

    Args:
        row: The row, with a list `boxes`.

    Returns:
        Corners x1, y1, x2, y2 in pixels of the upright original, (N, 4), and class ids, (N,).
    """
    boxes = row["boxes"] or []
    xyxy = np.array([[b["x1"], b["y1"], b["x2"], b["y2"]] for b in boxes], dtype=np.float64).reshape(-1, 4)
    return xyxy, np.array([b["class_id"] for b in boxes], dtype=np.int64)


def negatives_of(row: Mapping[str, Any]) -> Negatives:
    """The hard negatives of one row of a dataset's manifest; none where the manifest is older than they are.

    Args:
        row: The row.

    Returns:
        Corners in pixels of the upright original, and causes.
    """
    negatives = row.get("negatives") or []
    xyxy = np.array([[n["x1"], n["y1"], n["x2"], n["y2"]] for n in negatives], dtype=np.float64).reshape(-1, 4)
    return Negatives(xyxy, tuple(n["cause"] for n in negatives))
