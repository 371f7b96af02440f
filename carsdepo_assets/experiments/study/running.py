"""Runs a study: asks for trials, has them trained, and records what came of each. No Dagster, no Optuna here.

Every step is recorded in the ledger before the next one begins, and what is recorded is not repeated: a study that is
killed at any moment, and started again, trains what is left and leaves the same ledger.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from carsdepo_assets.compute.worker.trial import TrialTerms
from carsdepo_assets.experiments.study.budget import stop_reason
from carsdepo_assets.experiments.study.data_checks import dataset_of
from carsdepo_assets.experiments.study.parallel import interruptible_threads
from carsdepo_assets.experiments.study.planning import StudyPlan
from carsdepo_assets.experiments.study.space import FAMILY
from carsdepo_assets.lake import trials
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.trials import Trial, TrialEvent, is_score
from carsdepo_assets.policy_study import AUGMENTATION, EXTRA
from carsdepo_assets.registry.ledger import machine


class TrialInterrupted(RuntimeError):
    """A trial's training was ended from outside and left no result; it can go on."""


class Asks(Protocol):
    """What suggests trials; see sampling.Sampler."""

    def ask(self, ledger: Sequence[Trial]) -> dict[str, Any]:
        """The parameters of the next trial."""
        ...

    def tell(self, trial: Trial, ledger: Sequence[Trial]) -> None:
        """How a trial ended."""
        ...


# Trains a trial and returns what its worker left, see training/trial.py, with `money` and `place` where they are known.
Train = Callable[[Trial, TrialTerms], Mapping[str, Any]]


@dataclass(frozen=True)
class StudyRun:
    """A study, and how its trials are trained and told.

    Args:
        ended: called with each trial that has ended here, and with all trials as they are then.
    """

    lake: Lake
    plan: StudyPlan
    sampler: Asks
    train: Train
    say: Callable[[str], None]
    ended: Callable[[Trial, Sequence[Trial]], None] = lambda trial, ledger: None
    dagster_run_id: str | None = None

    def run(self) -> str:
        """Trains what is left of the study.

        Returns:
            Why no further trial was begun, as a sentence.

        Raises:
            StudyError: the dataset was erased meanwhile.
        """
        slots = min(self.plan.place.slots, self.plan.settings.parallel)
        return self._one_after_another() if slots == 1 else self._at_once(slots)

    def ledger(self) -> list[Trial]:
        """All trials of the study as they are now."""
        return trials.trials(trials.events(self.lake, self.plan.study))

    def _one_after_another(self) -> str:
        while True:
            trial, why = self._next(running=())
            if trial is None:
                return why
            while True:
                try:
                    self._record(trial, self._trained(trial))
                    break
                except TrialInterrupted as interruption:
                    if self._given_up(trial, interruption):
                        break

    def _at_once(self, slots: int) -> str:
        running: dict[Future[Mapping[str, Any]], Trial] = {}
        with interruptible_threads(slots) as submit:
            while True:
                why = ""
                while len(running) < slots:
                    trial, why = self._next(running=[t.number for t in running.values()])
                    if trial is None:
                        break
                    running[submit(self._trained, trial)] = trial
                if not running:
                    return why
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    trial = running.pop(future)
                    try:
                        self._record(trial, future.result())
                    except TrialInterrupted as interruption:
                        self._given_up(trial, interruption)  # else it is the next one again

    def _next(self, running: Sequence[int]) -> tuple[Trial | None, str]:
        """The next trial to train: one that was begun before, else a new one; None, and why, where there is none."""
        dataset_of(self.lake, self.plan.dataset)  # erased meanwhile?
        ledger = self.ledger()
        for trial in ledger:
            if trial.ended is None and trial.number not in running:
                self.say(f"Trial {trial.number} goes on.")
                return trial, ""
        why = stop_reason(self.plan, ledger)
        if why is not None:
            return None, why
        return self._asked(ledger), ""

    def _asked(self, ledger: Sequence[Trial]) -> Trial:
        """Asks for a trial and records it. Where another process was faster, its trial of this number is the one."""
        plan, number = self.plan, max((t.number for t in ledger), default=-1) + 1  # a lost row leaves a gap
        if number == 0:
            params, changes, recipe = todays_params(plan), plan.today_changes, plan.today
        else:
            params = self.sampler.ask(ledger)
            changes, recipe = plan.recipe(params)
        event = TrialEvent(
            study=plan.study,
            at=datetime.now(UTC),
            state="asked",
            number=number,
            dataset=plan.dataset,
            report_id=plan.report_id,
            params=params,
            changes=changes.model_dump(mode="json", exclude={"why", "init_model"}),
            recipe=recipe.model_dump(mode="json"),
            recipe_digest=recipe.digest(),
            message="Today's recipe." if number == 0 else f"{changes.described()}.",
            actor=machine(plan.policy_digest),
            policy_digest=plan.policy_digest,
            dagster_run_id=self.dagster_run_id,
        )
        trials.record_event(self.lake, event, f"{number}:asked")
        trial = next(t for t in self.ledger() if t.number == number)
        self.say(f"Trial {number}: {trial.asked.message}")
        return trial

    def _trained(self, trial: Trial) -> Mapping[str, Any]:
        """The trial's result: of an earlier trial of the very same recipe, else of its training."""
        plan, settings = self.plan, self.plan.settings
        ledger = self.ledger()
        for other in ledger:
            if other.value is not None and other.asked.recipe_digest == trial.asked.recipe_digest:
                assert other.ended is not None
                same = ("value", "low", "high", "groups", "curve", "steps", "digest")
                return {n: getattr(other.ended, n) for n in same} | {
                    "state": "complete",
                    "why": f"The recipe is that of trial {other.number}, whose result is taken.",
                    "seconds": 0.0,
                    "money": 0.0,
                }
        terms = TrialTerms(
            study=plan.study,
            number=trial.number,
            # Today's recipe is what the others are compared with: it is always trained to its end.
            pruner="none" if trial.number == 0 else settings.pruner,
            prune_after=settings.prune_after,
            prune_startup=settings.prune_startup,
            curves=tuple(dict(t.ended.curve) for t in ledger if t.ended is not None and t.state == "complete"),
            resamples=settings.resamples,
        )
        return self.train(trial, terms)

    def _record(self, trial: Trial, result: Mapping[str, Any]) -> None:
        if result["state"] == "complete" and not is_score(result.get("value")):
            why = f"It was trained to its end, and its score is no number ({result.get('value')})."
            result = {**result, "state": "failed", "value": None, "low": None, "high": None, "why": why}
        figures = ("value", "low", "high", "groups", "steps", "seconds", "digest", "mlflow_run_id", "place")
        seconds = result.get("seconds")
        money = result.get("money")
        event = trial.asked.model_copy(
            update={
                "at": datetime.now(UTC),
                "state": result["state"],
                **{name: result.get(name) for name in figures},
                "curve": {int(k): float(v) for k, v in (result.get("curve") or {}).items()},
                "money": self.plan.money(seconds) if money is None and seconds is not None else money,
                "currency": self.plan.currency,
                "message": str(result["why"]),
                "dagster_run_id": self.dagster_run_id,
            }
        )
        trials.record_event(self.lake, event, f"{trial.number}:ended")
        ledger = self.ledger()
        now = next(t for t in ledger if t.number == trial.number)
        self.sampler.tell(now, ledger)
        score = "" if now.value is None else f" val mAP@.5 {now.value:.3f}."
        self.say(f"Trial {trial.number} is {now.state}:{score} {now.ended.message if now.ended else ''}")
        self.ended(now, ledger)

    def _given_up(self, trial: Trial, interruption: TrialInterrupted) -> bool:
        """Records that the trial's training was ended from outside; whether that happened too often.

        Raises:
            StudyError: it ended since its dataset was erased, so that no other attempt or trial would fare better.
        """
        dataset_of(self.lake, self.plan.dataset, whole=True)
        before = next(t.interruptions for t in self.ledger() if t.number == trial.number)
        event = trial.asked.model_copy(
            update={"at": datetime.now(UTC), "state": "interrupted", "message": str(interruption)[:600]}
        )
        trials.record_event(self.lake, event, f"{trial.number}:interrupted:{before + 1}")
        if before + 1 < self.plan.settings.trial_attempts:
            self.say(f"Trial {trial.number} was ended from outside and goes on: {interruption}")
            return False
        why = f"Its training was ended from outside {before + 1} times: {interruption}"
        self._record(trial, {"state": "failed", "why": why[:600]})
        return True


def todays_params(plan: StudyPlan) -> dict[str, Any]:
    """Today's recipe as parameters of the search space, from which the sampler learns; they may lie outside of it."""
    recipe, changes = plan.today, plan.today_changes
    fields = recipe.model_dump(mode="json")
    params: dict[str, Any] = {FAMILY: recipe.detector}
    for dimension in plan.settings.dimensions(recipe.detector):
        if dimension.times_usual:
            params[dimension.name] = changes.factors.get(dimension.field, 1.0)
        elif dimension.field in fields:
            params[dimension.name] = fields[dimension.field]
        elif (varied := dimension.field.removeprefix(AUGMENTATION)) in fields.get("augmentation", {}):
            params[dimension.name] = fields["augmentation"][varied]
        elif (own := dimension.field.removeprefix(EXTRA)) in recipe.extra:
            params[dimension.name] = recipe.extra[own]
    return dict(json.loads(json.dumps(params)))
