"""A training that its diagnosis stopped: told to people, and recorded so that the next fallback has its turn."""

from __future__ import annotations

from collections.abc import Callable

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.training_findings import StoredDiagnosis, read_diagnosis
from carsdepo_assets.lake.trainings import Outcome, outcomes, record_outcome
from carsdepo_assets.training.candidates import Plan


def stopped(lake: Lake, key: str, run_id: str) -> StoredDiagnosis | None:
    """The diagnosis that stopped a run's training; None where it failed of something else.

    Args:
        key: of the training, as TrainingSpec.key gives it.
        run_id: of the Dagster run.
    """
    diagnosis = read_diagnosis(lake, key)
    return diagnosis if diagnosis is not None and diagnosis.stopped and diagnosis.run_id == run_id else None


def record_hopeless(
    lake: Lake, plan: Plan, diagnosis: StoredDiagnosis, floor: float, tell: Callable[[Outcome], object]
) -> Outcome:
    """Records the outcome in `trainings`, once for a state of the labels.

    Args:
        floor: policy.evaluation.floor_map50.
        tell: called with the outcome before its row is written, unless the row stands.
    """
    outcome = plan.ended("hopeless", f"Stopped as hopeless: {diagnosis.hopeless[0].text}", floor=floor)
    if outcome.unit() not in {o.unit() for o in outcomes(lake, plan.label_state)}:
        tell(outcome)
    record_outcome(lake, outcome)
    return outcome
