"""A captured answer, as the service would make it."""

from __future__ import annotations

from typing import Any

from carsdepo_assets.inference.records import Answer, CapturedBox, ClientMetadata, Features, Record

FEATURES = {
    "luma_mean": 100.0,
    "luma_std": 20.0,
    "luma_p95": 200.0,
    "sharpness": 12.5,
    "saturation": 40.0,
    "colour_cast": 3.0,
    "aspect": 4 / 3,
    "megapixels": 1.2,
    "bits_per_pixel": 2.0,
}


def a_record(number: int = 0, **answer: Any) -> Record:
    """prediction_id p<number>, of a photograph of its own."""
    sent = ClientMetadata(
        image_id=f"{number:064x}", file_name=f"{number}.jpg", content_type="image/jpeg", bytes=1000, source="web"
    )
    values: dict[str, Any] = {
        "request_id": "r",
        "stage": "production",
        "digest": "d" * 16,
        "version": 1,
        "runtime": "onnxruntime",
        "threshold": 0.5,
        "width": 1280,
        "height": 960,
        "decision": "damage",
        "boxes": (CapturedBox(class_id=1, x1=1.5, y1=2, x2=3, y2=4, score=0.75),),
        "n_boxes": 1,
        "max_score": 0.75,
        "milliseconds": 10.0 + number,
        "features": Features(**FEATURES),
    }
    return Record(prediction_id=f"p{number}", sent=sent, answer=Answer(**{**values, **answer}))
