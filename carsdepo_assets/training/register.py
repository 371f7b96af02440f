"""From a judged candidate to a version in the registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from carsdepo_assets.lake.label_state import mark_trained
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.trainings import Outcome, judged_before, record_outcome
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.models import CANDIDATE, register
from carsdepo_assets.registry.tracking import Tracking
from carsdepo_assets.training.candidates import Candidate
from carsdepo_assets.training.evaluate_candidate import read_figures, verdict


@dataclass(frozen=True)
class Registered:
    version: int
    alias: str | None
    passed: bool
    verdict: str
    figures: dict[str, float]


Tell = Callable[[Outcome], None]


def register_candidate(
    lake: Lake, tracking: Tracking, candidate: Candidate, policy: Policy, run_id: str, tell: Tell
) -> Registered:
    """Registers the version and, last, marks its labels as learnt where the floor is met; else as tried.

    tell: called, before the row is written, with the outcome of a model under the floor that has none at this state of
    the labels yet: a kill in between tells again and registers again, to the same version and a single row. Raises
    NotReady when the candidate has not been evaluated on its dataset.
    """
    figures = read_figures(lake, candidate)
    passed, text = verdict(figures, policy)
    version = register(
        tracking,
        digest=candidate.digest,
        lake_url=lake.url,
        dataset_version=candidate.dataset,
        detector=candidate.recipe.detector,
        figures=figures,
        run_id=run_id,
        alias=CANDIDATE if passed else None,
    )
    outcome = Outcome(
        label_state=candidate.label_state,
        at=datetime.now(UTC),
        asked_by=candidate.asked_by,
        fallback=candidate.fallback,
        outcome="met" if passed else "under_floor",
        dataset=candidate.dataset,
        recipe=candidate.recipe.digest(),
        digest=candidate.digest,
        version=version.version,
        map50=figures["map50"],
        floor=policy.evaluation.floor_map50,
        reason=f"{text}.",
    )
    if passed:
        mark_trained(
            lake,
            digest=candidate.digest,
            dataset=candidate.dataset,
            recipe=candidate.recipe.digest(),
            state=candidate.label_state,
            seen_at=candidate.seen_at,
        )
    elif not judged_before(lake, outcome):
        tell(outcome)
    record_outcome(lake, outcome)
    return Registered(version.version, CANDIDATE if passed else None, passed, text, figures)
