"""The demo's YOLOv8n on the sample lake: mAP@.5 on val against seconds, then on rendered photographs of unseen cars.

CARSDEPO_BENCH_MINUTES (default 2) is the demo's training; CARSDEPO_BENCH_LONG_MINUTES (default 12; 0: left out) a long
one, which shows that the sample is not solved by patience.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.temporary_home import temporary_home

if TYPE_CHECKING:
    from carsdepo_assets.lake.lake import Lake
    from carsdepo_assets.policy import Policy
    from carsdepo_assets.scoring.boxes import Detections, Truth

UNSEEN_PHOTOGRAPHS, UNSEEN_SEED, LEAST_BOXES = 400, 1234, 300
WANTED, TOO_EASY = 0.5, 0.95  # mAP@.5 that the demo must reach, and that a long training must not
POINTS = 10  # of the curve that are shown; all epochs are in models/<digest>/result.json
CHUNK = 8


@dataclass(frozen=True)
class Unseen:
    """Rendered photographs of cars that are not in the sample; groups: a car each."""

    files: list[Path]
    labels: list[Path]
    groups: list[str]


def run() -> list[dict[str, Any]]:
    from carsdepo_assets.commands import loop_steps
    from carsdepo_assets.commands.pipeline import Pipeline
    from carsdepo_assets.demo import train_loop
    from carsdepo_assets.lake.lake import Lake

    short = float(os.environ.get("CARSDEPO_BENCH_MINUTES", "2"))
    long = float(os.environ.get("CARSDEPO_BENCH_LONG_MINUTES", "12"))
    rows = []
    with temporary_home() as settings, Pipeline.open(settings) as pipeline:
        lake, policy = Lake.open(settings.lake), settings.policy()
        train_loop.run(pipeline, None, minutes=short, detector="yolov8n", say=_say)
        unseen = _render(settings.home / "unseen", settings.home / "sample")
        rows += _figures(lake, policy, unseen, f"{short:g} min", WANTED, "at least")
        if long > 0:
            length = loop_steps.Budget(None, long)
            loop_steps.train(pipeline, loop_steps.Loop(), _say, length=length, detector="yolov8n")
            rows += _figures(lake, policy, unseen, f"{long:g} min", TOO_EASY, "under")
    return rows


def _say(text: str) -> None:
    print(f"  {text}", flush=True)


def _render(folder: Path, sample: Path) -> Unseen:
    from carsdepo_assets.demo.sample.write import write_sample

    written = write_sample(folder, UNSEEN_PHOTOGRAPHS, UNSEEN_SEED)
    if written.boxes < LEAST_BOXES:
        raise RuntimeError(f"{UNSEEN_PHOTOGRAPHS} photographs have {written.boxes} boxes, fewer than {LEAST_BOXES}.")
    names = list(written.files)
    cars = [name.rpartition("_")[0] for name in names]
    trained_on = {path.stem.rpartition("_")[0] for path in (sample / "images").iterdir()}
    if trained_on & set(cars):
        raise RuntimeError(f"Cars of the sample among the unseen ones: {sorted(trained_on & set(cars))[:3]}.")
    return Unseen(
        [folder / "images" / n for n in names], [(folder / "labels" / n).with_suffix(".txt") for n in names], cars
    )


def _figures(
    lake: Lake, policy: Policy, unseen: Unseen, label: str, limit: float, relation: str
) -> list[dict[str, Any]]:
    """The curve, then the unseen photographs' figures, of the lake's current candidate."""
    from carsdepo_assets.detectors.catalogue import load_model
    from carsdepo_assets.lake.models import read_result
    from carsdepo_assets.scoring.bootstrap import bootstrap_map50
    from carsdepo_assets.scoring.evaluation import evaluate
    from carsdepo_assets.training import candidates

    digest = candidates.current(lake).digest
    history = [row for row in read_result(lake, digest)["history"] if "val_map50" in row]
    shown = sorted({round(i) for i in np.linspace(0, len(history) - 1, min(POINTS, len(history)))})
    rows: list[dict[str, Any]] = [
        {
            "name": f"YOLOv8n, {label}: val mAP@.5 at {history[i]['seconds']:.0f} s, epoch {history[i]['epoch']:.0f}",
            "value": history[i]["val_map50"],
            "unit": "mAP@.5",
        }
        for i in shown
    ]
    predictor, card = load_model(lake, digest)
    truths: list[Truth] = []
    detections: list[Detections] = []
    for start in range(0, len(unseen.files), CHUNK):
        images = [_decode(path, policy) for path in unseen.files[start : start + CHUNK]]
        detections += predictor.predict(images)
        truths += [
            _truth(path, image) for path, image in zip(unseen.labels[start : start + CHUNK], images, strict=True)
        ]
    result = evaluate(
        truths,
        detections,
        card.class_names,
        iou=policy.evaluation.iou,
        max_detections=policy.evaluation.max_detections,
        threshold=card.threshold,
    )
    interval = bootstrap_map50(truths, detections, len(card.class_names), unseen.groups)
    where = f"{result.n_images} unseen photographs, {len(set(unseen.groups))} cars, {result.n_boxes} boxes"
    name = f"YOLOv8n, {label}: mAP@.5 on {where}"
    if interval.low is not None and interval.high is not None:
        name += f", 95 % interval {interval.low:.3f} to {interval.high:.3f}"
    if result.map50 is None:
        raise RuntimeError(f"No mAP@.5 on {where}.")
    rows.append(
        {
            "name": name,
            "value": result.map50,
            "unit": "mAP@.5",
            "against": f"{relation} {limit}",
            "ratio": result.map50 / limit,
        }
    )
    rows += [
        {"name": f"YOLOv8n, {label}: {figure} on the same", "value": value, "unit": unit}
        for figure, value, unit in (
            ("mAP@.5:.95", result.map50_95, "mAP@.5:.95"),
            ("precision", result.precision, "share"),
            ("recall", result.recall, "share"),
        )
    ]
    return rows


def _decode(path: Path, policy: Policy) -> NDArray[np.uint8]:
    from carsdepo_assets.imaging.decode import decode

    limits = policy.data
    return decode(
        path.read_bytes(), max_bytes=limits.max_bytes, max_pixels=limits.max_pixels, min_side=limits.min_side_px
    ).rgb


def _truth(path: Path, image: NDArray[np.uint8]) -> Truth:
    """YOLO lines as boxes in the upright image's pixels."""
    from carsdepo_assets.scoring.boxes import Truth

    lines = np.array([line.split() for line in path.read_text().splitlines()], dtype=np.float64).reshape(-1, 5)
    height, width = image.shape[:2]
    centre, half = lines[:, 1:3] * (width, height), lines[:, 3:5] * (width, height) / 2
    return Truth(np.hstack([centre - half, centre + half]), lines[:, 0].astype(np.int64))
