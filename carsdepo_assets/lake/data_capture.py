"""What the release to SageMaker and the reading of its data capture agree on: names, and where the files come to lie.

SageMaker writes below the prefix that an endpoint's configuration names:
ENDPOINT/VARIANT/yyyy/mm/dd/hh/FILE.jsonl (AWS, "Data capture").
"""

from __future__ import annotations

import json

from carsdepo_assets.lake.lake import Lake

ROOT = "capture/sagemaker"
"""The key in the lake below which SageMaker writes what it captures."""
VARIANT = "served"
"""The name of the one production variant of every endpoint."""
HEALTH_QUESTION = "application/vnd.carsdepo.health+json"
"""The content type of a request to /invocations that asks for what is served, and is no inspection."""
MODEL_HEADER = "X-Carsdepo-Model"
"""The header of /ping's answer with the served model's digest."""
_ENDPOINTS = "capture/sagemaker-endpoints"
"""An object for each endpoint lies below it: two that are noted at once are both noted."""
_ENDPOINTS_BEFORE = "capture/sagemaker.json"
"""Lakes of before have one list instead."""


def place_of(endpoint: str) -> str:
    """The key below which the files of an endpoint lie, by year, month, day and hour (UTC)."""
    return f"{ROOT}/{endpoint}/{VARIANT}"


def note_endpoint(lake: Lake, endpoint: str) -> None:
    """Notes that an endpoint writes its data capture into this lake, so that ingestion looks there."""
    key = f"{_ENDPOINTS}/{endpoint}"
    if not lake.exists(key):
        lake.put(key, b"{}")


def endpoints(lake: Lake) -> list[str]:
    """The names of all endpoints that write, or wrote, into this lake."""
    names = {info.key.rpartition("/")[2] for info in lake.list(_ENDPOINTS)}
    try:
        before = json.loads(lake.get(_ENDPOINTS_BEFORE)) if lake.exists(_ENDPOINTS_BEFORE) else None
    except ValueError:
        before = None
    if isinstance(before, list):
        names.update(name for name in before if isinstance(name, str))
    return sorted(names)
