"""Who decides after the gate: the policy, a hold, or a person's word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from carsdepo_assets.policy import Policy
from carsdepo_assets.registry import ledger
from carsdepo_assets.release.gate import Said


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
    word = ledger.word(list(history), digest)
    outcome: Literal["refused", "wanted"] = "refused" if word and word.action == "reject" else "wanted"
    return Approval(outcome, "ledger", f"model {digest} is barred from promotion by a machine, {bar}")


def after_the_gate(
    history: Sequence[ledger.Event], digest: str, verdict: Said, because: str, policy: Policy
) -> Approval:
    """A person's approval counts over every verdict, and the reason says that it did; machines need `promote`.

    because: the verdict's first reason. A standing hold or policy.release.approval `person` ask for a person.
    """
    word = ledger.word(list(history), digest)
    if word is not None and word.action == "approve":
        over = "" if verdict == "promote" else f", overriding the gate's {verdict}"
        return Approval("promote", word.actor, f"approved{over}: {word.reason}")
    machine = ledger.machine(policy.digest())
    if verdict != "promote":
        return Approval("refused", machine, f"the gate says {verdict}: {because}")
    hold = ledger.standing_hold(list(history))
    if hold is not None:
        return Approval("wanted", machine, f"the gate says promote, and {hold.actor} asks for a person: {hold.reason}")
    if policy.release.approval == "person":
        return Approval("wanted", machine, "the gate says promote, and policy.release.approval asks for a person")
    return Approval("promote", machine, f"the gate says promote: {because}")
