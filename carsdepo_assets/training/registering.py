"""From a judged candidate to a version in the registry."""

from __future__ import annotations

from dataclasses import dataclass

from carsdepo_assets.lake.label_state import mark_trained
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.models import CANDIDATE, register
from carsdepo_assets.registry.tracking import Tracking
from carsdepo_assets.training.candidates import Candidate
from carsdepo_assets.training.judging import read_figures, verdict


@dataclass(frozen=True)
class Registered:
    version: int
    alias: str | None
    passed: bool
    verdict: str
    figures: dict[str, float]


def register_candidate(lake: Lake, tracking: Tracking, candidate: Candidate, policy: Policy, run_id: str) -> Registered:
    """Registers the version and, last, marks the label state as trained: a kill before that registers again, once.

    Raises NotReady when the candidate has not been evaluated on its dataset.
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
    mark_trained(
        lake,
        digest=candidate.digest,
        dataset=candidate.dataset,
        recipe=candidate.recipe.digest(),
        state=candidate.label_state,
        seen_at=candidate.seen_at,
    )
    return Registered(version.version, CANDIDATE if passed else None, passed, text, figures)
