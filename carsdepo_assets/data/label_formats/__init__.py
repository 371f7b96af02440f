"""Readers of label files, one module for each format; the file's suffix decides which one reads it."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Literal


def format_of(key: str) -> Literal["yolo", "coco"] | None:
    """The format of a label file by its suffix; None for a suffix that no module here reads."""
    match PurePosixPath(key).suffix.lower():
        case ".txt":
            return "yolo"
        case ".json":
            return "coco"
        case _:
            return None
