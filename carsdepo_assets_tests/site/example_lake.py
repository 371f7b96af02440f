"""An installation in the middle of its life, filled through the real steps: data, models, ledger, answers, reports."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from PIL import Image

from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.inference.records import Answer, CapturedBox, ClientMetadata, Features, Record
from carsdepo_assets.lake import queues
from carsdepo_assets.lake.evaluations import EvaluationRecord, record_evaluation
from carsdepo_assets.lake.label_state import label_state, mark_trained
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import ModelCard, digest_of, write_model
from carsdepo_assets.policy_augmentation import AugmentationSettings
from carsdepo_assets.registry import ledger
from carsdepo_assets.registry.lineage import build_lineage
from carsdepo_assets.registry.models import register
from carsdepo_assets.registry.preprocessing import describe_preprocessing
from carsdepo_assets.registry.tracking import Tracking
from carsdepo_assets_tests.data import small_lake

NAMES = ("scratch", "dent")
VARIED = AugmentationSettings(flip=0.5, scale=0.3, min_visible=0.1)
FIGURES = {"map50": 0.412, "precision": 0.71, "recall": 0.634, "f1": 0.67, "threshold": 0.31}


@dataclass
class Shot:
    """A photograph that a client sends; boxes: (class_id, score, x1, y1, x2, y2)."""

    data: bytes
    boxes: list[tuple[int, float, float, float, float, float]] = field(default_factory=list)
    listing: str = "L-1001"
    source: str = "web"


def shots(count: int = 4) -> list[Shot]:
    return [Shot(small_lake.car(100 + n), [(n % 2, 0.9 - 0.2 * n, 10, 12, 40, 50)]) for n in range(count)]


def photographs(lake: Lake) -> str:
    """Photographs with labels; the dataset's version."""
    files = {f"car/{n}.jpg": small_lake.car(n) for n in range(12)}
    small_lake.upload(lake, files, {f"car/{n}.jpg": f"g{n}" for n in range(12)})
    small_lake.label(lake, {f"car/{n}.txt": "0 0.5 0.5 0.2 0.2\n" if n % 3 else "" for n in range(12)})
    return small_lake.dataset(lake).version


def model(lake: Lake, tracking: Tracking, dataset: str, weights: bytes, parent: str | None = None) -> str:
    """A registered model with its lineage and evaluation; the digest."""
    digest = digest_of(weights)
    run = tracking.begin(f"dagster-{digest[:6]}", "train")
    tracking.end(run, "FINISHED", settled=True)
    card = ModelCard(
        digest=digest, weights="weights.pt", detector="yolov8n", class_names=NAMES, image_size=320, threshold=0.31,
        threshold_from="best F1 on val", dataset_version=dataset, recipe={"epochs": 12},
    )  # fmt: skip
    lineage = build_lineage(
        lake, digest=digest, dataset_version=dataset, detector="yolov8n",
        recipe=Recipe(
            epochs=12, image_size=320, init="champion" if parent else "scratch", augmentation=VARIED
        ).model_dump(mode="json"),
        recipe_digest="5a1f90c2",
        policy_digest="0a1b2c3d4e5f", environment={"gpu": "none", "place": "sagemaker"},
        initialised_from=parent, mlflow_run_id=run, dagster_run_id=f"dagster-{digest[:6]}",
        preprocessing=describe_preprocessing("yolov8n", 320, VARIED, small_lake.RULES),
    )  # fmt: skip
    write_model(lake, weights, card, {"history": []}, lineage.model_dump_json().encode())
    register(
        tracking, digest=digest, lake_url=lake.url, dataset_version=dataset, detector="yolov8n",
        figures=FIGURES, run_id=run,
    )  # fmt: skip
    verdict = "mAP@.5 0.412 meets the floor of 0.020"
    page = report(lake, "evaluation", f"{digest}-{dataset}", "Evaluation", verdict)
    record_evaluation(
        lake,
        EvaluationRecord(
            evaluation_id=digest, at=datetime.now(UTC), digest=digest, trained_on=dataset, dataset=dataset, golden=1,
            photographs=105, boxes=171, groups=22, verdict=verdict, report_key=page, **FIGURES,
        ),
    )  # fmt: skip
    return digest


def report(lake: Lake, kind: str, name: str, title: str, summary: str, **more: Any) -> str:
    """The key of its page."""
    key = f"reports/{kind}/{name}"
    stored = {"title": title, "at": datetime.now(UTC).isoformat(), "summary": summary, "figures": FIGURES, **more}
    lake.put(f"{key}.html", f"<!DOCTYPE html><title>{kind}</title><h1>{kind} report</h1>".encode())
    lake.put(f"{key}.json", json.dumps(stored).encode())
    return f"{key}.html"


def gate(lake: Lake, challenger: str, champion: str | None, verdict: str, at: datetime | None = None) -> None:
    row: dict[str, Any] = {
        "gate_id": f"gate-{challenger}-{verdict}",
        "at": at or datetime.now(UTC),
        "challenger": challenger,
        "champion": champion,
        "golden": 1,
        "verdict": verdict,
        "mode": "point",
        "reasons": ["mAP@.5 0.412 against 0.398, +1.4 points; bar −2.0: not worse."],
        "figures": json.dumps({"challenger_map50": 0.412}),
        "report_key": report(lake, "gate", f"{challenger}-{verdict}", "Gate", f"Verdict: {verdict}"),
        "dagster_run_id": "dagster-gate",
    }
    lake.append("gates", [row], row["gate_id"])


def release(lake: Lake, digest: str, version: int, reason: str = "The gate says promote") -> None:
    """To staging, then to production."""
    for stage, action in (("staging", "deploy"), ("production", "promote")):
        ledger.record(
            lake, stage, action, digest=digest, version=version, actor=ledger.machine("0a1b2c3d4e5f"),  # type: ignore[arg-type]
            reason=reason, policy_digest="0a1b2c3d4e5f", dagster_run_id="dagster-release",
        )  # fmt: skip


def answered(lake: Lake, sent: Sequence[Shot], digest: str, version: int, prefix: str = "p") -> list[Record]:
    """The photographs kept, and the records that the service would capture."""
    return [_record(lake, shot, f"{prefix}{n:04d}", digest, version) for n, shot in enumerate(sent)]


def _record(lake: Lake, shot: Shot, name: str, digest: str, version: int) -> Record:
    image_id = hashlib.sha256(shot.data).hexdigest()
    key = f"capture/photographs/{image_id[:2]}/{image_id}.jpg"
    lake.put(key, shot.data)
    width, height = Image.open(io.BytesIO(shot.data)).size
    best = max((b[1] for b in shot.boxes), default=0.0)
    counted = [b for b in shot.boxes if b[1] >= FIGURES["threshold"]]
    return Record(
        prediction_id=name,
        sent=ClientMetadata(
            image_id=image_id, file_name=f"{name}.jpg", content_type="image/jpeg", bytes=len(shot.data),
            photograph_key=key, source=shot.source, listing=shot.listing, camera="Pixel 8",
        ),
        answer=Answer(
            request_id=f"r-{name}", stage="production", digest=digest, version=version, runtime="openvino",
            threshold=FIGURES["threshold"], width=width, height=height,
            decision="damage" if counted else "needs_person" if best > 0.18 else "clear",
            boxes=tuple(CapturedBox(class_id=c, score=s, x1=a, y1=b, x2=x, y2=y) for c, s, a, b, x, y in shot.boxes),
            n_boxes=len(counted), max_score=best, milliseconds=23.4,
            features=Features(
                luma_mean=90, luma_std=40, luma_p95=200, sharpness=1, saturation=0.3, colour_cast=0.1, aspect=1.3,
                megapixels=1.2, bits_per_pixel=2,
            ),
        ),
    )  # fmt: skip


def ingest(lake: Lake, records: Sequence[Record], at: datetime | None = None) -> None:
    """As rows of `inferences`, a millisecond apart."""
    from carsdepo_assets.inference.records import row

    start = at or datetime.now(UTC)
    rows = [
        row(record.line(f"e{n}", start + timedelta(milliseconds=n)), "capture/production/closed.jsonl")
        for n, record in enumerate(records)
    ]
    lake.append("inferences", rows, f"segment-{records[0].prediction_id}")


def capture(lake: Lake, records: Sequence[Record], name: str = "i-1.jsonl.open", torn: bytes = b"") -> str:
    """As lines of a segment that no one has ingested; its key."""
    now = datetime.now(UTC)
    key = f"capture/production/{now:%Y/%m/%d/%H}/{name}"
    lines = [r.line(f"e{n}", now + timedelta(milliseconds=n)) for n, r in enumerate(records)]
    lake.put(key, b"".join(lines) + torn)
    return key


def queue(lake: Lake, records: Sequence[Record], queue_id: str = "drift-r1") -> None:
    new_queue = queues.Queue(
        queue_id=queue_id,
        at=datetime.now(UTC),
        report_id="r1",
        reason="Brightness drifted, most of it from mobile.",
        photographs=tuple(
            queues.QueuedPhotograph(
                image_id=r.sent.image_id,
                photograph_key=r.sent.photograph_key or "",
                upload_key=f"{queues.UPLOADS}/{queue_id}/{r.sent.image_id}.jpg",
                priority=n + 1,
                why="darker than 95 % of what the model knows",
                source=r.sent.source,
                listing=r.sent.listing,
            )
            for n, r in enumerate(records)
        ),
    )
    lake.put(queues.queue_key(queue_id), new_queue.to_json())


def drift(lake: Lake, digest: str) -> None:
    now = datetime.now(UTC)
    row = {
        "report_id": "r1", "at": now, "window_from": now - timedelta(days=1), "window_to": now, "digest": digest,
        "photographs": 120, "groups": 24, "computed": True, "detected": True, "p_value": 0.001, "drift": 0.064,
        "worst_feature": "brightness (p95)", "band": "middle", "features": "{}", "sources": "{}",
        "report_key": report(lake, "drift", "r1", "Drift of 6.4 %", "Brightness moved, most of it from mobile."),
    }  # fmt: skip
    lake.append("drift", [row], "r1")


@dataclass
class Filled:
    lake: Lake
    tracking: Tracking
    first: str
    second: str
    dataset: str
    records: list[Record]


def fill(home: Path, sent: Sequence[Shot], dataset: str | None = None) -> Filled:
    """Two models, the first in production, the second let through by the gate; answers, a queue, drift."""
    lake, tracking = Lake.open(home / "lake"), Tracking.at_home(home)
    version = dataset or photographs(lake)
    first = model(lake, tracking, version, b"first weights")
    gate(lake, first, None, "promote")
    release(lake, first, 1)
    records = answered(lake, sent, first, 1)
    ingest(lake, records)
    second = model(lake, tracking, version, b"second weights", parent=first)
    gate(lake, second, first, "undecided")
    mark_trained(lake, digest=second, dataset=version, recipe="5a1f90c2", state=label_state(lake))
    drift(lake, first)
    queue(lake, records)
    report(lake, "kpi", "k1", "KPIs of November", "6 of 8 goals met.")
    return Filled(lake, tracking, first, second, version, records)
