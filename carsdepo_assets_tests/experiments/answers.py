"""A lake in which a service has answered: rows of `inferences`, the photographs it kept, drift reports."""

from __future__ import annotations

import hashlib
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from PIL import Image

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.data.photograph_files import photograph

NOW = datetime(2030, 1, 2, tzinfo=UTC)
FROM = NOW - timedelta(hours=24)
DIGEST = "d" * 12


def dark(seed: int) -> bytes:
    """The photograph of a seed at a sixth of its light."""
    rgb = np.asarray(Image.open(io.BytesIO(photograph(seed))))
    out = io.BytesIO()
    Image.fromarray(rgb // 6).save(out, "JPEG", quality=90)
    return out.getvalue()


def luma(data: bytes) -> float:
    return float(np.asarray(Image.open(io.BytesIO(data)).convert("L")).mean())


def answer(lake: Lake, data: bytes, **columns: Any) -> dict[str, Any]:
    """Keeps the photograph as capture does and gives its row of INFERENCES; `said` overrides columns."""
    image_id = hashlib.sha256(data).hexdigest()
    key = f"capture/photographs/{image_id[:2]}/{image_id}.jpg"
    lake.put(key, data)
    return {
        "prediction_id": f"p-{image_id[:16]}",
        "at": NOW - timedelta(hours=2),
        "stage": "production",
        "digest": DIGEST,
        "image_id": image_id,
        "photograph_key": key,
        "luma_mean": luma(data),
        "decision": "clear",
        "threshold": 0.4,
        "max_score": 0.01,
        "source": "web",
        "camera": "Kestrel K3",
        "region": "north",
        "uploader": "seller-01",
        "listing": f"L-{image_id[:8]}",
        **columns,
    }


def report(lake: Lake, report_id: str, **columns: Any) -> None:
    """A row of DRIFT over the last day; `said` overrides columns."""
    row = {
        "report_id": report_id,
        "at": NOW,
        "window_from": FROM,
        "window_to": NOW,
        "digest": DIGEST,
        "photographs": 100,
        "computed": True,
        "detected": True,
        "drift": 0.3,
        "worst_feature": "luma_mean",
        "band": "high",
        "features": '[{"name": "luma_mean", "drift": 0.3}]',
        "sources": "[]",
        "report_key": f"reports/drift/{report_id}.html",
        **columns,
    }
    lake.append("drift", [row], report_id)
