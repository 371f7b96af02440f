"""How long the demo's trainings are.

On the sample it is a number of optimizer steps, so that the result does not depend on the machine's speed.
"""

from __future__ import annotations

from carsdepo_assets.commands.loop_steps import POLICY_DECIDES, Budget
from carsdepo_assets.policy import TrainingPolicy

# Optimizer steps of the first training on the sample, and of the one that goes on from its model.
# Of other families as many as of yolov8n.
SAMPLE_STEPS = {"yolov8n": (256, 144), "faster_rcnn": (1250, 750)}
RETRAIN_MINUTES = 1.5  # of wall time, on photographs of the user's own


def budget(
    policy: TrainingPolicy, *, rendered: bool, again: bool, minutes: float | None, detector: str | None
) -> tuple[Budget, str]:
    """The budget of one of the demo's trainings.

    Args:
        policy: Of the home.
        rendered: Whether the photographs are the rendered sample.
        again: False for the first training, True for the one that goes on from its model.
        minutes: Of wall time, as the user asked; None where the user did not ask.
        detector: As the user asked; None where the policy decides.

    Returns:
        The budget, and a phrase for people that states it.
    """
    if minutes is not None:
        return Budget(
            None, minutes
        ), f"{minutes:g} minutes of wall time, as asked: the result depends on the machine's speed"
    if policy.steps is not None:
        return POLICY_DECIDES, f"{policy.steps} optimizer steps, by the policy"
    if rendered:
        wanted = detector or policy.detector
        steps = SAMPLE_STEPS.get(wanted, SAMPLE_STEPS["yolov8n"])[again]
        return Budget(steps, None), f"{steps} optimizer steps, however long they take"
    length = RETRAIN_MINUTES if again else policy.minutes
    return Budget(None, length if again else None), f"{length:g} minutes of wall time; --minutes gives it more"
