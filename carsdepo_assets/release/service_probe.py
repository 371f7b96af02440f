"""Sends requests to an inspection service as its clients do, and finds faults in its answers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from carsdepo_assets.evaluation.golden_photographs import GoldenPhotograph
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.objects import ObjectMissing
from carsdepo_assets.lake.schemas import CHECKS_SOURCE
from carsdepo_assets.scoring.boxes import Detections

if TYPE_CHECKING:
    import httpx

PATH = "/v1/inspections"
FORM = {"source": CHECKS_SOURCE}  # tells these requests from people's in the captured answers


@dataclass(frozen=True)
class ProbeAnswer:
    """The service's answer to one photograph."""

    photograph: GoldenPhotograph
    milliseconds: float
    """From sending the request to having the whole body."""
    body: Mapping[str, Any]
    """The answer's JSON; empty where there is none."""
    problem: str = ""
    """Why there is no answer, with the photograph's name; empty where there is one."""

    @property
    def inspection(self) -> Mapping[str, Any]:
        """The answer's part about the photograph."""
        inspection: Mapping[str, Any] = self.body["photographs"][0]
        return inspection


def ask(client: httpx.Client, photograph: GoldenPhotograph) -> ProbeAnswer:
    """Sends one photograph.

    Args:
        client: has the service's address as its base URL.
        photograph: to send.

    Returns:
        The answer. A refusal, a broken connection and a body of another shape do not raise: the answer names the
        problem.
    """
    import httpx

    started = time.perf_counter()
    try:
        answer = client.post(PATH, files={"photographs": (photograph.name, photograph.data)}, data=FORM)
    except httpx.HTTPError as error:
        return ProbeAnswer(photograph, 0.0, {}, f"{photograph.name}: {type(error).__name__} {error}")
    taken = 1000 * (time.perf_counter() - started)
    if answer.status_code != 200:
        return ProbeAnswer(photograph, taken, {}, f"{photograph.name}: HTTP {answer.status_code}, {answer.text[:200]}")
    try:
        body = answer.json()
        one = body["photographs"][0]
        assert {"prediction_id", "image_id", "boxes"} <= one.keys()
        assert {"digest", "version", "threshold"} <= body["model"].keys()
    except (ValueError, LookupError, TypeError, AssertionError):
        return ProbeAnswer(photograph, taken, {}, f"{photograph.name}: not an inspection: {answer.text[:200]}")
    return ProbeAnswer(photograph, taken, body)


def disagreement(answer: ProbeAnswer, offline: Detections, tolerance: float) -> tuple[float, str]:
    """Compares an answer with the model's own detections.

    A box whose score lies within the tolerance of the threshold may be on either side of it.

    Args:
        answer: of the service, without a problem.
        offline: the model's detections on the same photograph, down to a score below the threshold.
        tolerance: how far corners (pixels) and scores may differ.

    Returns:
        The largest difference in pixels or score, and a sentence on what differs; an empty one where nothing does.
    """
    threshold, name = float(answer.body["model"]["threshold"]), answer.photograph.name
    if answer.inspection["image_id"] != answer.photograph.image_id:
        return float("inf"), f"{name}: answered as image {answer.inspection['image_id']}"
    free = set(np.flatnonzero(offline.scores >= threshold - tolerance).tolist())
    largest = 0.0
    for box in answer.inspection["boxes"]:
        mine = {
            i: max(
                float(np.abs(offline.xyxy[i] - np.asarray(box["box"], float)).max()),
                abs(float(offline.scores[i]) - float(box["score"])),
            )
            for i in free
            if offline.classes[i] == box["class_id"]
        }
        best = min(mine, key=mine.__getitem__, default=None)
        if best is None:
            return float("inf"), f"{name}: a box of class {box['class_id']} that the model does not give"
        largest = max(largest, mine[best])
        if mine[best] > tolerance:
            return largest, f"{name}: a box {mine[best]:.4f} px or score away from the model's nearest"
        free.remove(best)
    missing = [i for i in free if offline.scores[i] >= threshold + tolerance]
    if missing:
        return float("inf"), f"{name}: {len(missing)} of the model's boxes are missing"
    return largest, ""


def bad_input(client: httpx.Client, good: GoldenPhotograph) -> list[str]:
    """Sends input that is no photograph and returns a sentence for each that was not refused properly.

    A proper refusal is an HTTP 4xx with `error.reason` and `error.detail` in its body.
    """
    import httpx

    cases: dict[str, dict[str, Any]] = {
        "text": {"files": {"photographs": ("car.jpg", b"this is not a photograph\n" * 20)}},
        "a truncated photograph": {"files": {"photographs": (good.name, good.data[: len(good.data) // 2])}},
        "an empty file": {"files": {"photographs": ("empty.jpg", b"")}},
        "a form without a file": {"files": {"source": (None, "validation")}},
    }
    wrong = []
    for what, sent in cases.items():
        try:
            answer = client.post(PATH, **sent)
            error = answer.json()["error"] if 400 <= answer.status_code < 500 else None
            if error is None or not error["reason"] or not error["detail"]:
                wrong.append(f"{what} was answered HTTP {answer.status_code}, {answer.text[:100]}")
        except (httpx.HTTPError, ValueError, LookupError, TypeError) as problem:
            wrong.append(f"{what} was answered without a reason: {type(problem).__name__} {problem}")
    return wrong


def without_key(url: str, good: GoldenPhotograph) -> list[str]:
    """Sends a request without the API key and returns a sentence where it was not refused with HTTP 401 or 403."""
    import httpx

    with httpx.Client(base_url=url, timeout=60.0) as client:
        try:
            answer = client.post(PATH, files={"photographs": (good.name, good.data)})
        except httpx.HTTPError as error:
            return [f"a request without the key: {type(error).__name__} {error}"]
    status = answer.status_code
    return [] if status in (401, 403) else [f"a request without the key was answered HTTP {status}"]


def not_captured(lake: Lake, place: str, ids: Sequence[str], since: datetime, seconds: float) -> set[str]:
    """Waits for the answers to be captured and returns the ids of those that are not.

    Args:
        lake: where the service captures its answers. A segment that is still open is read too; on S3 it arrives when
            it closes.
        place: the key below which its segments lie by hour.
        ids: prediction ids of the answers.
        since: when the first of them was given.
        seconds: the longest time to wait.
    """
    waiting, deadline = set(ids), time.monotonic() + seconds
    while waiting:
        for folder in _hours(place, since, datetime.now(UTC)):
            for info in lake.list(folder):
                if info.modified_at < since - timedelta(seconds=2):
                    continue
                try:
                    text = lake.get(info.key).decode(errors="replace")
                except ObjectMissing:  # it was closed, so renamed, between the listing and here
                    continue
                waiting -= {i for i in waiting if i in text}
        if time.monotonic() >= deadline:
            break
        if waiting:
            time.sleep(0.3)
    return waiting


def _hours(place: str, first: datetime, last: datetime) -> list[str]:
    """The folders of all hours from first to last, both included."""
    hour = first.replace(minute=0, second=0, microsecond=0)
    folders = []
    while hour <= last:
        folders.append(f"{place}/{hour:%Y/%m/%d/%H}")
        hour += timedelta(hours=1)
    return folders
