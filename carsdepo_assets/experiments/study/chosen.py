"""What the newest study, or a person's pin, changes of the next recipe."""

from __future__ import annotations

from carsdepo_assets.experiments.adjustments import Adjustments
from carsdepo_assets.experiments.champion import Champion
from carsdepo_assets.lake import trials
from carsdepo_assets.lake.datasets import latest
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import is_complete
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.ledger import LedgerHistory


def current_adjustments(lake: Lake, policy: Policy, champion: Champion | None) -> Adjustments | None:
    """What the next recipe changes of the usual one; None: nothing.

    A family that came into production after the study was concluded goes before the study's: a person chose it since.

    Args:
        lake: the lake.
        policy: says whether winners count by themselves, and whether their weights are gone on from.
        champion: the model in production; None where there is none.
    """
    event = trials.chosen(lake, automatic=policy.study.apply == "automatic")
    if event is None:
        return None
    adjustments = Adjustments.model_validate(event.changes)
    if champion is not None and adjustments.detector not in (None, champion.card.detector):
        served = LedgerHistory.read(lake).served("production")
        if served is not None and served.at > event.at:
            return None
    who = f"pinned by {event.actor}: {event.message}" if event.state == "pinned" else "the study's winner"
    why = f"Study {event.study} is followed, trial {event.number}, {who.rstrip('.')}."
    init = (
        event.digest
        if policy.study.winner_as_init
        and event.digest is not None
        and event.dataset == latest(lake)
        and is_complete(lake, event.digest)
        else None
    )
    return adjustments.model_copy(update={"why": why, "init_model": init})
