"""Label files as people write them, one module a format; the suffix says which."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Literal


def format_of(key: str) -> Literal["yolo", "coco"] | None:
    """None for a suffix that no module here reads."""
    match PurePosixPath(key).suffix.lower():
        case ".txt":
            return "yolo"
        case ".json":
            return "coco"
        case _:
            return None
