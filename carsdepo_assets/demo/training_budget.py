"""How long the demo's trainings are: optimizer steps on the sample, so that its story hangs on no clock."""

from __future__ import annotations

from carsdepo_assets.commands.loop_steps import POLICY_DECIDES, Budget
from carsdepo_assets.policy import TrainingPolicy

# Optimizer steps of the first training on the sample, and of the one that goes on from its model.
SAMPLE_STEPS = {"yolov8n": (366, 264), "faster_rcnn": (1250, 750)}
RETRAIN_MINUTES = 1.5  # of wall time, on photographs of the user's own


def budget(
    policy: TrainingPolicy, *, rendered: bool, again: bool, minutes: float | None, detector: str | None
) -> tuple[Budget, str]:
    """The budget of one training of the demo, and a sentence on it.

    rendered: on the sample. again: the training that goes on from the first model. minutes, detector: as the user
    asked; None: not at all.
    """
    if minutes is not None:
        return Budget(None, minutes), f"{minutes:g} minutes of wall time, as asked: what is learnt hangs on the machine"
    if policy.steps is not None:
        return POLICY_DECIDES, f"{policy.steps} optimizer steps, by the policy"
    if rendered:
        wanted = detector or policy.detector
        steps = SAMPLE_STEPS["yolov8n" if wanted == "auto" else wanted][again]
        return Budget(steps, None), f"{steps} optimizer steps, however long they take"
    spent = RETRAIN_MINUTES if again else policy.minutes
    return Budget(None, spent if again else None), f"{spent:g} minutes of wall time; --minutes gives it more"
