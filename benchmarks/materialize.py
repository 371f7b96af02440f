"""`images` + `processed_images` as Dagster materializes them on a batch of 2,000, against the bare pipeline."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.temporary_home import temporary_home

BATCH = 2000
DISTINCT = 100  # rendered scenes; each file differs by a trailing comment, so that all are distinct photographs


def _photographs(folder: Path) -> list[Path]:
    from carsdepo_assets.sample.write import write_sample

    write_sample(folder / "source", DISTINCT, 11)
    sources = sorted((folder / "source" / "images").glob("*.jpg"))
    target = folder / "batch" / "images"
    target.mkdir(parents=True)
    for number in range(BATCH):
        data = sources[number % len(sources)].read_bytes()
        note = f"{number:08d}".encode()
        (target / f"{number:05d}.jpg").write_bytes(
            data[:2] + b"\xff\xfe" + (len(note) + 2).to_bytes(2, "big") + note + data[2:]
        )
    return sorted(target.iterdir())


def run() -> list[dict[str, Any]]:
    from carsdepo_assets.commands.pipeline import Pipeline
    from carsdepo_assets.imaging.pipeline import process_many

    with tempfile.TemporaryDirectory(prefix="carsdepo-bench-") as name, temporary_home() as settings:
        files = _photographs(Path(name))
        started = time.perf_counter()
        done = sum(1 for _ in process_many((p.read_bytes() for p in files), settings.policy().data, threads=2))
        bare = time.perf_counter() - started
        shutil.copytree(Path(name) / "batch" / "images", Path(settings.lake, "raw", "uploads", "bench"))
        with Pipeline.open(settings) as pipeline:
            started = time.perf_counter()
            batches = pipeline.ingest("uploads")
            whole = time.perf_counter() - started
    return [
        {
            "name": f"uploads + images + processed_images, {done} photographs of 640 x 480, {len(batches)} run(s)",
            "value": done / whole,
            "unit": "images/s",
            "against": f"bare pipeline, {done / bare:.0f} images/s",
            "ratio": bare / whole,
        }
    ]
