"""Is the model found right as served? Real requests to staging's service, compared with the model run here.

What staging was found to be is kept at validations/<digest>.json: a promotion asks for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from carsdepo_assets.detectors.base import Predictor
from carsdepo_assets.evaluation.golden_photographs import GoldenPhotograph
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.ledger import Event
from carsdepo_assets.release import service_probe
from carsdepo_assets.release.service_probe import ProbeAnswer

TOLERANCE = 1e-3  # pixels and score: how far an answer may lie from the model's own
TIMED_REQUESTS = 32  # at least: the p95 of fewer is their maximum
# Seconds beyond the age at which a segment closes: a far cap, since the wait ends with the last answer that is found.
CAPTURE_GRACE_S = 120.0
# name: (blocks, what it is). Latency does not block here: the gate judges it, and a verdict is kept.
CHECKS: dict[str, tuple[bool, str]] = {
    "digest_is_registered": (True, "The service, its answers, the ledger and the registry name one model."),
    "answers_equal_offline": (True, f"Boxes and scores are the model's own, to {TOLERANCE:g} px and score."),
    "bad_input_is_refused": (True, "Text, a torn photograph, an empty file and no file get a 4xx with a reason."),
    "capture_arrives": (True, "Every answer is found in the capture segments."),
    "latency_within_budget": (False, "p95 of one photograph over HTTP is within policy.gate.latency_p95_ms."),
}


class ServiceCheck(BaseModel):
    """said: a sentence with the numbers."""

    model_config = ConfigDict(frozen=True)

    name: str
    passed: bool
    said: str


class Validation(BaseModel):
    """What staging was found to be. latency: p50, p95 and max in milliseconds, and requests; empty without answers."""

    model_config = ConfigDict(frozen=True)

    digest: str
    version: int | None
    runtime: str
    at: datetime
    policy_digest: str
    ledger_sequence: int
    photographs: int
    boxes: int
    outcomes: tuple[ServiceCheck, ...]
    latency: dict[str, float]

    @property
    def passed(self) -> bool:
        """Whether all that must hold does."""
        return all(o.passed for o in self.outcomes if CHECKS[o.name][0])

    def failed(self) -> str:
        """What must hold and does not, as one text."""
        return "; ".join(o.said for o in self.outcomes if CHECKS[o.name][0] and not o.passed)


def validation_key(digest: str) -> str:
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
    url: str,
    headers: Mapping[str, str],
    event: Event,
    registered: str | None,
    health: Mapping[str, Any],
) -> Validation:
    """Sends the photographs, each a request, then what is no photograph; keeps and returns what was found.

    predictor: the model on the runtime that `health` names. event: what the ledger has staging serve. registered: the
    digest of the registry's version. A service that fails on the way fails checks instead of raising.
    """
    import httpx

    started = datetime.now(UTC)
    assert event.digest is not None
    with httpx.Client(base_url=url, headers=dict(headers), timeout=60.0) as client:
        service_probe.ask(client, photographs[0])  # opens the connection; not timed
        turns = math.ceil(TIMED_REQUESTS / len(photographs))
        answers = [service_probe.ask(client, p) for _ in range(turns) for p in photographs]
        wrong = service_probe.bad_input(client, photographs[0])
        wrong += [f"after that, {p}" for p in [service_probe.ask(client, photographs[0]).problem] if p]
    if headers:
        wrong += service_probe.without_key(url, photographs[0])
    good = [a for a in answers if not a.problem]
    latency = _latency(good)
    outcomes = (
        _digests(good, event, registered, health),
        _equal(answers, photographs, predictor),
        ServiceCheck(
            name="bad_input_is_refused",
            passed=not wrong,
            said="; ".join(wrong) or "text, a torn photograph, an empty file and no file were refused with a reason",
        ),
        _captured(lake, good, started, policy),
        _timely(latency, policy.gate.latency_p95_ms),
    )
    done = Validation(
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
    lake.put(validation_key(done.digest), done.model_dump_json(indent=1).encode())
    return done


def _digests(
    good: Sequence[ProbeAnswer], event: Event, registered: str | None, health: Mapping[str, Any]
) -> ServiceCheck:
    said = {
        "registry": {registered},
        "ledger": {event.digest},
        "service": {health.get("digest")},
        "answers": {a.said["model"]["digest"] for a in good},
    }
    passed = all(names == {event.digest} for names in said.values())
    text = ", ".join(f"{who}: {' and '.join(sorted(map(str, d))) or 'none'}" for who, d in said.items())
    return ServiceCheck(
        name="digest_is_registered",
        passed=passed,
        said=f"registry, ledger, service and {len(good)} answers name model {event.digest}" if passed else text,
    )


def _equal(
    answers: Sequence[ProbeAnswer], photographs: Sequence[GoldenPhotograph], predictor: Predictor
) -> ServiceCheck:
    offline = {p.image_id: predictor.predict([p.rgb])[0] for p in photographs}
    found = [
        (float("inf"), a.problem)
        if a.problem
        else service_probe.disagreement(a, offline[a.photograph.image_id], TOLERANCE)
        for a in answers
    ]
    problems = list(dict.fromkeys(p for _, p in found if p))
    boxes = sum(len(a.inspection["boxes"]) for a in answers if not a.problem)
    largest = max((d for d, _ in found), default=0.0)
    said = (
        f"{len(answers)} answers on {len(photographs)} photographs, {boxes} boxes: at most {largest:.1e} px or score "
        "from the model's own"
    )
    if problems:
        said = f"{len(problems)} of {len(photographs)} photographs: {'; '.join(problems[:3])}"
    return ServiceCheck(name="answers_equal_offline", passed=not problems, said=said)


def _captured(lake: Lake, good: Sequence[ProbeAnswer], started: datetime, policy: Policy) -> ServiceCheck:
    ids = [str(a.inspection["prediction_id"]) for a in good]
    seconds = policy.inference.segment_age_s + CAPTURE_GRACE_S
    missing = service_probe.not_captured(lake, "staging", ids, started, seconds)
    if not ids:
        said = "there was no answer to look for"
    elif missing:
        said = f"{len(missing)} of {len(ids)} answers were not in {lake.url}/capture/staging after {seconds:g} s"
    else:
        said = f"all {len(ids)} answers are in the capture segments"
    return ServiceCheck(name="capture_arrives", passed=bool(ids) and not missing, said=said)


def _latency(good: Sequence[ProbeAnswer]) -> dict[str, float]:
    if not good:
        return {}
    taken = np.array([a.milliseconds for a in good])
    p50, p95 = np.quantile(taken, [0.5, 0.95])
    return {"requests": len(taken), "p50": float(p50), "p95": float(p95), "max": float(taken.max())}


def _timely(latency: Mapping[str, float], budget_ms: float) -> ServiceCheck:
    name = "latency_within_budget"
    if not latency:
        return ServiceCheck(name=name, passed=False, said="there was no answer to time")
    said = (
        f"p50 {latency['p50']:.0f} ms, p95 {latency['p95']:.0f} ms of {latency['requests']:.0f} requests, "
        f"one after the other; budget {budget_ms:.0f} ms"
    )
    return ServiceCheck(name=name, passed=latency["p95"] <= budget_ms, said=said)
