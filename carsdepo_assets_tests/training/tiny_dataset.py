"""A dataset of a few drawn photographs, as the data step would leave it in the lake."""

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from carsdepo_assets.lake.data_schemas import BOX, NEGATIVE_BOX
from carsdepo_assets.lake.datasets import LATEST, manifest_key
from carsdepo_assets.lake.lake import Lake

SPLITS = {"train": 8, "val": 3, "test": 3}
ORIGINAL, PROCESSED = (200, 120), (100, 60)  # width, height


def tiny_dataset(
    lake: Lake,
    version: str = "0123456789abcdef",
    splits: Mapping[str, int] = SPLITS,
    negatives: Mapping[str, list[dict[str, Any]]] | None = None,
) -> str:
    """Dark rectangles (class 0 or 1) on a bright ground; the last photograph of each split has none.

    negatives: hard negatives by photograph, such as test0; None: the manifest has no such column, as before they came.
    """
    random = np.random.default_rng(0)
    rows = []
    for split, count in splits.items():
        for i in range(count):
            name = f"{split}{i}"
            width, height = ORIGINAL
            rgb = np.full((height, width, 3), 200, np.uint8)
            boxes = []
            if i < count - 1:
                x, y = random.integers(5, 100), random.integers(5, 60)
                rgb[y : y + 40, x : x + 60] = (20, 20, 20) if i % 2 else (200, 20, 20)
                boxes = [{"class_id": i % 2, "x1": float(x), "y1": float(y), "x2": float(x + 60), "y2": float(y + 40)}]
            key, object_key = f"raw/uploads/{name}.png", f"objects/{name}.jpg"
            lake.put(key, _bytes(rgb, "PNG"))
            lake.put(object_key, _bytes(np.asarray(Image.fromarray(rgb).resize(PROCESSED)), "JPEG"))
            rows.append(
                {
                    "image_id": name,
                    "key": key,
                    "object_key": object_key,
                    "split": split,
                    "group_id": name,
                    "revision_id": f"r-{name}",
                    "upload_batch": "u1",
                    "label_batch": "l1",
                    "origin": "yolo",
                    "width": width,
                    "height": height,
                    "processed_width": PROCESSED[0],
                    "processed_height": PROCESSED[1],
                    "scale": 0.5,
                    "boxes": boxes,
                }
            )
    rows.sort(key=lambda r: r["image_id"])
    columns = {name: [r[name] for r in rows] for name in rows[0]}
    table = pa.table({k: pa.array(v, pa.list_(BOX)) if k == "boxes" else pa.array(v) for k, v in columns.items()})
    if negatives is not None:
        marked = pa.array([negatives.get(r["image_id"]) for r in rows], pa.list_(NEGATIVE_BOX))
        table = table.append_column("negatives", marked)
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    lake.put(manifest_key(version), buffer.getvalue())
    lake.put(LATEST, json.dumps({"version": version, "label_state": sum(splits.values())}).encode())
    return version


def _bytes(rgb: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, kind)
    return buffer.getvalue()
