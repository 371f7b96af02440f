"""`images` + `processed_images` as Dagster materializes them on batches of 2,000, against the bare pipeline.

The first batch pays for what its process imports (Great Expectations and whylogs above all), as every run under
`dagster dev` does; the second, in the same process, does not. The bare pipeline keeps nothing: no read-back, no file
written and synced, no table, no validation.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.temporary_home import temporary_home

BATCH = 2000
DISTINCT = 100  # rendered scenes; each file differs by a trailing comment, so that all are distinct photographs


def _photographs(sources: list[Path], target: Path, first: int) -> list[Path]:
    """A batch in `target`, its photographs numbered from `first`."""
    target.mkdir(parents=True)
    for number in range(first, first + BATCH):
        data = sources[number % len(sources)].read_bytes()
        note = f"{number:08d}".encode()
        (target / f"{number:05d}.jpg").write_bytes(
            data[:2] + b"\xff\xfe" + (len(note) + 2).to_bytes(2, "big") + note + data[2:]
        )
    return sorted(target.iterdir())


def run() -> list[dict[str, Any]]:
    from carsdepo_assets.commands.pipeline import Pipeline
    from carsdepo_assets.demo.sample.write import write_sample
    from carsdepo_assets.imaging.pipeline import process_many

    with tempfile.TemporaryDirectory(prefix="carsdepo-bench-") as name, temporary_home() as settings:
        write_sample(Path(name), DISTINCT, 11)
        sources = sorted(Path(name, "images").glob("*.jpg"))
        uploads = Path(settings.lake, "raw", "uploads")
        rows = []
        with Pipeline.open(settings) as pipeline:
            for number, case in enumerate(("imports included", "the next batch of the same process")):
                files = _photographs(sources, uploads / str(number), number * BATCH)
                started = time.perf_counter()
                processed = sum(
                    1 for _ in process_many((p.read_bytes() for p in files), settings.policy().data, threads=2)
                )
                bare = time.perf_counter() - started
                started = time.perf_counter()
                batches = pipeline.ingest("uploads")
                whole = time.perf_counter() - started
                rows.append(
                    {
                        "name": f"uploads + images + processed_images, {processed} photographs of 640 x 480, "
                        f"{len(batches)} run(s), {case}",
                        "value": processed / whole,
                        "unit": "images/s",
                        "against": f"bare pipeline, {processed / bare:.0f} images/s",
                        "ratio": bare / whole,
                    }
                )
    return rows
