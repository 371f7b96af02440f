"""A lake with the platform's own record: models in production, their evaluations, answers, labels, drift."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from carsdepo_assets.lake.evaluations import EvaluationRecord, record_evaluation
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.business.business_rows import at, evaluation

D1, D2 = "1111111111111111", "2222222222222222"


def changed(lake: Lake, sequence: int, when: str, action: str, digest: str, version: int) -> None:
    row = {
        "event_id": f"e{sequence}", "sequence": sequence, "at": at(when), "stage": "production", "action": action,
        "digest": digest, "version": version, "actor": "auto:0a1b2c", "reason": "<b>better</b> by 3 points",
    }  # fmt: skip
    lake.append("deployments", [row], f"e{sequence}")


def evaluated(lake: Lake, digest: str, golden: int, made_at: str, **figures: float) -> None:
    stored = evaluation(**figures)
    counts = {"boxes": stored.pop("n_boxes"), "photographs": stored.pop("n_images")}
    name, key = f"{digest}-{golden}-{made_at}", f"reports/evaluation/{digest}.html"
    record = {"evaluation_id": name, "at": at(made_at), "digest": digest, "dataset": "d", "golden": golden}
    record_evaluation(lake, EvaluationRecord.model_validate({**record, **stored, **counts, "report_key": key}))


def box(class_id: int, score: float | None = None) -> dict[str, Any]:
    return {"class_id": class_id, "x1": 0.0, "y1": 0.0, "x2": 9.0, "y2": 9.0} | (
        {} if score is None else {"score": score}
    )


def answered(lake: Lake, unit: str, *rows: dict[str, Any]) -> None:
    base = {
        "stage": "production",
        "digest": D2,
        "decision": "damage",
        "milliseconds": 40.0,
        "threshold": 0.5,
        "boxes": [],
    }
    lake.append("inferences", [{"prediction_id": f"{unit}{i}", **base, **row} for i, row in enumerate(rows)], unit)


def platform(lake: Lake) -> None:
    changed(lake, 1, "2026-07-01T09:00", "promote", D1, 1)
    changed(lake, 2, "2026-10-01T09:00", "promote", D2, 2)
    evaluated(lake, D1, 1, "2026-07-01T08:00", map50=0.5)
    evaluated(lake, D2, 1, "2026-10-01T08:00", map50=0.6)
    answered(
        lake, "a", *({"at": at("2026-11-20T10:00") + timedelta(seconds=i), "boxes": [box(1, 0.9)]} for i in range(30))
    )
    images = [{"image_id": str(i), "ingested_at": at("2026-11-01")} for i in range(4)]
    lake.append("images", images, "i")
    labels = [{"image_id": "0", "created_at": at("2026-11-02"), "sequence": 1, "boxes": [box(0)]}]
    lake.append("annotations", labels, "l")
    drift = {"report_id": "r", "at": at("2026-11-20"), "window_to": at("2026-11-20"), "computed": True, "drift": 0.03,
             "worst_feature": "luma_p95", "band": "low", "photographs": 90}  # fmt: skip
    unknown = {"report_id": "s", "at": at("2026-11-19"), "window_to": at("2026-11-19"), "computed": False}
    lake.append("drift", [drift, unknown], "d")
    days = {"day": "2026-11-20", "digest": D2, "photographs": 5, "answered": 30, "tp": 8, "fp": 2, "fn": 2}
    stale = days | {"tp": 1, "fp": 9, "at": at("2026-11-20T12:00")}
    lake.append("live_quality", [stale, days | {"at": at("2026-11-21T12:00")}], "q")
