"""How long the site's gallery takes for a page, a filter and a search, on lakes of up to a million photographs.

The lakes are made of rows alone: ids, names, batches, light, splits, labels and features are drawn. The pictures of the
first pages are real files, so that those pages hold what they would. Figures are seconds of a whole answer, as the
browser gets it, and of the processor, by which the limit is judged, as others may use the machine.
"""

from __future__ import annotations

import binascii
import io
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from carsdepo_assets.lake.data_schemas import BOX
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.photograph_features import append_features

SIZES = (10_000, 100_000, 1_000_000)
LIMIT_S = 1.0  # of the processor, of a page, at the 95th percentile
_BATCH, _FEATURES, _TRIES = 2_000, 100_000, 20
_APPEND = 100_000
_NOW = datetime(2026, 11, 1, tzinfo=UTC)


def run(sizes: tuple[int, ...] = SIZES) -> list[dict[str, Any]]:
    """Measures each size in a lake of its own, which is removed afterwards."""
    print(f"gallery: {', '.join(f'{n:,}' for n in sizes)} photographs, about {_minutes(sizes):.0f} minutes", flush=True)
    return [row for size in sizes for row in _measure(size)]


def _minutes(sizes: tuple[int, ...]) -> float:
    return sum(0.5 + n / 250_000 for n in sizes)


def fill(lake: Lake, count: int) -> list[str]:
    """Writes the rows of so many photographs; returns their ids, in the order in which they were drawn."""
    rng = np.random.default_rng(count)
    ids: list[str] = []
    for start in range(0, count, _APPEND):
        n = min(_APPEND, count - start)
        part = [binascii.hexlify(rng.bytes(32)).decode() for _ in range(n)]
        ids += part
        numbers = np.arange(start, start + n)
        batch = [f"b{k:07}" for k in numbers // _BATCH]
        came = [_NOW + timedelta(seconds=int(k)) for k in numbers // _BATCH]
        keys = [f"raw/uploads/{('web', 'app', 'fleet')[k % 3]}/{k % 997:03}/IMG_{k:08}.jpg" for k in numbers]
        images = {
            "image_id": part, "batch_id": batch, "key": keys, "ingested_at": came,
            "listing": [f"L{k // 4}" for k in numbers], "camera": [f"camera {k % 40}" for k in numbers],
            "light": np.array(["day", "night", "indoor", "dusk"])[rng.integers(4, size=n)],
            "width": np.full(n, 1280), "height": np.full(n, 960), "luma_mean": rng.uniform(10, 200, n),
        }  # fmt: skip
        lake.append("images", pa.table(images), f"images-{start}")
        split = np.array(["train", "train", "train", "val", "test"])[rng.integers(5, size=n)]
        groups = [f"g{k // 4}" for k in numbers]
        splits = {"image_id": part, "group_id": groups, "split": split, "assigned_at": came}
        lake.append("splits", pa.table(splits), f"splits-{start}")
        labelled = np.flatnonzero(rng.random(n) < 0.8)
        annotations = {
            "image_id": [part[i] for i in labelled], "batch_id": [batch[i] for i in labelled],
            "revision_id": [part[i][:16] for i in labelled], "key": [keys[i] for i in labelled],
            "created_at": [came[i] for i in labelled], "sequence": numbers[labelled],
            "boxes": _boxes(rng, len(labelled)),
        }  # fmt: skip
        lake.append("annotations", pa.table(annotations), f"annotations-{start}")
        if start < _FEATURES:
            append_features(lake, "drawn", part, rng.normal(size=(n, 320)).astype(np.float32))
    return ids


def _boxes(rng: np.random.Generator, photographs: int) -> pa.ListArray:
    counts = rng.integers(0, 4, photographs)
    n = int(counts.sum())
    left, top = rng.uniform(0, 1000, n), rng.uniform(0, 800, n)
    columns = [rng.integers(2, size=n).astype(np.int32), left, top, left + 90, top + 60]
    flat = pa.StructArray.from_arrays([pa.array(c) for c in columns], fields=list(BOX))
    return pa.ListArray.from_arrays(pa.array(np.r_[0, np.cumsum(counts)].astype(np.int32)), flat)


def _measure(count: int) -> list[dict[str, Any]]:
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    from carsdepo_assets.settings import Settings
    from carsdepo_assets.site.app import pages
    from carsdepo_assets.site.gallery_index import read_columns
    from carsdepo_assets.site.gallery_query import GalleryFilter, page_of

    folder = Path(tempfile.mkdtemp(prefix="gallery-"))
    try:
        settings = Settings.read({}, home=folder)
        lake = Lake.open(settings.lake)
        ids = fill(lake, count)
        started, cpu = time.monotonic(), time.process_time()
        columns = read_columns(lake, settings.policy())
        rows = [_row(f"{count:,}: columns read anew", time.monotonic() - started, "s", "in the background")]
        rows.append(_row(f"{count:,}: the same, of the processor", time.process_time() - cpu, "s"))
        jpeg, deep, asked = _photograph(), list[str](), GalleryFilter()
        for _ in range(_TRIES):
            page = page_of(columns, asked)
            for row in page.rows:
                lake.put(f"objects/{row['image_id'][:2]}/{row['image_id']}.jpg", jpeg)
            deep.append(asked.link(after=asked.after))
            asked = GalleryFilter(after=page.next or "")
        anywhere = [f"/photographs?after={int((_NOW + timedelta(seconds=int(k))).timestamp() * 1e6)}-{'0' * 64}"
                    for k in np.linspace(0, count / _BATCH, _TRIES)]  # fmt: skip
        del columns
        app = FastAPI()
        app.include_router(pages(settings, health=lambda stage: None))
        client = TestClient(app)
        while client.get("/photographs?q=none").status_code == 503:
            time.sleep(0.5)
        some = [ids[i] for i in np.linspace(0, min(count, _FEATURES) - 1, _TRIES).astype(int)]
        numbers = np.linspace(0, count - 1, _TRIES).astype(int).tolist()
        asked_for: dict[str, list[str]] = {
            "page with 36 new pictures": deep,
            "page anywhere, no pictures": anywhere,
            "filter by class": ["/photographs?label=1"] * _TRIES,
            "filter by split and light": ["/photographs?split=val&light=night"] * _TRIES,
            "filter by batch": [f"/photographs?batch=b{k // _BATCH:07}" for k in numbers],
            "filter by car": [f"/photographs?group=g{k // 4}" for k in numbers],
            "search by id": [f"/photographs?q={i[:12]}" for i in some],
            "search by listing": [f"/photographs?q=L{k // 4}" for k in numbers],
            "search by part of a name": [f"/photographs?q=img_{k:08}" for k in numbers],
            "photograph and more like it": [f"/photographs/{i}" for i in some],
        }
        client.get(f"/photographs/{some[0]}")  # the codes are read once
        for name, paths in asked_for.items():
            rows += _timed(f"{count:,}: {name}", paths, client.get)
        return rows
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _timed(name: str, paths: list[str], get: Callable[[str], Any]) -> list[dict[str, Any]]:
    seconds, processor = [], []
    for path in paths:
        started, cpu = time.monotonic(), time.process_time()
        answer = get(path)
        seconds.append(time.monotonic() - started)
        processor.append(time.process_time() - cpu)
        assert answer.status_code == 200, (path, answer.status_code)
    low, high, busy = (float(np.percentile(v, q)) for v, q in ((seconds, 50), (seconds, 95), (processor, 95)))
    limit = {"against": f"at most {LIMIT_S:g}", "holds": busy <= LIMIT_S}
    return [
        _row(f"{name}, p50", low, "s"),
        _row(f"{name}, p95", high, "s"),
        {**_row(f"{name}, p95 of the processor", busy, "s"), **limit},
    ]


def _row(name: str, value: float, unit: str, against: str = "") -> dict[str, Any]:
    print(f"  {name}: {value:.3f} {unit}", file=sys.stderr, flush=True)
    return {"name": name, "value": round(value, 3), "unit": unit, "against": against}


def _photograph() -> bytes:
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).resize((1280, 960), Image.Resampling.BICUBIC).save(out, "JPEG", quality=88)
    return out.getvalue()
