"""Each detector on real photographs, by groups, for CARSDEPO_BENCH_REAL_MINUTES (default 10) of training.

Then Faster R-CNN once more for CARSDEPO_BENCH_REAL_LONG_MINUTES (default 28; 0: left out). CARSDEPO_REAL_DATA names the
folder that holds `cardamage` (images/, labels/, manifest.csv).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from benchmarks.temporary_home import temporary_home

FAMILIES = ("faster_rcnn", "yolov8n")
FIGURES = (("map50", "mAP@.5"), ("map50_95", "mAP@.5:.95"), ("precision", "precision"), ("recall", "recall"))


def run() -> list[dict[str, Any]]:
    """The photographs are ingested once; every training gets the same dataset."""
    root = os.environ.get("CARSDEPO_REAL_DATA")
    if root is None:
        return [{"name": "skipped: CARSDEPO_REAL_DATA is not set", "value": None}]
    from carsdepo_assets.commands.pipeline import Pipeline
    from carsdepo_assets.demo import train_loop

    folder = Path(root).resolve() / "cardamage"
    minutes = float(os.environ.get("CARSDEPO_BENCH_REAL_MINUTES", "10"))
    long = float(os.environ.get("CARSDEPO_BENCH_REAL_LONG_MINUTES", "28"))
    trainings = [(family, minutes) for family in FAMILIES] + ([("faster_rcnn", long)] if long > 0 else [])
    rows = []
    with temporary_home() as settings, Pipeline.open(settings) as pipeline:
        for family, minutes in trainings:
            loop = train_loop.run(
                pipeline,
                folder,
                minutes=minutes,
                detector=family,
                say=lambda text: print(f"  {text}", flush=True),
            )
            rows += _rows(family, minutes, loop)
    return rows


def _rows(family: str, minutes: float, loop: Any) -> list[dict[str, Any]]:
    figures = loop.figures
    trained = next(step.outcome for step in loop.steps if step.name == "candidate_model")
    epochs = trained.rpartition(", ")[2]
    on = f"{figures['photographs']} test photographs, {figures['boxes']} boxes, {figures['groups']} groups"
    rows = []
    for key, label in FIGURES:
        name = f"{family}, {minutes:g} min ({epochs}): {label} on {on}"
        if key == "map50" and "map50_low" in figures:
            name += f", 95 % interval {figures['map50_low']:.3f} to {figures['map50_high']:.3f}"
        if key in ("precision", "recall"):
            name += f", threshold {figures['threshold']:.3f} from val"
        rows.append({"name": name, "value": float(figures[key]), "unit": label if key.startswith("map") else "share"})
    return rows
