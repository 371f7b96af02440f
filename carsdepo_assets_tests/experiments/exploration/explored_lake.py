"""Photographs as rows, for the figures; and a small lake filled through the real steps, for whole explorations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from carsdepo_assets.experiments.exploration.selection import PHOTOGRAPHS, QUALITIES

Row = dict[str, Any]


def photograph(name: str, **values: Any) -> Row:
    """A photograph of 100 x 100 px without labels; its id is its name."""
    row: Row = dict.fromkeys(PHOTOGRAPHS.names)
    return row | {
        "image_id": name, "key": f"raw/uploads/web/{name}.jpg", "width": 100, "height": 100, "source": "web",
        **dict.fromkeys(QUALITIES, 100.0), **values,
    }  # fmt: skip


def box(class_id: int, x1: float, y1: float, x2: float, y2: float) -> Row:
    return {"class_id": class_id, "x1": x1, "y1": y1, "x2": x2, "y2": y2}


def table(rows: list[Row]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=PHOTOGRAPHS)


def vectors(n: int, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(n, 8)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
