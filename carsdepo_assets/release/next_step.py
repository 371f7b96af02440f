"""What the release step has to do next, from the state of ledger, registry, golden set and verdicts alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from carsdepo_assets.lake import golden
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.orchestration.decision import Decision
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.ledger import LedgerHistory
from carsdepo_assets.registry.models import ModelVersion, versions
from carsdepo_assets.registry.tracking import Tracking
from carsdepo_assets.release.run_gate import newest_verdict_on
from carsdepo_assets.release.staging import candidate
from carsdepo_assets.release.validation import read_validation


@dataclass(frozen=True)
class ReleaseStep:
    """A job to run for a registered version."""

    job: Literal["release", "promote"]
    version: int
    """The version's number in the registry."""
    state: str
    """What the step rests on (model, golden set, champion, policy, decisions): another state is another attempt."""


def next_step(lake: Lake, tracking: Tracking, policy: Policy) -> Decision[ReleaseStep]:
    """Decides what to do for the model that a person approved, where it is not in production yet, else for the newest
    candidate.

    Returns:
        The job `release` for a model without a verdict, `promote` where staging has validated it and it may go
        live now, nothing where production serves it or a person must decide. With an action, the message names the
        version.
    """
    history = LedgerHistory.read(lake)
    newest = _approved(history, tracking) or candidate(tracking)
    if newest is None:
        return Decision(None, "No version has the alias `candidate`, and no approved one waits for its release.")
    digest, name = newest.digest, f"version {newest.version}"
    champion = history.served("production")
    if champion is not None and champion.digest == digest:
        return Decision(None, f"Production serves the newest candidate, {name}.")
    bar = history.barred.get(digest)
    if bar is not None:
        return Decision(None, f"{name} is barred, {bar}. A person may approve it.")
    golden_set = golden.current(lake)
    if golden_set is None:
        return Decision(None, "There is no golden set to evaluate models on: materialize `dataset`.")
    champion_digest = champion.digest if champion else None
    decision, hold = history.latest_decision(digest), history.promotion_hold
    state = ":".join(
        str(part)
        for part in (
            digest,
            golden_set.version,
            champion.sequence if champion else None,
            policy.digest(),
            decision.event_id if decision else None,
            hold.event_id if hold else None,
        )
    )
    gated = newest_verdict_on(lake, digest, champion_digest, golden_set.version, policy.digest())
    approved = decision is not None and decision.action == "approve"
    if gated is not None and not approved:
        verdict = gated.verdict.verdict
        if verdict != "promote":
            message = f"The gate's verdict on {name} is {verdict}: it stays a candidate. A person may approve it."
            return Decision(None, message)
        if hold is not None or policy.release.approval == "person":
            return Decision(None, f"The gate's verdict on {name} is promote, and it waits for a person's approval.")
    validation = read_validation(lake, digest)
    validated = validation is not None and validation.passed and validation.policy_digest == policy.digest()
    return Decision(ReleaseStep("promote" if validated else "release", newest.version, state), name)


def _approved(history: LedgerHistory, tracking: Tracking) -> ModelVersion | None:
    """The registered version that a person approved and that is not in production yet, candidate or not."""
    approval = history.pending_approval
    if approval is None:
        return None
    return next((v for v in reversed(versions(tracking)) if v.digest == approval.digest), None)
