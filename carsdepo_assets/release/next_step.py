"""What the release step has to do next, from the state of ledger, registry, golden set and verdicts alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from carsdepo_assets.lake import golden
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry import ledger
from carsdepo_assets.registry.tracking import Tracking
from carsdepo_assets.release.run_gate import newest_verdict_on
from carsdepo_assets.release.staging import candidate
from carsdepo_assets.release.validation import read_validation


@dataclass(frozen=True)
class NextStep:
    """job: what to run for the version; None: nothing. state: names what it rests on. said: for people."""

    job: Literal["release", "promote"] | None
    said: str
    state: str = ""
    version: int | None = None


def next_step(lake: Lake, tracking: Tracking, policy: Policy) -> NextStep:
    """`release` for a candidate without a verdict, `promote` where staging has validated it and it may now go live."""
    found = candidate(tracking)
    if found is None:
        return NextStep(None, "No version has the alias `candidate`.")
    digest, named = found.digest, f"version {found.version}"
    history = ledger.events(lake)
    champion = ledger.served(history, "production")
    if champion is not None and champion.digest == digest:
        return NextStep(None, f"Production serves the newest candidate, {named}.")
    bar = ledger.barred(history).get(digest)
    if bar is not None:
        return NextStep(None, f"{named} is barred, {bar}. A person may approve it.")
    current = golden.current(lake)
    if current is None:
        return NextStep(None, "There is no golden set to judge on: materialize `dataset`.")
    served = champion.digest if champion else None
    word, hold = ledger.latest_decision(history, digest), ledger.promotion_hold(history)
    state = ":".join(
        str(part)
        for part in (
            digest,
            current.version,
            champion.sequence if champion else None,
            policy.digest(),
            word.event_id if word else None,
            hold.event_id if hold else None,
        )
    )
    verdict = newest_verdict_on(lake, digest, served, current.version, policy.digest())
    approved = word is not None and word.action == "approve"
    if verdict is not None and not approved:
        said = verdict.verdict.verdict
        if said != "promote":
            return NextStep(None, f"The gate says {said} of {named}: it stays a candidate. A person may approve it.")
        if hold is not None or policy.release.approval == "person":
            return NextStep(None, f"The gate says promote of {named}, which waits for a person's approval.")
    validation = read_validation(lake, digest)
    validated = validation is not None and validation.passed and validation.policy_digest == policy.digest()
    return NextStep("promote" if validated else "release", named, state, found.version)
