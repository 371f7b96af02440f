"""Registers an evaluated candidate: a version in MLflow's registry, and the outcome of its training in the lake."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
    """What the registration of a candidate came to."""

    version: int
    """Number of the version in the registry."""
    alias: str | None
    """`candidate` where the floor is met, else None."""
    passed: bool
    """Whether the floor is met."""
    verdict: str
    """The same as a sentence with both numbers."""
    figures: dict[str, float]
    """Figures of the evaluation by name; one that cannot be computed is left out."""


AlertUnderFloor = Callable[[Outcome], None]


def register_candidate(
    lake: Lake, tracking: Tracking, candidate: Candidate, policy: Policy, run_id: str, tell: AlertUnderFloor
) -> Registered:
    """Registers the candidate's version. Where the floor is met, its labels count as learnt; else they were tried.

    A kill at any point is mended by the next call: the same version, a single row, and an alert at least once.

    Args:
        run_id: the MLflow run that the version belongs to.
        tell: called with the outcome of a model under the floor, before its row is written, unless the row stands.

    Raises:
        NotReady: the candidate has not been evaluated on its dataset.
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
    outcome = candidate.ended(
        "met" if passed else "under_floor",
        f"{text}.",
        digest=candidate.digest,
        version=version.version,
        map50=figures.get("map50"),
        floor=policy.evaluation.floor_map50,
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
