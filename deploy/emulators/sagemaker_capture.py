"""The lines and file names of SageMaker's data capture.

After Amazon SageMaker developer guide, "Capture data from real-time endpoint": what it shows of a line and of a key.
"""

from __future__ import annotations

import base64
import json
import uuid
from datetime import datetime
from typing import Any


def captured_line(
    capture: dict[str, Any], asked_type: str, asked: bytes, answered_type: str, answered: bytes, at: datetime
) -> bytes:
    """One request and its answer.

    Args:
        capture: the endpoint's DataCaptureConfig.
        asked_type: content type of the request.
        asked: its body.
        answered_type: content type of the answer.
        answered: its body.
        at: when it was answered.
    """
    sides = {"Input": ("endpointInput", asked_type, asked), "Output": ("endpointOutput", answered_type, answered)}
    wanted = [option["CaptureMode"] for option in capture["CaptureOptions"]]
    event = {
        "captureData": {
            sides[mode][0]: _side(capture, mode.upper(), *sides[mode][1:])
            for mode in ("Input", "Output")
            if mode in wanted
        },
        "eventMetadata": {"eventId": str(uuid.uuid4()), "inferenceTime": f"{at:%Y-%m-%dT%H:%M:%SZ}"},
        "eventVersion": "0",
    }
    return json.dumps(event).encode() + b"\n"


def file_name(at: datetime) -> str:
    """The name of a file within its hour: minute, second, milliseconds and an id."""
    return f"{at:%M-%S}-{at.microsecond // 1000:03d}-{uuid.uuid4()}.jsonl"


def _side(capture: dict[str, Any], mode: str, content_type: str, body: bytes) -> dict[str, str]:
    header = capture.get("CaptureContentTypeHeader") or {}
    plain = content_type.partition(";")[0].strip().lower()
    encoding = "BASE64"
    if plain in header.get("JsonContentTypes", ()):
        encoding = "JSON"
    elif plain in header.get("CsvContentTypes", ()):
        encoding = "CSV"
    data = base64.b64encode(body).decode() if encoding == "BASE64" else body.decode()
    return {"observedContentType": content_type, "mode": mode, "data": data, "encoding": encoding}
