"""From a validated model to the ledger's entry that production serves it, or to the reason why not.

The policy, a hold or a person's decision comes after the gate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.locks import one_writer
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry import ledger
from carsdepo_assets.registry.models import ModelVersion
from carsdepo_assets.release.gate import GateDecision
from carsdepo_assets.release.run_gate import GateResult, newest_verdict_on, run_gate
from carsdepo_assets.release.validation import Validation, read_validation


@dataclass(frozen=True)
class Approval:
    """promote: now, by actor. wanted: a person must speak first. refused: not this model, for the reason."""

    outcome: Literal["promote", "wanted", "refused"]
    actor: str
    reason: str


def before_the_gate(history: Sequence[ledger.Event], digest: str) -> Approval | None:
    """Why the gate need not be asked: a standing rejection or a bar that no approval has lifted; else None."""
    bar = ledger.barred(list(history)).get(digest)
    if bar is None:
        return None
    word = ledger.latest_decision(list(history), digest)
    outcome: Literal["refused", "wanted"] = "refused" if word and word.action == "reject" else "wanted"
    return Approval(outcome, "ledger", f"model {digest} is barred from promotion by a machine, {bar}")


def after_the_gate(
    history: Sequence[ledger.Event], digest: str, verdict: GateDecision, because: str, policy: Policy
) -> Approval:
    """A person's approval counts over every verdict, and the reason says that it did; machines need `promote`.

    because: the verdict's first reason. A standing hold or policy.release.approval `person` ask for a person.
    """
    word = ledger.latest_decision(list(history), digest)
    if word is not None and word.action == "approve":
        over = "" if verdict == "promote" else f", overriding the gate's {verdict}"
        return Approval("promote", word.actor, f"approved{over}: {word.reason}")
    machine = ledger.machine(policy.digest())
    if verdict != "promote":
        return Approval("refused", machine, f"the gate says {verdict}: {because}")
    hold = ledger.promotion_hold(list(history))
    if hold is not None:
        return Approval("wanted", machine, f"the gate says promote, and {hold.actor} asks for a person: {hold.reason}")
    if policy.release.approval == "person":
        return Approval("wanted", machine, "the gate says promote, and policy.release.approval asks for a person")
    return Approval("promote", machine, f"the gate says promote: {because}")


LOCK = "release"  # promotions and rollbacks enter the ledger one at a time
# Verdicts, one at a time. They have a lock of their own because scoring two models takes long: a person's rollback
# must not wait for it.
GATE_LOCK = "gate"


@dataclass(frozen=True)
class Promotion:
    """outcome: promoted now; standing: production was to serve it already; wanted, refused: see approval.

    event: the ledger's, of what production serves; None: nothing. gated: None where the gate was not asked.
    """

    outcome: Literal["promoted", "standing", "wanted", "refused"]
    approval: Approval
    gated: GateResult | None
    event: ledger.Event | None
    validation: Validation | None


def promote(
    lake: Lake,
    version: ModelVersion,
    policy: Policy,
    *,
    dagster_run_id: str | None,
    reachable: Callable[[], object],
) -> Promotion:
    """Looks at everything again, whoever asked: bars, staging's validation, the gate, approval; then the ledger.

    reachable: raises where production's service does not answer; called before the ledger is written. The same state
    again changes nothing. Raises what gate() raises.
    """
    digest = version.digest
    while True:
        history = ledger.events(lake)
        champion = ledger.served(history, "production")
        if champion is not None and champion.digest == digest:
            said = Approval("promote", champion.actor, champion.reason)
            return Promotion("standing", said, newest_verdict_on(lake, digest, champion.previous), champion, None)
        validation = read_validation(lake, digest)
        stopped = before_the_gate(history, digest) or _unproved(digest, validation)
        if stopped is not None:
            return Promotion(_outcome(stopped), stopped, None, champion, validation)
        assert validation is not None  # _unproved stopped otherwise
        with one_writer(lake, GATE_LOCK):
            gated = run_gate(
                lake,
                digest,
                champion.digest if champion else None,
                policy,
                validation,
                version=version.version,
                champion_version=champion.version if champion else None,
                dagster_run_id=dagster_run_id,
            )
        because = gated.verdict.reasons[0] if gated.verdict.reasons else gated.verdict.verdict
        approval = after_the_gate(history, digest, gated.verdict.verdict, because, policy)
        if approval.outcome == "promote":
            reachable()
        with one_writer(lake, LOCK):
            if ledger.events(lake) != history:
                continue  # someone decided while the gate was at work: all is looked at again
            if approval.outcome != "promote":
                return Promotion(_outcome(approval), approval, gated, champion, validation)
            event = ledger.record(
                lake,
                "production",
                "promote",
                digest=digest,
                version=version.version,
                actor=approval.actor,
                reason=approval.reason,
                policy_digest=policy.digest(),
                dagster_run_id=dagster_run_id,
                # One promotion from one champion's event, also where no lock keeps two runs apart.
                event_id=f"promote:{digest}:{champion.sequence if champion else 0}",
            )
        return Promotion("promoted", approval, gated, event, validation)


def roll_back(lake: Lake, *, actor: str, reason: str, event_id: str, dagster_run_id: str | None) -> ledger.Event:
    """Production serves the model before the present one again; the present one is barred from machines.

    Raises ledger.LedgerError where there is none to go back to.
    """
    with one_writer(lake, LOCK):
        history = ledger.events(lake)
        for event in history:
            if event.event_id == event_id:  # a retried step: not one further back
                return event
        target = ledger.rollback_target(history)
        return ledger.record(
            lake,
            "production",
            "rollback",
            digest=target.digest,
            version=target.version,
            actor=actor,
            reason=reason,
            dagster_run_id=dagster_run_id,
            event_id=event_id,
        )


def _unproved(digest: str, validation: Validation | None) -> Approval | None:
    """A model that staging has not found right is promoted by no one."""
    if validation is None:
        said = f"model {digest} has not been validated at staging: run the job `release` for it"
        return Approval("refused", "release", said)
    if not validation.passed:
        said = f"staging's validation of model {digest} failed: {validation.failed()}"
        return Approval("refused", "release", said)
    return None


def _outcome(approval: Approval) -> Literal["wanted", "refused"]:
    return "wanted" if approval.outcome == "wanted" else "refused"
