"""Validates the model that staging serves: real requests to the service, compared with the model run in this process.

The result is stored at validations/<digest>.json. A promotion needs one that passed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from carsdepo_assets.detectors.base import Predictor
from carsdepo_assets.evaluation.golden_photographs import GoldenPhotograph
from carsdepo_assets.lake.capture_place import CapturePlace
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.ledger import Event
from carsdepo_assets.release import service_probe
from carsdepo_assets.release.service_probe import ProbeAnswer

if TYPE_CHECKING:
    import httpx

TOLERANCE = 1e-3  # pixels and score: how far an answer may lie from the model's own
TIMED_REQUESTS = 32  # at least: the p95 of fewer is their maximum
# Each check by name: (whether it blocks, its description). Latency does not block: the gate has a limit for it.
CHECKS: dict[str, tuple[bool, str]] = {
    "digest_is_registered": (True, "The service, its answers, the ledger and the registry name the same model."),
    "answers_equal_offline": (
        True,
        f"The service's boxes and scores differ from the model's own by at most {TOLERANCE:g} (pixels, score).",
    ),
    "bad_input_is_refused": (
        True,
        "Text, a truncated photograph, an empty file and no file are refused with HTTP 4xx and a reason.",
    ),
    "capture_arrives": (True, "Every answer is found in the segments that the service captures."),
    "latency_within_budget": (
        False,
        "The 95th percentile of the time for one photograph over HTTP is within policy.gate.latency_p95_ms.",
    ),
}


class ServiceCheck(BaseModel):
    """The result of one check of staging's service."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, serialize_by_alias=True)

    name: str
    """One of CHECKS."""
    passed: bool
    message: str = Field(alias="said")  # stored under its first name, so that older validations are read
    """A sentence with the numbers."""


class Validation(BaseModel):
    """The result of one validation of staging's model."""

    model_config = ConfigDict(frozen=True)

    digest: str
    version: int | None
    runtime: str
    at: datetime
    policy_digest: str
    ledger_sequence: int
    photographs: int
    """Distinct photographs that were sent."""
    boxes: int
    """Boxes in the answers on them."""
    outcomes: tuple[ServiceCheck, ...]
    latency: dict[str, float]
    """p50, p95 and max in milliseconds, and the number of requests; empty without answers."""

    @property
    def passed(self) -> bool:
        """Whether every blocking check passed."""
        return all(o.passed for o in self.outcomes if CHECKS[o.name][0])

    def failed(self) -> str:
        """The messages of the blocking checks that failed, as one text."""
        return "; ".join(o.message for o in self.outcomes if CHECKS[o.name][0] and not o.passed)


def validation_key(digest: str) -> str:
    """The key in the lake of a model's last validation."""
    return f"validations/{digest}.json"


def read_validation(lake: Lake, digest: str) -> Validation | None:
    """The model's last validation at staging; None where it has had none."""
    key = validation_key(digest)
    return Validation.model_validate_json(lake.get(key)) if lake.exists(key) else None


def validate(
    lake: Lake,
    policy: Policy,
    photographs: Sequence[GoldenPhotograph],
    predictor: Predictor,
    *,
    client: httpx.Client,
    url: str | None,
    captured: CapturePlace,
    event: Event,
    registered: str | None,
    health: Mapping[str, Any],
) -> Validation:
    """Sends each photograph as a request, then input that is no photograph; stores and returns the result.

    A service that fails on the way fails checks instead of raising.

    Args:
        lake: where answers are captured and the validation is stored.
        policy: the policy in force.
        photographs: at least one; sent several times where they are few, so that latency has enough requests.
        predictor: the model on the runtime that `health` names.
        client: of the service, which this function closes.
        url: the service's address where it asks for an API key; None where it asks for none.
        captured: where its answers are captured.
        event: the ledger's event that has staging serve the model.
        registered: the digest of the version in the registry; None where it has no such version.
        health: the service's answer at /healthz.
    """
    started = datetime.now(UTC)
    assert event.digest is not None
    with client:
        service_probe.ask(client, photographs[0])  # opens the connection; not timed
        turns = math.ceil(TIMED_REQUESTS / len(photographs))
        answers = [service_probe.ask(client, p) for _ in range(turns) for p in photographs]
        wrong = service_probe.bad_input(client, photographs[0])
        wrong += [f"after that, {p}" for p in [service_probe.ask(client, photographs[0]).problem] if p]
    if url is not None:
        wrong += service_probe.without_key(url, photographs[0])
    good = [a for a in answers if not a.problem]
    latency = _latency(good)
    outcomes = (
        _digests(good, event, registered, health),
        _equal(answers, photographs, predictor, policy),
        ServiceCheck(
            name="bad_input_is_refused",
            passed=not wrong,
            message="; ".join(wrong)
            or "text, a truncated photograph, an empty file and no file were refused with a reason",
        ),
        _captured(lake, captured, good, started, policy),
        _timely(latency, policy.gate.latency_p95_ms),
    )
    validation = Validation(
        digest=event.digest,
        version=event.version,
        runtime=str(health.get("runtime")),
        at=started,
        policy_digest=policy.digest(),
        ledger_sequence=event.sequence,
        photographs=len(photographs),
        boxes=sum(len(a.inspection["boxes"]) for a in good[: len(photographs)]),
        outcomes=outcomes,
        latency=latency,
    )
    lake.put(validation_key(validation.digest), validation.model_dump_json(indent=1).encode())
    return validation


def _digests(
    good: Sequence[ProbeAnswer], event: Event, registered: str | None, health: Mapping[str, Any]
) -> ServiceCheck:
    names = {
        "registry": {registered},
        "ledger": {event.digest},
        "service": {health.get("digest")},
        "answers": {a.body["model"]["digest"] for a in good},
    }
    passed = all(digests == {event.digest} for digests in names.values())
    text = ", ".join(f"{who}: {' and '.join(sorted(map(str, d))) or 'none'}" for who, d in names.items())
    return ServiceCheck(
        name="digest_is_registered",
        passed=passed,
        message=f"registry, ledger, service and {len(good)} answers name model {event.digest}" if passed else text,
    )


def _equal(
    answers: Sequence[ProbeAnswer], photographs: Sequence[GoldenPhotograph], predictor: Predictor, policy: Policy
) -> ServiceCheck:
    from carsdepo_assets.detectors.predicting import network_of, predict_image
    from carsdepo_assets.imaging.serving import decode_as_served

    network = network_of(predictor)
    offline = {p.image_id: predict_image(predictor, decode_as_served(p.data, policy, network)[1]) for p in photographs}
    differences = [
        (float("inf"), a.problem)
        if a.problem
        else service_probe.disagreement(a, offline[a.photograph.image_id], TOLERANCE)
        for a in answers
    ]
    problems = list(dict.fromkeys(p for _, p in differences if p))
    boxes = sum(len(a.inspection["boxes"]) for a in answers if not a.problem)
    largest = max((d for d, _ in differences), default=0.0)
    message = (
        f"{len(answers)} answers on {len(photographs)} photographs, {boxes} boxes: at most {largest:.1e} px or score "
        "from the model's own"
    )
    if problems:
        message = f"{len(problems)} of {len(photographs)} photographs: {'; '.join(problems[:3])}"
    return ServiceCheck(name="answers_equal_offline", passed=not problems, message=message)


def _captured(
    lake: Lake, captured: CapturePlace, good: Sequence[ProbeAnswer], started: datetime, policy: Policy
) -> ServiceCheck:
    ids = [str(a.inspection["prediction_id"]) for a in good]
    seconds = policy.inference.segment_age_s + captured.grace_s
    missing = service_probe.not_captured(lake, captured.folder, ids, started, seconds)
    if not ids:
        message = "there was no answer to look for"
    elif missing:
        message = f"{len(missing)} of {len(ids)} answers were not in {lake.url}/{captured.folder} after {seconds:g} s"
    else:
        message = f"all {len(ids)} answers are in the capture segments"
    return ServiceCheck(name="capture_arrives", passed=bool(ids) and not missing, message=message)


def _latency(good: Sequence[ProbeAnswer]) -> dict[str, float]:
    if not good:
        return {}
    taken = np.array([a.milliseconds for a in good])
    p50, p95 = np.quantile(taken, [0.5, 0.95])
    return {"requests": len(taken), "p50": float(p50), "p95": float(p95), "max": float(taken.max())}


def _timely(latency: Mapping[str, float], budget_ms: float) -> ServiceCheck:
    name = "latency_within_budget"
    if not latency:
        return ServiceCheck(name=name, passed=False, message="there was no answer to time")
    message = (
        f"p50 {latency['p50']:.0f} ms, p95 {latency['p95']:.0f} ms of {latency['requests']:.0f} requests, "
        f"one after the other; budget {budget_ms:.0f} ms"
    )
    return ServiceCheck(name=name, passed=latency["p95"] <= budget_ms, message=message)
