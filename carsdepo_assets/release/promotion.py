"""Promotes a validated model to production, or gives the reason why it is not promoted; rolls production back.

A promotion needs a passed validation at staging, the gate's verdict, and the approval of the policy or of a person.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.locks import one_writer
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry import ledger
from carsdepo_assets.registry.ledger import LedgerHistory
from carsdepo_assets.registry.licences_learnt import non_commercial
from carsdepo_assets.registry.models import ModelVersion
from carsdepo_assets.release.gate import GateDecision
from carsdepo_assets.release.run_gate import GateResult, Predict, newest_verdict_on, predicted_here, run_gate
from carsdepo_assets.release.validation import Validation, read_validation


@dataclass(frozen=True)
class Approval:
    """Whether a model may be promoted."""

    outcome: Literal["promote", "wanted", "refused"]
    """promote: now. wanted: a person must decide first. refused: not this model."""
    actor: str
    """Who decided: a person, the policy (`auto:` and its digest), or the step that refuses."""
    reason: str


def before_the_gate(history: LedgerHistory, digest: str) -> Approval | None:
    """The reason why the gate need not be run: a rejection, or a bar that no approval has lifted; else None."""
    bar = history.barred.get(digest)
    if bar is None:
        return None
    decision = history.latest_decision(digest)
    outcome: Literal["refused", "wanted"] = "refused" if decision and decision.action == "reject" else "wanted"
    return Approval(outcome, "ledger", f"model {digest} is barred from automatic promotion, {bar}")


def after_the_gate(
    history: LedgerHistory,
    digest: str,
    verdict: GateDecision,
    because: str,
    policy: Policy,
    licences: str | None = None,
) -> Approval:
    """Decides about a promotion once the gate's verdict is known.

    A person's approval overrides every verdict, and the reason says so. Without one the verdict must be `promote`; a
    hold, policy.release.approval `person`, or a licence that forbids commercial use then makes the promotion wait for
    a person. Of such a licence an approval counts only where the person says why, which Studio does not ask for.

    Args:
        history: the ledger's events.
        digest: of the model.
        verdict: of the gate.
        because: the verdict's first reason.
        policy: the policy in force.
        licences: why the licences of what the model learnt from need a person; None: they do not.
    """
    decision = history.latest_decision(digest)
    approved = decision is not None and decision.action == "approve"
    if decision is not None and approved and licences is not None and not decision.says_why:
        return Approval("wanted", decision.actor, f"{decision.actor} approved it and did not say why, and {licences}")
    if decision is not None and approved:
        over = "" if verdict == "promote" else f", overriding the gate's {verdict}"
        return Approval("promote", decision.actor, f"approved{over}: {decision.reason}")
    policy_actor = ledger.machine(policy.digest())
    if verdict != "promote":
        return Approval("refused", policy_actor, f"the gate's verdict is {verdict}: {because}")
    if licences is not None:
        return Approval("wanted", policy_actor, f"the gate's verdict is promote, and {licences}")
    hold = history.promotion_hold
    if hold is not None:
        return Approval(
            "wanted", policy_actor, f"the gate's verdict is promote, and {hold.actor} asks for a person: {hold.reason}"
        )
    if policy.release.approval == "person":
        return Approval(
            "wanted", policy_actor, "the gate's verdict is promote, and policy.release.approval asks for a person"
        )
    return Approval("promote", policy_actor, f"the gate's verdict is promote: {because}")


LOCK = "release"  # promotions and rollbacks enter the ledger one at a time
# Verdicts, one at a time. They have a lock of their own because scoring two models takes long: a person's rollback
# must not wait for it.
GATE_LOCK = "gate"


@dataclass(frozen=True)
class Promotion:
    """The result of an attempt to promote a model."""

    outcome: Literal["promoted", "standing", "wanted", "refused"]
    """promoted: now. standing: production was to serve it already. wanted, refused: see `approval`."""
    approval: Approval
    gated: GateResult | None
    """The gate's verdict; None where the gate was not run."""
    event: ledger.Event | None
    """The ledger's event of what production serves; None: it serves nothing."""
    validation: Validation | None
    """The model's validation at staging; None where there is none or it was not needed."""


def promote(
    lake: Lake,
    version: ModelVersion,
    policy: Policy,
    *,
    dagster_run_id: str | None,
    reachable: Callable[[], object],
    predict: Predict = predicted_here,
) -> Promotion:
    """Checks bars, staging's validation, the gate and the approval, and enters the promotion in the ledger.

    Called again in the same state it changes nothing. It raises what run_gate raises.

    Args:
        lake: where models, ledger and verdicts are.
        version: to promote.
        policy: the policy in force.
        dagster_run_id: of the run that promotes; None outside of Dagster.
        reachable: raises where production's service does not answer; called before the ledger is written.
        predict: has the models' missing detections predicted elsewhere, before the gate scores them.
    """
    digest = version.digest
    while True:
        history = LedgerHistory.read(lake)
        champion = history.served("production")
        if champion is not None and champion.digest == digest:
            standing_approval = Approval("promote", champion.actor, champion.reason)
            return Promotion(
                "standing", standing_approval, newest_verdict_on(lake, digest, champion.previous), champion, None
            )
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
                predict=predict,
            )
        because = gated.verdict.reasons[0] if gated.verdict.reasons else gated.verdict.verdict
        licences = non_commercial(lake, digest, policy)
        approval = after_the_gate(history, digest, gated.verdict.verdict, because, policy, licences)
        if approval.outcome == "promote":
            reachable()
        with one_writer(lake, LOCK):
            if LedgerHistory.read(lake) != history:
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
    """Has production serve the model before the present one, which is barred from automatic promotion.

    Args:
        lake: where the ledger is.
        actor: who rolls back.
        reason: for the ledger.
        event_id: of the ledger's event; a call with the same id returns the event that is there.
        dagster_run_id: of the run that rolls back; None outside of Dagster.

    Raises:
        LedgerError: there is no model to go back to.
    """
    with one_writer(lake, LOCK):
        history = LedgerHistory.read(lake)
        for event in history.events:
            if event.event_id == event_id:  # a retried step: not one further back
                return event
        target = history.rollback_target()
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
    """The refusal of a model without a validation at staging that passed; None where it has one."""
    if validation is None:
        reason = f"model {digest} has not been validated at staging: run the job `release` for it"
        return Approval("refused", "release", reason)
    if not validation.passed:
        reason = f"staging's validation of model {digest} failed: {validation.failed()}"
        return Approval("refused", "release", reason)
    return None


def _outcome(approval: Approval) -> Literal["wanted", "refused"]:
    return "wanted" if approval.outcome == "wanted" else "refused"
