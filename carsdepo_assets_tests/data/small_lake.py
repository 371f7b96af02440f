"""A lake filled through the real steps, with few and small photographs."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from carsdepo_assets.data.batches.batches import plan_batches
from carsdepo_assets.data.datasets.dataset import Dataset, build_dataset
from carsdepo_assets.data.labels.import_records import import_record_key
from carsdepo_assets.data.labels.label_revisions import LabelsResult, ingest_labels
from carsdepo_assets.data.photographs.ingest import build_images, build_processed, ingest_uploads
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import DataPolicy, Policy
from carsdepo_assets_tests.data.photograph_files import NOW

RULES = Policy(data=DataPolicy(longest_side_px=64, max_group=5))
WIDTH, HEIGHT = 96, 72


def car(seed: int, quality: int = 92, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """A JPEG of smooth noise: different seeds are different scenes, another quality is a near-duplicate."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(out, "JPEG", quality=quality)
    return out.getvalue()


def turned(seed: int) -> bytes:
    """Stored lying on its side, as phones do: orientation 6; upright it is WIDTH x HEIGHT."""
    out, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    with Image.open(io.BytesIO(car(seed))) as image:
        image.transpose(Image.Transpose.ROTATE_90).save(out, "JPEG", quality=92, exif=exif)
    return out.getvalue()


def upload(lake: Lake, files: Mapping[str, bytes], groups: Mapping[str, str] | None = None) -> list[str]:
    """Batch ids. groups: file -> group, as a manifest.csv says it."""
    if groups is not None:
        rows = "".join(f"{file},{group}\n" for file, group in groups.items())
        lake.put("raw/uploads/manifest.csv", f"file,group\n{rows}".encode())
    for name, data in files.items():
        lake.put(f"raw/uploads/{name}", data)
    batches = [b.batch_id for b in plan_batches(lake, "uploads", RULES, NOW, close_all=True)]
    for batch in batches:
        ingest_uploads(lake, batch, RULES)
        build_images(lake, batch, RULES)
        build_processed(lake, batch, RULES)
    return batches


CLASS_NAMES = b"scratch\ndent\n"  # of the class ids of label files that are dropped without an import


def close_labels(lake: Lake, files: Mapping[str, str | bytes], record: Mapping[str, Any] | None = None) -> str:
    """The one batch of these label files. record: as an import leaves it for the first file's topmost folder."""
    if record is not None:
        lake.put(import_record_key(next(iter(files)).split("/")[0]), json.dumps(record).encode())
    else:
        lake.put("raw/labels/classes.txt", CLASS_NAMES)
    for name, text in files.items():
        lake.put(f"raw/labels/{name}", text if isinstance(text, bytes) else text.encode())
    (manifest,) = plan_batches(lake, "labels", RULES, NOW, close_all=True)
    return manifest.batch_id


def label(lake: Lake, files: Mapping[str, str | bytes], record: Mapping[str, Any] | None = None) -> LabelsResult:
    return ingest_labels(lake, close_labels(lake, files, record), RULES, NOW)


def dataset(lake: Lake) -> Dataset:
    return build_dataset(lake, RULES, NOW)
