"""What follows from a study's trials: the winner, the ties, and what is said where there is neither.

The rule. The best trial is the one with the highest mAP@.5 on val. All trials within the tolerance of it are tied with
it, since the business does not feel the difference. Of the tied ones today's recipe wins, so that nothing is changed
for a difference that nobody feels; where it is not among them, the cheapest wins by its money, and at equal money the
first. Time is no cost here: it would let a busy machine decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from carsdepo_assets.experiments.study.planning import StudyPlan
from carsdepo_assets.lake import trials
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.trials import Trial, TrialEvent
from carsdepo_assets.registry.ledger import machine


@dataclass(frozen=True)
class Conclusion:
    """The result of a study."""

    winner: Trial | None
    """None: no trial was trained to its end."""
    tied: tuple[Trial, ...]
    """All trials within the tolerance of the best, the best first."""
    sentences: tuple[str, ...]
    """The result and its reasons, for people."""

    @property
    def text(self) -> str:
        """The sentences as one text."""
        return " ".join(self.sentences)


def conclude(plan: StudyPlan, ledger: Sequence[Trial], stopped: str = "") -> Conclusion:
    """The result of a study whose trials have ended.

    Args:
        plan: the study's.
        ledger: its trials.
        stopped: why no further trial was begun, as a sentence.
    """
    scored = sorted((t for t in ledger if t.value is not None), key=lambda t: (-(t.value or 0.0), t.number))
    ends = [stopped] if stopped else []
    if not scored:
        reasons = "; ".join(f"trial {t.number}: {t.ended.message}" for t in ledger[:3] if t.ended is not None)
        return Conclusion(
            None,
            (),
            (
                f"None of the {len(ledger)} trials was trained to its end, so there is no winner and the recipe stays "
                f"as it is. {reasons}",
                *ends,
            ),
        )
    best, today = scored[0], next((t for t in scored if t.number == 0), None)
    tied = [t for t in scored if _value(best) - _value(t) <= plan.tolerance + 1e-12]
    winner = _of_the_tied(tied)
    points = f"{100 * plan.tolerance:g} points"
    sentences = []
    if len(tied) == 1:
        sentences.append(f"Trial {winner.number} wins: {_score(winner)}, no other is within {points} of it.")
    else:
        others = f"all {len(tied)}" if len(tied) == len(scored) else f"{len(tied)} of {len(scored)}"
        sentences.append(
            f"{others.capitalize()} trials that were trained to their end tie: they lie within {points} of the best "
            f"(trial {best.number}, {_score(best)})."
        )
        if winner.number == 0:
            rule = "today's recipe wins a tie, since no change is worth a difference that the business does not feel"
        elif len({_money(t) for t in tied}) > 1:
            rule = "the cheapest wins a tie that today's recipe is not in"
        else:
            rule = "the first wins a tie of equal cost that today's recipe is not in"
        sentences.append(f"By rule trial {winner.number} is taken ({_score(winner)}): {rule}.")
    sentences.append(_against_today(winner, today, ledger))
    for state, words in (("pruned", "were stopped early"), ("failed", "failed")):
        if count := sum(t.state == state for t in ledger):
            sentences.append(f"{count} of {len(ledger)} trials {words}.")
    return Conclusion(winner, tuple(tied), (*sentences, *ends))


def _of_the_tied(tied: Sequence[Trial]) -> Trial:
    return next((t for t in tied if t.number == 0), None) or min(tied, key=lambda t: (_money(t), t.number))


def _against_today(winner: Trial, today: Trial | None, ledger: Sequence[Trial]) -> str:
    if winner.number == 0:
        return "The recipe stays as it is."
    if today is None:
        tried = next((t for t in ledger if t.number == 0), None)
        why = "" if tried is None or tried.ended is None else f" ({tried.ended.message.rstrip('.')})"
        return (
            f"Today's recipe, trial 0, was not trained to its end{why}: whether the winner is better than it is not "
            "known."
        )
    gain = 100 * (_value(winner) - _value(today))
    return f"Today's recipe had {_score(today)}: the winner gains {gain:.1f} points on val."


def record_conclusion(
    lake: Lake, plan: StudyPlan, result: Conclusion, now: datetime, dagster_run_id: str | None = None
) -> TrialEvent:
    """Records the result, once: a study that is concluded keeps its first conclusion.

    Returns:
        The event that stands.
    """
    base = TrialEvent(
        study=plan.study, at=now, state="concluded", dataset=plan.dataset, report_id=plan.report_id
    )  # without a number: no winner
    if result.winner is not None and result.winner.ended is not None:
        base = result.winner.ended
    event = base.model_copy(
        update={
            "study": plan.study,
            "at": now,
            "state": "concluded",
            "message": result.text,
            "actor": machine(plan.policy_digest),
            "policy_digest": plan.policy_digest,
            "dagster_run_id": dagster_run_id,
        }
    )
    trials.record_event(lake, event, "concluded")
    standing = trials.conclusion(trials.events(lake, plan.study))
    assert standing is not None
    return standing


def _value(trial: Trial) -> float:
    return trial.value if trial.value is not None else float("-inf")


def _money(trial: Trial) -> float:
    money = None if trial.ended is None else trial.ended.money
    return 0.0 if money is None else round(money, 2)


def _score(trial: Trial) -> str:
    ended = trial.ended
    interval = "" if ended is None or ended.low is None else f" ({ended.low:.3f} to {ended.high:.3f})"
    return f"mAP@.5 {_value(trial):.3f}{interval}"
