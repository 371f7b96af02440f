"""A lake with a model, its dataset and answers of production, of numbers drawn and not of photographs."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from carsdepo_assets.lake.data_schemas import BOX
from carsdepo_assets.lake.datasets import LATEST, manifest_key
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import ModelCard, digest_of, write_model
from carsdepo_assets.monitoring.features import IMAGE
from carsdepo_assets.policy import MonitoringPolicy, Policy
from carsdepo_assets.registry import ledger

NOW = datetime(2026, 5, 6, 18, 0, tzinfo=UTC)
CLASSES = ("scratch", "dent")
DATASET = "0123456789abcdef"
RULES = Policy(monitoring=MonitoringPolicy(resamples=400))
SIZES = (0.18, 0.22, 0.22, 0.16, 0.12, 0.10)  # share of cars with 1 .. 6 photographs
Rows = list[dict[str, Any]]


def cars(rng: np.random.Generator, n: int) -> np.ndarray:
    """(n,) the car of each photograph, 0 .. : one to six of each."""
    sizes: list[int] = []
    while sum(sizes) < n:
        sizes.append(1 + int(rng.choice(6, p=SIZES)))
    return np.repeat(np.arange(len(sizes)), sizes)[:n]


def looks(rng: np.random.Generator, car: np.ndarray, night: float = 0.0) -> dict[str, np.ndarray]:
    """IMAGE features; half of their variance is the car's. night: share of cars photographed in the dark."""
    count, n = int(car.max()) + 1, len(car)
    dark = (np.arange(count) < round(night * count))[car]

    def draw(mean: float, spread: float) -> np.ndarray:
        return mean + spread * np.sqrt(0.5) * (rng.normal(size=count)[car] + rng.normal(size=n))

    return {
        "luma_p95": np.where(dark, draw(90, 15), draw(200, 20)),
        "luma_std": np.where(dark, draw(30, 6), draw(55, 9)),
        "luma_mean": np.where(dark, draw(45, 10), draw(120, 18)),
        "sharpness": np.exp(draw(5, 0.6)),
        "saturation": draw(80, 15),
        "colour_cast": np.abs(draw(6, 3)),
        "aspect": np.where(rng.random(n) < 0.08, 0.75, 4 / 3),
        "megapixels": rng.choice([1.2288, 12.192768], size=count)[car],
        "bits_per_pixel": draw(2, 0.3),
    }


def boxes_of(rng: np.random.Generator, n: int) -> list[Rows]:
    """Scored boxes of n photographs, best first."""
    answers = []
    for _ in range(n):
        scores = sorted(rng.uniform(0.05, 0.95, rng.integers(0, 4)), reverse=True)
        answers.append(
            [
                {"class_id": int(rng.integers(2)), "x1": 10.0, "y1": 10.0, "x2": 40.0, "y2": 30.0, "score": float(s)}
                for s in scores
            ]
        )
    return answers


def image_id(name: str) -> str:
    return name.ljust(64, "-")


def photographs(prefix: str, n: int, seed: int, night: float = 0.0) -> Rows:
    """Rows with image_id, listing, camera and IMAGE features."""
    rng = np.random.default_rng(seed)
    car = cars(rng, n)
    drawn = looks(rng, car, night)
    dark = (np.arange(int(car.max()) + 1) < round(night * (car.max() + 1)))[car]
    brand = rng.choice(["Pomona", "Lumenix", "Sonder"], size=int(car.max()) + 1)[car]
    return [
        {
            "image_id": image_id(f"{prefix}{i}"),
            "listing": f"{prefix}-car-{car[i]}",
            "camera": str(brand[i]),
            "source": "mobile" if dark[i] or rng.random() < 0.3 else "web",
            **{name: float(drawn[name][i]) for name in IMAGE},
        }
        for i in range(n)
    ]


def put_model(lake: Lake, weights: bytes = b"weights", threshold: float = 0.4) -> str:
    digest = digest_of(weights)
    card = ModelCard(
        digest=digest,
        weights="best.pt",
        detector="yolov8n",
        class_names=CLASSES,
        image_size=160,
        threshold=threshold,
        threshold_from="best F1 on val",
        dataset_version=DATASET,
        recipe={},
    )
    write_model(lake, weights, card, {"history": []}, b"{}")
    return digest


def put_dataset(lake: Lake, rows: Rows, queued: Mapping[str, str] | None = None) -> None:
    """A manifest and `images` of these photographs; a third is val or test. queued: {image_id: queue that chose it}."""
    manifest = [
        {
            "image_id": r["image_id"],
            "key": f"raw/uploads/queue/{queued[r['image_id']]}/{r['image_id']}.jpg"
            if queued and r["image_id"] in queued
            else f"raw/uploads/{r['image_id']}.jpg",
            "object_key": f"objects/{r['image_id']}.jpg",
            "split": ("train", "train", "val" if hash_of(r["listing"]) % 2 else "test")[hash_of(r["listing"]) % 3],
            "group_id": r["listing"],
            "boxes": [],
        }
        for r in rows
    ]
    columns = {k: [m[k] for m in manifest] for k in manifest[0]}
    table = pa.table({k: pa.array(v, pa.list_(BOX)) if k == "boxes" else pa.array(v) for k, v in columns.items()})
    sink = io.BytesIO()
    pq.write_table(table, sink)
    lake.put(manifest_key(DATASET), sink.getvalue())
    lake.put(LATEST, json.dumps({"version": DATASET}).encode())
    kept = ("image_id", "camera", *IMAGE)
    lake.append("images", [{k: r[k] for k in kept} for r in rows], "images")


def hash_of(text: str) -> int:
    return sum(text.encode()) * 7919


def put_answers(
    lake: Lake,
    digest: str,
    rows: Rows,
    *,
    unit: str = "answers",
    start: datetime = NOW - timedelta(hours=10),
    stage: str = "production",
    threshold: float = 0.4,
    seed: int = 5,
) -> None:
    """Answers to these photographs, ten seconds apart from start on."""
    drawn = boxes_of(np.random.default_rng(seed), len(rows))
    lake.append(
        "inferences",
        [
            {
                **r,
                "prediction_id": f"{unit}-{i:05d}",
                "request_id": f"{unit}-{i:05d}",
                "at": start + timedelta(seconds=10 * i),
                "stage": stage,
                "digest": digest,
                "version": 1,
                "runtime": "onnxruntime",
                "threshold": threshold,
                "boxes": boxes,
                "n_boxes": sum(b["score"] >= threshold for b in boxes),
                "max_score": max((b["score"] for b in boxes), default=0.0),
                "decision": "clear",
                "milliseconds": 20.0,
            }
            for i, (r, boxes) in enumerate(zip(rows, drawn, strict=True))
        ],
        unit,
    )


def promote(lake: Lake, digest: str) -> None:
    ledger.record(lake, "production", "promote", digest=digest, version=1, actor="a@b", reason="test")


def drawn_answers(rows: Rows) -> list[Rows]:
    """Stands for the model that answers a reference's photographs: as put_answers draws them."""
    return boxes_of(np.random.default_rng(9), len(rows))
