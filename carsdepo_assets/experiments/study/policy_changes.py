"""What one run asks of its study besides the policy."""

from __future__ import annotations

from pydantic import ValidationError

from carsdepo_assets.experiments.study.errors import StudyError
from carsdepo_assets.policy import Policy, StudyPolicy


def with_changes(
    policy: Policy,
    *,
    trials: int | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int | None = None,
) -> Policy:
    """The policy with what a run asks for; None: the policy's own value.

    Raises:
        StudyError: the value makes no study.
    """
    asked = {"trials": trials, "trial_steps": steps, "minutes": minutes, "seed": seed}
    changes = {name: value for name, value in asked.items() if value is not None}
    if not changes:
        return policy
    try:
        study = StudyPolicy.model_validate(policy.study.model_dump() | changes)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'study'}: {e['msg']}" for e in error.errors())
        raise StudyError(f"This study cannot be made: {problems}.") from error
    return policy.model_copy(update={"study": study})
